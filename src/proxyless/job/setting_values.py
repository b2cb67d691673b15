"""What a setting is: a typed field with a default, a meaning and a range; values are checked when they are put in."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import Any

from proxyless.errors import ProxylessError, meant, nearest, short

LARGEST = 2**62
"""Whole numbers beyond it are no setting: PyTorch takes none for a seed, and nothing is so many."""


def setting(default: Any, help: str, *, least: float | None = None, most: float = math.inf) -> Any:
    """A field of a dataclass of settings: its default, what it means, and the range that a number must lie in."""
    return field(default=default, metadata={"help": help, "least": least, "most": most})


def merged(settings: Any, values: Mapping[Any, Any], where: str = "") -> Any:
    """``settings``, a dataclass that may hold others as its sections, with ``values`` put in.

    Args:
        values: by the names of fields; those of a section in a mapping of their own.
        where: what stands before the names in messages, such as ``search.``.

    Raises:
        ProxylessError: an unknown name, a value of the wrong type, or one out of range.
    """
    hints = typing.get_type_hints(type(settings))
    fields = {item.name: item for item in dataclasses.fields(settings)}
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in hints:
            near = nearest(str(name), hints)
            mend = f"did you mean {where}{near}?" if near else f"there is {', '.join(hints)}"
            raise ProxylessError(f"unknown setting {where}{name}: {mend}")
        current = getattr(settings, name)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, Mapping):
                raise ProxylessError(
                    f"setting {where}{name} is a section: it needs settings below it, got {short(value)}"
                )
            changes[name] = merged(current, value, f"{where}{name}.")
        else:
            changes[name] = _checked(value, hints[name], f"{where}{name}")
            least, most = fields[name].metadata["least"], fields[name].metadata["most"]
            if least is not None and changes[name] is not None and not least <= changes[name] <= most:
                bounds = f"at least {least:g}" + (f" and at most {most:g}" if most < math.inf else "")
                raise ProxylessError(f"setting {where}{name} must be {bounds}, got {short(value)}")
    return dataclasses.replace(settings, **changes)


def type_name(hint: Any) -> str:
    """A type in a user's words: ``a whole number or null``, ``true or false``..."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(str(member.value) for member in hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(type_name(option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return "a list of whole numbers"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}[hint]


def _checked(value: Any, hint: Any, name: str) -> Any:
    """``value`` if it is of type ``hint``, converted where nothing is lost."""
    wanted = type_name(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None:
            return None
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if isinstance(hint, type) and issubclass(hint, Enum):
        for member in hint:
            if value in (member, member.value):
                return member
        near = meant(str(value), [str(member.value) for member in hint])
        raise ProxylessError(f"setting {name} must be {wanted}, got {short(value)}{near}")
    elif typing.get_origin(hint) is tuple:
        if isinstance(value, list | tuple) and all(isinstance(v, int) and not isinstance(v, bool) for v in value):
            return tuple(value)
    elif hint is float:
        # YAML reads 1e-3, without a point, as text; Python would read the digits of every script.
        readable = value.isascii() if isinstance(value, str) else isinstance(value, int | float)
        with contextlib.suppress(ValueError, OverflowError):
            if readable and not isinstance(value, bool) and math.isfinite(float(value)):
                return float(value)
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            if abs(value) > LARGEST:
                raise ProxylessError(f"setting {name} must be at most {LARGEST}, got {short(value)}")
            return value
    elif isinstance(value, hint):
        return value
    raise ProxylessError(f"setting {name} must be {wanted}, got {short(value)}")


def plain(value: Any) -> Any:
    """A dataclass of settings as mappings, texts and numbers, the inverse of :func:`merged`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value
