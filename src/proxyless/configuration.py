"""What a setting is: a typed field of a frozen dataclass with a default, a meaning and a range.

Flags, YAML and documentation are made from such fields, and values are checked against them when they are put in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import numbers
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, runtime_checkable

from proxyless.errors import ProxylessError, meant, nearest, short

LARGEST = 2**62
"""Whole numbers beyond it are no setting: PyTorch takes none for a seed, and nothing is so many."""


@dataclass(frozen=True)
class Range:
    """What a number may be at the least and at the most; of a list, each of its numbers."""

    least: float
    most: float

    def __str__(self) -> str:
        return f"at least {self.least:g}" + (f" and at most {self.most:.12g}" if self.most < math.inf else "")


def setting(default: Any, help: str, *, least: float | None = None, most: float = math.inf) -> Any:
    """Make a field of a dataclass a setting.

    Args:
        default: its value where none is chosen; where it follows from others, None, and ``help`` says what follows.
        help: what it means, in sentences.
        least: the least that a number may be; None for what is no number, and for any number.
        most: the most that a number may be.
    """
    return field(default=default, metadata={"help": help} | _bounds(least, most))


def argument(default: Any, *, least: float | None = None, most: float = math.inf) -> Any:
    """Make a field of a dataclass one whose values are checked like those of a setting, but which users do not set."""
    return field(default=default, metadata=_bounds(least, most))


def _bounds(least: float | None, most: float) -> dict[str, Range]:
    return {} if least is None else {"range": Range(least, most)}


def is_setting(item: dataclasses.Field[Any]) -> bool:
    """Whether a field of a dataclass was made by :func:`setting`."""
    return "help" in item.metadata


@runtime_checkable
class Changing(Protocol):
    """A section of settings that has other fields when some of its values change."""

    def changed(self, values: Mapping[Any, Any], where: str) -> tuple[Any, Mapping[Any, Any]]:
        """The section in the form that ``values`` ask for, and the values to put into it.

        Raises:
            ProxylessError: there is no such form, or it has no such values.
        """
        ...


def merged(settings: Any, values: Mapping[Any, Any], where: str = "") -> Any:
    """``settings``, a dataclass that may hold others as its sections, with ``values`` put in.

    Args:
        settings: the dataclass.
        values: by the names of fields; those of a section in a mapping of their own.
        where: what stands before the names in messages, such as ``search.``.

    Raises:
        ProxylessError: an unknown name, a value of the wrong type, or one out of range.
    """
    if isinstance(settings, Changing):
        settings, values = settings.changed(values, where)
    hints = typing.get_type_hints(type(settings))
    fields = {item.name: item for item in dataclasses.fields(settings)}
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            near = nearest(str(name), fields)
            below = [f"{where}{section}.{name}" for section in fields if _has(getattr(settings, section), name)]
            meant = [f"{where}{near}"] if near else below
            mend = f"did you mean {' or '.join(meant)}?" if meant else f"there is {', '.join(fields)}"
            raise ProxylessError(f"unknown setting {where}{name}: {mend}")
        current = getattr(settings, name)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, Mapping):
                raise ProxylessError(
                    f"setting {where}{name} is a section: it needs settings below it, got {short(value)}"
                )
            changes[name] = merged(current, value, f"{where}{name}.")
        else:
            changes[name] = checked(fields[name], hints[name], value, f"setting {where}{name}")
    return dataclasses.replace(settings, **changes)


def _has(section: Any, name: Any) -> bool:
    """Whether a value of a dataclass is a section with a setting of that name."""
    return dataclasses.is_dataclass(section) and any(item.name == name for item in dataclasses.fields(section))


def checked(item: dataclasses.Field[Any], hint: Any, value: Any, called: str) -> Any:
    """A value for a field, converted to the field's type where nothing is lost.

    Args:
        item: the field.
        hint: its type.
        value: what is put in.
        called: the field in words, for messages.

    Raises:
        ProxylessError: the value is of another type, or out of range.
    """
    found = _of_type(value, hint, called)
    bounds: Range | None = item.metadata.get("range")
    if bounds is None or found is None:
        return found
    if isinstance(found, tuple):
        if not all(bounds.least <= number <= bounds.most for number in found):
            raise ProxylessError(f"{called} must hold numbers of {bounds}, got {short(value)}")
    elif not bounds.least <= found <= bounds.most:
        raise ProxylessError(f"{called} must be {bounds}, got {short(value)}")
    return found


def type_name(hint: Any) -> str:
    """A type in a user's words: ``a whole number or null``, ``true or false``..."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(str(member.value) for member in hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(type_name(option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return "a list of texts" if typing.get_args(hint)[0] is str else "a list of whole numbers"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}[hint]


def _of_type(value: Any, hint: Any, called: str) -> Any:
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
        raise ProxylessError(f"{called} must be {wanted}, got {short(value)}{near}")
    elif typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        if isinstance(value, list | tuple) and all(isinstance(v, kind) and not isinstance(v, bool) for v in value):
            return tuple(value)
    elif hint is float:
        # YAML reads 1e-3, without a point, as text; Python would read the digits of every script.
        readable = value.isascii() if isinstance(value, str) else isinstance(value, numbers.Real)
        with contextlib.suppress(ValueError, OverflowError):
            if readable and not isinstance(value, bool) and math.isfinite(float(value)):
                return float(value)
    elif hint is int:
        if isinstance(value, numbers.Integral) and not isinstance(value, bool):
            if abs(int(value)) > LARGEST:
                raise ProxylessError(f"{called} must be at most {LARGEST}, got {short(value)}")
            return int(value)
    elif hint is str and isinstance(value, os.PathLike):
        return os.fspath(value)
    elif isinstance(value, hint):
        return value
    raise ProxylessError(f"{called} must be {wanted}, got {short(value)}")


def plain(value: Any) -> Any:
    """A dataclass of settings as mappings, texts and numbers, the inverse of :func:`merged`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value
