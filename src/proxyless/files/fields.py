"""The objects of a parsed JSON file are read field by field; an error says which field is wrong, and where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from proxyless.errors import ProxylessError, short

LARGEST = 16_384
"""No channel, kernel or class count beyond this is taken for real."""

WINDOW = 256
"""No kernel, stride or dilation beyond this is taken for real."""

WIDE = 1e12
"""No measured quantity beyond this, above or below 0, is taken for real: sums of them stay finite."""


class Fields:
    """One object of a JSON file.

    Args:
        value: what stands in the file.
        where: its place there, such as ``blocks.3.mobile_inverted_conv``, or "" for the whole.
        source: what messages begin with, such as the file's path.
        whole: what the whole is called in messages.

    Raises:
        ProxylessError: it is no JSON object.
    """

    def __init__(self, value: Any, where: str, *, source: str = "", whole: str = "the network") -> None:
        self._asked = {"name"}
        self.where, self.source, self.whole = where, source, whole
        if not isinstance(value, dict):
            raise self.problem(f"expected a JSON object, got {short(value)}")
        self._value = value

    def problem(self, text: str) -> ProxylessError:
        """An error about this object."""
        return ProxylessError(": ".join(part for part in (self.source, self.where or self.whole, text) if part))

    def get(self, key: str, default: Any = None) -> Any:
        """The field as it stands, or ``default`` where it is missing."""
        self._asked.add(key)
        return self._value.get(key, default)

    def __contains__(self, key: str) -> bool:
        return key in self._value

    @property
    def kind(self) -> str:
        """The ``name`` of the layer, block or network."""
        return self.text("name")

    def kind_among(self, what: str, kinds: Sequence[str]) -> str:
        """The kind, which must be one of ``kinds``; ``what`` says in messages of what it is the kind."""
        if self.kind not in kinds:
            known = f"one of {', '.join(kinds)}" if len(kinds) > 1 else kinds[0]
            raise self.problem(f"unknown {what} kind {self.kind!r}: expected {known}")
        return self.kind

    @property
    def value(self) -> dict[str, Any]:
        """All of it, as it stands."""
        return dict(self._value)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all fields, in order."""
        return tuple(self._value)

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        value = self._needed(key) if default is None else self.get(key, default)
        if not isinstance(value, str):
            raise self.problem(f"{key} must be a string, got {short(value)}")
        return value

    def one_of(self, key: str, options: Sequence[str | None]) -> str | None:
        """A string or null out of ``options``; null where it is missing."""
        value = self.get(key)
        if value not in options:
            raise self.problem(f"{key} must be one of {', '.join(map(str, options))}, got {short(value)}")
        return None if value is None else str(value)

    def texts(self, key: str) -> dict[str, str]:
        """An object that holds nothing but strings."""
        inner = self.child(key)
        return {name: inner.text(name) for name in inner.names}

    def count(self, key: str, default: int | None = None, *, least: int = 1, most: int = LARGEST) -> int:
        """A whole number from ``least`` to ``most``."""
        value = self._needed(key) if default is None else self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.problem(f"{key} must be a whole number from {least} to {most}, got {short(value)}")
        return value

    def measured(self, key: str, *, least: float = -WIDE) -> float:
        """A number as measurements give it: finite, whole or not, at least ``least``."""
        value = self._needed(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= WIDE:
            bound = "finite number" if least == -WIDE else f"number of at least {least:g}"
            raise self.problem(f"{key} must be a {bound}, got {short(value)}")
        return float(value)

    def number(self, key: str, default: float | None = None) -> float:
        """A number of at least 0."""
        value = self._needed(key) if default is None else self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST:
            raise self.problem(f"{key} must be a number of at least 0, got {short(value)}")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.problem(f"{key} must be true or false, got {short(value)}")
        return value

    def child(self, key: str) -> Fields:
        """The object under ``key``."""
        return self._inner(self._needed(key), self.place(key))

    def optional(self, key: str, *, missing: bool = True) -> Fields | None:
        """The object under ``key``; None for null, and where it is not there, if it may be ``missing``."""
        value = self.get(key) if missing else self._needed(key)
        return None if value is None else self._inner(value, self.place(key))

    def children(self, key: str) -> list[Fields | None]:
        """The list of objects under ``key``, None for null."""
        inner = enumerate(self.values(key))
        return [None if x is None else self._inner(x, f"{self.place(key)}.{i}") for i, x in inner]

    def objects(self, key: str) -> list[Fields]:
        """The list of objects under ``key``."""
        return [self._inner(x, f"{self.place(key)}.{i}") for i, x in enumerate(self.values(key))]

    def mapping(self, key: str) -> dict[str, Any]:
        """The object under ``key`` as it stands."""
        return self.child(key).value

    def values(self, key: str) -> list[Any]:
        """The list under ``key`` as it stands."""
        value = self._needed(key)
        if not isinstance(value, list):
            raise self.problem(f"{key} must be a list, got {short(value)}")
        return list(value)

    def numbers(self, key: str, least: float, most: float) -> tuple[float, ...]:
        """The list of numbers between two bounds under ``key``."""
        found = self.values(key)
        if not all(isinstance(x, int | float) and not isinstance(x, bool) and least <= x <= most for x in found):
            raise self.problem(f"{key} must be numbers from {least:g} to {most:g}, got {short(found)}")
        return tuple(map(float, found))

    def place(self, key: str) -> str:
        """Where ``key`` stands in the file."""
        return f"{self.where}.{key}" if self.where else key

    def finish(self) -> None:
        """Make sure that nothing was left unread that asks for something.

        A field that was never asked for may only say "nothing of the kind" (null, false, 0 or empty): a file that asks
        for something unknown must not be read as if it had not.

        Raises:
            ProxylessError: naming the first such field.
        """
        for key in self._left():
            raise self.problem(f"{key} = {short(self._value[key])} is not supported")

    def _inner(self, value: Any, where: str) -> Fields:
        return Fields(value, where, source=self.source, whole=self.whole)

    def _left(self) -> Iterator[str]:
        return (key for key, value in self._value.items() if key not in self._asked and value)

    def _needed(self, key: str) -> Any:
        if key not in self._value:
            raise self.problem(f"{key!r} is missing")
        return self.get(key)
