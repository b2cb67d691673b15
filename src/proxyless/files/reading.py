"""Files that may hold anything are read as text or as JSON, if they are regular files of a sensible size.

Whatever is wrong with a file is a :class:`ProxylessError` that names it. A pipe or a device is refused before it is
read, since reading it may never end.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from proxyless.errors import ProxylessError, first_line, short

LARGEST_JSON = 64 * 2**20
"""Bytes of a JSON file at the most; the largest that the package writes have a hundredth of it."""

LARGEST_LINES = 2**30
"""Bytes of a file of JSON lines at the most."""

LARGEST_MODEL = 2**31
"""Bytes of a model file at the most, as of every file of ONNX or TFLite."""

DEEPEST = 64
"""Lists and objects that may stand in one another."""

KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
"""What a path may name instead of a file."""


def regular(path: str | Path) -> int:
    """The number of bytes of the regular file ``path``.

    Raises:
        ProxylessError: there is no such file, or it is a folder, a pipe or a device.
    """
    with opened(path) as file:
        return os.fstat(file.fileno()).st_size


@contextmanager
def opened(path: str | Path, most: int | None = None) -> Iterator[BinaryIO]:
    """Open a regular file for reading.

    Args:
        path: of the file.
        most: bytes that it may have, None for any number.

    Raises:
        ProxylessError: there is no such file, it cannot be opened or read, is no regular file or too large.
    """
    try:
        # Without waiting for whoever may write to a pipe.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise ProxylessError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ProxylessError(f"{path}: cannot be opened ({_reason(error)})") from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            kind = next((name for check, name in KINDS if check(found.st_mode)), "something else")
            raise ProxylessError(f"{path}: cannot be read: it is {kind}, not a file")
        if most is not None and found.st_size > most:
            raise ProxylessError(
                f"{path}: cannot be read: it has {found.st_size / 2**20:,.0f} MiB, and such a file at most"
                f" {most / 2**20:,.0f}"
            )
        with os.fdopen(handle, "rb", closefd=False) as file:
            yield file
    except OSError as error:
        raise ProxylessError(f"{path}: cannot be read ({_reason(error)})") from None
    finally:
        os.close(handle)


def content(path: str | Path, most: int) -> bytes:
    """Read a file of at most ``most`` bytes; see :func:`opened` for the errors."""
    with opened(path, most) as file:
        found = file.read(most + 1)
    if len(found) > most:  # files of the system do not say their size
        raise ProxylessError(f"{path}: cannot be read: it has more than {most / 2**20:,.0f} MiB")
    return found


def text(path: str | Path, kind: str = "text", most: int = LARGEST_JSON) -> str:
    """Read the text of a UTF-8 file, without a byte order mark; see :func:`opened` for the errors.

    Args:
        path: of the file.
        kind: what it should be, in messages.
        most: bytes that it may have.
    """
    found = content(path, most)
    if found[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ProxylessError(f"{path}: not readable as {kind}: it is UTF-16; save it as UTF-8")
    try:
        return found.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProxylessError(f"{path}: not readable as {kind} ({error})") from None


def read_json(path: str | Path) -> Any:
    """Read the JSON value in a file.

    Raises:
        ProxylessError: the file is missing, truncated, malformed or too large, gives a name twice in one object, or
            holds numbers that are not finite or do not fit in 64 bits.
    """
    try:
        return parsed_json(text(path, "JSON"))
    except ValueError as error:
        raise ProxylessError(f"{path}: not readable as JSON ({error})") from None


def parsed_json(text: str) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: one line that says what is wrong, see :func:`read_json`.
    """
    try:
        value = json.loads(
            text, parse_int=_whole, parse_float=_finite, parse_constant=_constant, object_pairs_hook=_object
        )
    except RecursionError:
        raise ValueError("lists or objects are nested too deeply") from None
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return value
    raise ValueError("lists or objects are nested too deeply")


def read_json_lines(path: str | Path) -> list[dict[str, Any]]:
    """Read the objects of a file of JSON lines; there are none where there is no file.

    Lines that are broken are left out: a kill cuts off the last one, and what went on afterwards may stand behind it.

    Raises:
        ProxylessError: it cannot be read, or not one of its lines is an object.
    """
    if not os.path.lexists(path):
        return []
    found = []
    lines = 0
    line = b""
    with opened(path, LARGEST_LINES) as file:
        for line in file:
            lines += 1
            try:
                value = parsed_json(line.decode("utf-8"))
            except ValueError:
                continue
            if isinstance(value, dict):
                found.append(value)
    if not found and (lines > 1 or not line.isascii()):
        raise ProxylessError(f"{path}: not readable as lines of JSON: none of its {lines} lines is an object")
    return found


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise ValueError(f"the whole number {_cut(digits)} does not fit in 64 bits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {_cut(digits)} is too large")
    return value


def _cut(digits: str) -> str:
    return digits if len(digits) <= 24 else f"{digits[:20]}..."


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"an object gives {short(twice)} twice")
    return value


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or first_line(error)
