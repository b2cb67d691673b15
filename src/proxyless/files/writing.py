"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from proxyless.errors import ProxylessError
from proxyless.files.reading import read_json_lines

PARTIAL = ".partial-"
"""The names of files that are being written begin like this."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is renamed to ``path``, on any error removed.

    What is there afterwards survives a loss of power: the content is on the disk before the name is, and the name
    before this returns. The temporary name keeps the suffix, for libraries that choose a format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the stem: a name that is as long as a file system allows would not leave room for ours.
    suffix = path.suffix if len(path.suffix) <= 20 else ""
    handle, name = tempfile.mkstemp(prefix=PARTIAL, suffix=suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    umask = os.umask(0)
    os.umask(umask)
    try:
        with _naming(path):
            yield temporary
            os.chmod(temporary, 0o666 & ~umask)
            sync(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an error of the system name its file, which that of a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk; some file systems cannot wait.

    Raises:
        OSError: the content could not be written, as on a full disk.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except OSError:  # no folders are opened on Windows
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.EACCES, errno.ENOTSUP, errno.EROFS):
            raise
    finally:
        os.close(handle)


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder for files that only libraries need, and remove it afterwards.

    Raises:
        ProxylessError: there is no place for them; libraries say that in many ways, of which none names the place.
    """
    try:
        path = Path(tempfile.mkdtemp(prefix="proxyless-"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ProxylessError(f"no temporary folder can be made ({reason}); {_ELSEWHERE}") from None
    try:
        yield path
    except Exception as error:
        if shutil.disk_usage(path).free < FULL:
            raise ProxylessError(f"{path.parent}: no room for temporary files; make some, or {_ELSEWHERE}") from error
        raise
    finally:
        shutil.rmtree(path, ignore_errors=True)


FULL = 2**20
"""Bytes on a disk below which an error is put down to its being full."""

_ELSEWHERE = "name another place by the environment variable TMPDIR"


def from_home(path: str | Path) -> Path:
    """Put the home folder in the place of ``~`` in ``path``.

    Raises:
        ProxylessError: nobody knows which that is, as in a container without a HOME.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        mend = ", or set HOME" if Path(path).parts[0] == "~" else ""
        raise ProxylessError(f"{path}: the home folder is not known here; give the whole path{mend}") from None


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


def append_json_line(path: str | Path, value: Mapping[str, Any]) -> None:
    """Append ``value`` as one line of JSON to ``path``, in one piece, so that several processes may.

    A line that was cut off before, by a kill or a full disk, is ended first, so that it spoils no other.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(value, allow_nan=False).encode() + b"\n"
    with _naming(path), path.open("a+b", buffering=0) as file:
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks: its last line may be seen half-written
                fcntl.flock(file, fcntl.LOCK_EX)
        if file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                content = b"\n" + content
        while content:  # all at once but on a disk that is just full, where the next try says so
            content = content[file.write(content) :]


def keep_lines(path: Path, wanted: Callable[[Mapping[str, Any]], bool]) -> None:
    """Leave in a file of :func:`append_json_line` only the values that are ``wanted``, and no broken lines."""
    if not path.exists():
        return
    lines = [json.dumps(value, allow_nan=False) + "\n" for value in read_json_lines(path) if wanted(value)]
    before = path.read_bytes()
    after = "".join(lines)
    if after.encode() != before:
        write_text(path, after)
