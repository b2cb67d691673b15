"""The one exception a user's mistake raises: a single line that says what is wrong, where, and how to mend it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

LONGEST = 1000
"""Characters of a message that are shown; what a file holds may be quoted in it, however long that is."""

_SURROGATES = re.compile("[\ud800-\udfff]")


class ProxylessError(Exception):
    """A mistake in what the user passed: shown as one line by the command line, which then exits with code 2.

    Names and values that a message quotes come from files, and may hold line ends or what steers a terminal: these are
    written as escapes.

    Example:
        >>> import proxyless
        >>> try:
        ...     proxyless.load("runs/of-nobody").architecture
        ... except proxyless.ProxylessError as error:
        ...     print(error)
        runs/of-nobody: no such run folder
    """

    exit_code = 2
    """Of the command line."""

    def __str__(self) -> str:
        text = one_line(super().__str__())
        if len(text) > LONGEST:
            text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
        return text


def one_line(text: str) -> str:
    """``text`` without characters that would break a line or steer a terminal: these are written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class Incomplete(ProxylessError):  # noqa: N818  (what was asked for came about, but for a part)
    """Some of what was asked for could not be made; the rest is there, and the same command tries the part again."""

    exit_code = 1


class ContractError(ProxylessError, ValueError):
    """A module or a batch that a search cannot use as it is; names the choice and the candidate."""


def first_line(error: BaseException) -> str:
    """What a foreign exception says, in one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def short(value: object, most: int = 60) -> str:
    """A value as a message quotes it, in so many characters."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that ``name`` was probably meant to be, whatever its case; None where none is near."""
    by_folded = {_folded(one): one for one in known}
    near = difflib.get_close_matches(_folded(name), by_folded, 1)
    return by_folded[near[0]] if near else None


def meant(name: str, known: Iterable[str]) -> str:
    """The end of a message that a ``name`` is none of ``known``: the nearest of them, if one is near."""
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else ""


def _folded(name: str) -> str:
    return name.casefold().replace("_", "-")


def printable(text: str) -> str:
    r"""Write what is not UTF-8 in ``text``, such as bytes of file names, as escapes such as ``\xe9``."""
    return _SURROGATES.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
