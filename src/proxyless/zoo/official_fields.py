"""Reads the JSON objects of a network file in the authors' format and says where in the file something is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from proxyless.errors import ProxylessError

LARGEST = 16_384
"""No channel, kernel or class count beyond this is taken for real."""


class Fields:
    """One JSON object of a network file.

    A field that was never asked for may only say "nothing of the kind" (null, false, 0 or empty): a file that asks for
    something unknown must not be read as if it had not.

    Args:
        value: what stands in the file.
        where: its place there, such as ``blocks.3.mobile_inverted_conv``, or "" for the whole.

    Raises:
        ProxylessError: it is no JSON object.
    """

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise ProxylessError(f"{where or 'the network'}: expected a JSON object, got {_short(value)}")
        self._value = value
        self._asked = {"name"}
        self.where = where

    def problem(self, text: str) -> ProxylessError:
        """An error about this object."""
        return ProxylessError(f"{self.where or 'the network'}: {text}")

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

    def text(self, key: str) -> str:
        """A string."""
        value = self._needed(key)
        if not isinstance(value, str):
            raise self.problem(f"{key} must be a string, got {_short(value)}")
        return value

    def one_of(self, key: str, options: Sequence[str | None]) -> str | None:
        """A string or null out of ``options``; null where it is missing."""
        value = self.get(key)
        if value not in options:
            raise self.problem(f"{key} must be one of {', '.join(map(str, options))}, got {_short(value)}")
        return None if value is None else str(value)

    def count(self, key: str, default: int | None = None) -> int:
        """A whole number of at least 1."""
        value = self._needed(key) if default is None else self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
            raise self.problem(f"{key} must be a whole number from 1 to {LARGEST}, got {_short(value)}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number of at least 0."""
        value = self._needed(key) if default is None else self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST:
            raise self.problem(f"{key} must be a number of at least 0, got {_short(value)}")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.problem(f"{key} must be true or false, got {_short(value)}")
        return value

    def child(self, key: str) -> Fields:
        """The object under ``key``."""
        return Fields(self._needed(key), self.place(key))

    def children(self, key: str) -> list[Fields | None]:
        """The list of objects under ``key``, None for null."""
        value = self._needed(key)
        if not isinstance(value, list):
            raise self.problem(f"{key} must be a list, got {_short(value)}")
        return [None if x is None else Fields(x, f"{self.place(key)}.{i}") for i, x in enumerate(value)]

    def place(self, key: str) -> str:
        """Where ``key`` stands in the file."""
        return f"{self.where}.{key}" if self.where else key

    def finish(self) -> None:
        """Make sure that nothing was left unread that asks for something.

        Raises:
            ProxylessError: naming the first such field.
        """
        for key in self._left():
            raise self.problem(f"{key} = {_short(self._value[key])} is not supported")

    def _left(self) -> Iterator[str]:
        return (key for key, value in self._value.items() if key not in self._asked and value)

    def _needed(self, key: str) -> Any:
        if key not in self._value:
            raise self.problem(f"{key!r} is missing")
        return self.get(key)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
