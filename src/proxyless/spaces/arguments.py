"""Checks what a search space is made with: a file may ask for anything, and nothing is built before it is sensible."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Protocol

from proxyless.errors import ProxylessError, short

LARGEST_IMAGE = 4096
"""Height and width in pixels of an image at the most."""

MOST_CLASSES = 100_000
MOST_CHANNELS = 1024
"""Of an image."""

MOST_CANDIDATES = 20_000
"""In all choices of a space together."""

MOST_PARAMETERS = 10**9
"""In all candidates of a space together, 4 GB as float32."""

COMMON = {"classes": (2, MOST_CLASSES), "channels": (1, MOST_CHANNELS), "image_size": (8, LARGEST_IMAGE)}
"""Bounds of what every space for images has."""


class Named(Protocol):
    """A search space, as far as its checks need it."""

    name: str


def check_whole(space: Named, bounds: Mapping[str, tuple[int, int]]) -> None:
    """Make sure that arguments are whole numbers from the first to the second bound.

    Raises:
        ProxylessError: naming the first that is not.
    """
    for field, (least, most) in bounds.items():
        value = getattr(space, field)
        if not _is_whole(value):
            raise ProxylessError(f"space {space.name}: {field} must be a whole number, got {short(value)}")
        for bad, bound in ((value < least, f"at least {least}"), (value > most, f"at most {most}")):
            if bad:
                unit = " px" if field == "image_size" else ""
                raise ProxylessError(f"space {space.name}: {field} must be {bound}{unit}, got {value}")


def check_number(space: Named, field: str, least: float, most: float) -> None:
    """Make sure that an argument is a number between two bounds, both included.

    Raises:
        ProxylessError: it is not.
    """
    value = getattr(space, field)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ProxylessError(f"space {space.name}: {field} must be between {least:g} and {most:g}, got {short(value)}")


def check_rate(space: Named, field: str) -> None:
    """Make sure that an argument is a probability below 1.

    Raises:
        ProxylessError: it is not.
    """
    value = getattr(space, field)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ProxylessError(f"space {space.name}: {field} must be from 0 up to below 1, got {short(value)}")


def as_tuple(space: Named, field: str) -> None:
    """Make an argument that is a list, as JSON and YAML have them, a tuple.

    Raises:
        ProxylessError: it is something else.
    """
    value = getattr(space, field)
    if not isinstance(value, list | tuple):
        raise ProxylessError(f"space {space.name}: {field} must be a list, got {short(value)}")
    object.__setattr__(space, field, tuple(value))


def all_whole(values: tuple[object, ...], least: int, most: int) -> bool:
    """Whether all are whole numbers between the bounds."""
    return all(_is_whole(value) and least <= value <= most for value in values)  # type: ignore[operator]


def check_size(space: Named, candidates: int, parameters: float) -> None:
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
                f"space {space.name}: these arguments make {amount:.3g} {what}, and at most {most:g} can be searched;"
                " choose a smaller space"
            )


def _is_whole(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
