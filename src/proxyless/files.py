"""Writing files so that a reader never meets half of one, and reading them again, see :mod:`proxyless.reading`."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from proxyless.reading import read_json, read_json_lines

__all__ = [
    "PARTIAL",
    "append_json_line",
    "is_partial",
    "read_json",
    "read_json_lines",
    "remove_partial",
    "replacing",
    "write_json",
    "write_text",
]

PARTIAL = ".partial-"
"""How the names of files begin that are being written."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is renamed to ``path``, on any error removed.

    The temporary name keeps the suffix, for libraries that choose a format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{PARTIAL}{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    umask = os.umask(0)
    os.umask(umask)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def is_partial(path: Path) -> bool:
    """Whether ``path`` is what a killed process left half-written."""
    return path.name.startswith(PARTIAL)


def remove_partial(folder: Path) -> None:
    """Remove what a killed process left half-written in ``folder``."""
    for path in list(folder.rglob(f"{PARTIAL}*")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` as a whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path`` as a whole or not at all."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def append_json_line(path: str | Path, value: dict[str, Any]) -> None:
    """Append ``value`` as one line of JSON to ``path``."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value, allow_nan=False) + "\n")
