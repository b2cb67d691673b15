"""Ready search spaces by name; any module that holds choices is one as well."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from proxyless.architecture import Architecture
from proxyless.errors import ProxylessError, meant

if TYPE_CHECKING:
    from torch import nn

    from proxyless.supernet import SharedStart, Supernet


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


NAMES = ("mobilenet", "tree", "nas-bench-macro")


def _kind(name: str) -> Callable[..., Space]:
    if name not in NAMES:
        raise ProxylessError(f"no search space called {name!r}: there is {', '.join(NAMES)}{meant(name, NAMES)}")
    from proxyless.spaces.mobilenet import MobileNetSpace
    from proxyless.spaces.nas_bench_macro import NasBenchMacroSpace
    from proxyless.spaces.tree import TreeSpace

    kinds: dict[str, Callable[..., Space]] = {
        "mobilenet": MobileNetSpace,
        "tree": TreeSpace,
        "nas-bench-macro": NasBenchMacroSpace,
    }
    return kinds[name]


def takes(name: str, argument: str) -> bool:
    """Whether the space called ``name`` has ``argument``."""
    return argument in inspect.signature(_kind(name)).parameters


def make(name: str, arguments: Mapping[str, Any] | None = None) -> Space:
    """The space called ``name``.

    Raises:
        ProxylessError: no such space, or arguments it does not take.
    """
    kind, given = _kind(name), arguments or {}
    known = inspect.signature(kind).parameters
    for argument in given:
        if argument not in known:
            near = difflib.get_close_matches(str(argument), known, 1)
            mend = f"did you mean {near[0]}?" if near else f"there is {', '.join(known)}"
            raise ProxylessError(f"space {name} has no argument {argument}: {mend}")
    return kind(**given)


def space_of(architecture: Architecture) -> Space:
    """The space an architecture names."""
    return make(architecture.space, architecture.arguments)


def shared_start(space: Space, supernet: Supernet) -> SharedStart | None:
    """The quick start of a space's supernet, if it has one."""
    from proxyless.spaces.mobilenet import MobileNetSpace

    if not isinstance(space, MobileNetSpace):
        return None
    from proxyless.spaces.mobilenet_start import MobileNetStart

    return MobileNetStart(supernet)
