"""What a search space is, and what one for images begins from."""

from __future__ import annotations

import dataclasses
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from proxyless.configuration import argument, checked
from proxyless.errors import ProxylessError

if TYPE_CHECKING:
    from torch import nn

    from proxyless.architecture import Architecture
    from proxyless.supernet import SharedStart, Supernet

LARGEST_IMAGE = 4096
"""Height and width in pixels of an image at the most."""

MOST_CLASSES = 100_000
MOST_CHANNELS = 1024
"""Channels of an image at the most."""

MOST_CANDIDATES = 20_000
"""Candidates of all choices of a space together, at the most."""

MOST_PARAMETERS = 10**9
"""Parameters of all candidates of a space together at the most: 4 GB as float32."""


@dataclass(frozen=True)
class PlacedOperator:
    """An operator of a space by its shapes, as published latency tables know it.

    Args:
        place: name of the choice, or what it is where there is none, such as ``stem``.
        input: height x width x channels, such as ``112x112x16``.
        output: the same of what it returns; of a classifier the number of classes.
        candidates: of the choice, such as ``k3_e6`` for kernel 3 and expansion 6, ``skip`` for Zero; empty where there
            is no choice.
    """

    place: str
    input: str
    output: str
    candidates: tuple[str, ...] = ()


@runtime_checkable
class Space(Protocol):
    """A family of networks that can be searched and rebuilt from data."""

    @property
    def name(self) -> str:
        """By which it is registered."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input without the batch; of an image (channels, height, width)."""
        ...

    def network(self) -> nn.Module:
        """A fresh network that holds the choices."""
        ...

    def build(self, architecture: Architecture) -> nn.Module:
        """The compact network of an architecture, with fresh weights.

        Raises:
            ProxylessError: the architecture is not of this space.
        """
        ...

    def architecture(self, choices: Mapping[str, str]) -> Architecture:
        """Choices as an architecture that names this space and what it was made with."""
        ...

    def describe(self, architecture: Architecture) -> str:
        """What was chosen, in one readable line."""
        ...

    def quick_start(self, supernet: Supernet) -> SharedStart | None:
        """How the candidates of ``supernet`` can share the first steps of the search; None where they cannot."""
        ...

    def operators(self) -> Sequence[PlacedOperator]:
        """All operators in network order, for published latency tables; empty where none is of such operators."""
        ...

    def timm_arguments(self, architecture: Architecture) -> dict[str, Any] | None:
        """What timm alone rebuilds the network of an architecture from, as data; None where it is no timm model."""
        ...


@dataclass(frozen=True)
class ImageSpace(ABC):
    """What a search space for images begins from: a subclass has to have :meth:`network` alone.

    A subclass is a frozen dataclass, registered by :func:`~proxyless.spaces.register_space`. Its fields are the
    ``arguments`` of an architecture, by which the space is made again. Those made by
    :func:`~proxyless.configuration.setting` are its settings: flags, YAML and documentation follow from them.

    Args:
        classes: outputs of the networks.
        channels: of the images.
        image_size: height and width of the images in pixels.

    Raises:
        ProxylessError: an argument of a wrong type, or out of range.
    """

    classes: int = argument(1000, least=1, most=MOST_CLASSES)
    channels: int = argument(3, least=1, most=MOST_CHANNELS)
    image_size: int = argument(224, least=8, most=LARGEST_IMAGE)

    name: ClassVar[str] = ""
    regularisation: ClassVar[tuple[str, ...]] = ()
    """Which of ``dropout`` and ``drop_path`` it has as arguments: they change the training of its networks alone."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for item in dataclasses.fields(self):
            value = checked(item, hints[item.name], getattr(self, item.name), f"space {self.name}: {item.name}")
            object.__setattr__(self, item.name, value)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.channels, self.image_size, self.image_size

    @abstractmethod
    def network(self) -> nn.Module:
        """A fresh network that holds the choices, (batch, channels, height, width) -> (batch, classes)."""

    def build(self, architecture: Architecture) -> nn.Module:
        """The compact network of an architecture, with fresh weights.

        Raises:
            ProxylessError: the architecture is not of this space.
        """
        from proxyless.architecture import derive

        return derive(self.network(), architecture)

    def architecture(self, choices: Mapping[str, str]) -> Architecture:
        """Choices as an architecture that names this space and what it was made with."""
        from proxyless.architecture import Architecture

        arguments = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}
        return Architecture(dict(choices), self.name, arguments)

    def describe(self, architecture: Architecture) -> str:
        """What was chosen, in one readable line: the candidates in network order."""
        return " ".join(architecture.choices.values())

    def quick_start(self, supernet: Supernet) -> SharedStart | None:
        """How the candidates of ``supernet`` can share the first steps of the search; None where they cannot."""
        return None

    def operators(self) -> Sequence[PlacedOperator]:
        """All operators in network order, for published latency tables; empty where none is of such operators."""
        return ()

    def timm_arguments(self, architecture: Architecture) -> dict[str, Any] | None:
        """What timm alone rebuilds the network of an architecture from, as data; None where it is no timm model."""
        return None

    def check_size(self, candidates: int, parameters: float) -> None:
        """Make sure that the network with all candidates can be built.

        Args:
            candidates: of all choices.
            parameters: of all candidates.

        Raises:
            ProxylessError: it would be too large.
        """
        for amount, most, what in (
            (candidates, MOST_CANDIDATES, "candidates"),
            (parameters, MOST_PARAMETERS, "parameters in all candidates"),
        ):
            if not amount <= most:
                raise ProxylessError(
                    f"space {self.name}: these arguments make {amount:.3g} {what}, and at most {most:g} can be"
                    " searched; choose a smaller space"
                )
