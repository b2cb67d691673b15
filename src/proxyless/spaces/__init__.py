"""Ready search spaces by name; any module that holds choices is one as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from proxyless.architecture import Architecture
from proxyless.errors import ProxylessError

if TYPE_CHECKING:
    from torch import nn


class Space(Protocol):
    """A family of networks that can be searched and rebuilt from data."""

    name: str

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        ...

    def network(self) -> nn.Module:
        """A fresh network that holds the choices."""
        ...

    def build(self, architecture: Architecture) -> nn.Module:
        """The compact network of an architecture, with fresh weights."""
        ...

    def architecture(self, choices: dict[str, str]) -> Architecture:
        """Choices as an architecture that names this space."""
        ...

    def describe(self, architecture: Architecture) -> str:
        """One readable line."""
        ...


NAMES = ("mobilenet",)


def make(name: str, arguments: Mapping[str, Any] | None = None) -> Space:
    """The space called ``name``.

    Raises:
        ProxylessError: no such space, or arguments it does not take.
    """
    if name not in NAMES:
        raise ProxylessError(f"no search space called {name!r}: there is {', '.join(NAMES)}")
    from proxyless.spaces.mobilenet import MobileNetSpace

    try:
        return MobileNetSpace(**(arguments or {}))
    except TypeError as error:
        raise ProxylessError(f"space {name}: {error}") from None


def space_of(architecture: Architecture) -> Space:
    """The space an architecture names."""
    return make(architecture.space, architecture.arguments)
