"""Ready search spaces by name; any module that holds choices is one as well.

A space of another package registers itself by :func:`register_space`, and is found by an entry point of the group
``proxyless.spaces``.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from proxyless.configuration import argument, is_setting, setting
from proxyless.errors import ProxylessError
from proxyless.registry import Registry
from proxyless.spaces.space import ImageSpace, PlacedOperator, Space

if TYPE_CHECKING:
    from proxyless.architecture import Architecture

__all__ = [
    "SPACES",
    "ImageSpace",
    "PlacedOperator",
    "Space",
    "SpaceInfo",
    "argument",
    "list_spaces",
    "make",
    "register_space",
    "setting",
    "space_of",
]

SPACES: Registry[type[ImageSpace]] = Registry(
    "search space",
    "proxyless.spaces",
    {
        "mobilenet": "proxyless.spaces.mobilenet",
        "tree": "proxyless.spaces.tree",
        "nas-bench-macro": "proxyless.spaces.nas_bench_macro",
    },
)
"""Every search space by name."""

S = TypeVar("S", bound=type[ImageSpace])


def register_space(name: str) -> Callable[[S], S]:
    """Make a class known as a search space: the command line, bundles and reports then know it as they know ours.

    Args:
        name: by which it is asked for, such as ``--space NAME``.

    Returns:
        A decorator for a frozen dataclass that is a subclass of :class:`ImageSpace`.

    Raises:
        ProxylessError: the name is taken, or the class is no subclass of :class:`ImageSpace`.

    Example:
        >>> from dataclasses import dataclass
        >>> from torch import nn
        >>> from proxyless import Choice, list_spaces, register_space
        >>> from proxyless.spaces import ImageSpace
        >>> @register_space("one-choice")
        ... @dataclass(frozen=True)
        ... class OneChoice(ImageSpace):
        ...     "One convolution, of two sizes."
        ...     def network(self):
        ...         conv = Choice(k3=nn.Conv2d(self.channels, 8, 3), k5=nn.Conv2d(self.channels, 8, 5, padding=1))
        ...         return nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, self.classes))
        >>> {space.name: space.description for space in list_spaces()}["one-choice"]
        'One convolution, of two sizes.'
    """

    def registered(kind: S) -> S:
        if not (isinstance(kind, type) and issubclass(kind, ImageSpace) and dataclasses.is_dataclass(kind)):
            raise ProxylessError(f"search space {name}: {kind!r} is no dataclass that is a subclass of ImageSpace")
        SPACES.register(name, kind, module=kind.__module__)
        kind.name = name
        return kind

    return registered


def make(name: str, arguments: Mapping[str, Any] | None = None) -> ImageSpace:
    """Make the space called ``name``.

    Raises:
        ProxylessError: no such space, or arguments it does not take.
    """
    kind, given = SPACES.get(name), arguments or {}
    known = [item.name for item in dataclasses.fields(kind)]
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            mend = f"did you mean {near[0]}?" if near else f"there is {', '.join(known)}"
            raise ProxylessError(f"space {name} has no argument {key}: {mend}")
    return kind(**given)


def space_of(architecture: Architecture) -> ImageSpace:
    """Make the space that an architecture names."""
    return make(architecture.space, architecture.arguments)


@dataclass(frozen=True)
class SpaceInfo:
    """What is known of a search space.

    Args:
        name: as ``--space`` takes it.
        description: one line; where it cannot be imported, why.
        settings: names of its own settings.
    """

    name: str
    description: str
    settings: tuple[str, ...]


def list_spaces() -> list[SpaceInfo]:
    """The search spaces that have a name, ours and those of other packages.

    Example:
        >>> import proxyless
        >>> [space.name for space in proxyless.list_spaces()][:3]
        ['mobilenet', 'tree', 'nas-bench-macro']
    """
    broken = [SpaceInfo(name, reason, ()) for name, reason in SPACES.broken().items()]
    return [_described(name, kind) for name, kind in SPACES.registered().items()] + broken


def _described(name: str, kind: type[ImageSpace]) -> SpaceInfo:
    description = (kind.__doc__ or "").strip().partition("\n")[0]
    return SpaceInfo(name, description, tuple(item.name for item in dataclasses.fields(kind) if is_setting(item)))
