"""A place that a command writes to: found to be writable by writing there, and for one process at a time."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from proxyless import files
from proxyless.errors import ProxylessError
from proxyless.files import lock

TRIED = 64 * 1024
"""Bytes that are written of each file when a place is tried."""


@contextmanager
def folder(path: Path, names: Iterable[str], *, flag: str = "--out ") -> Iterator[None]:
    """Have a folder for this process alone, after some files have been written into it by way of trial.

    It is made if need be, and removed afterwards if it was made here and nothing is in it. What a killed process left
    half-written is removed.

    Args:
        path: of the folder.
        names: of the files that will be written, relative to the folder, with those of folders in it.
        flag: what stands before the folder in a message.

    Raises:
        ProxylessError: they cannot be written there, or another process works there.
    """
    with ExitStack() as stack:
        with named(f"{flag}{path}"):
            stack.enter_context(_made(path))
            stack.enter_context(lock.held(path / lock.NAME, path))
            files.remove_partial(path)
            _try_names(path, names)
        yield


@contextmanager
def file(path: Path) -> Iterator[None]:
    """Have the place of the file ``path`` for this process alone, where it can be written; see :func:`folder`."""
    check_file(path)
    with ExitStack() as stack:
        with named(f"--out {path}"):
            stack.enter_context(_made(path.parent))
            stack.enter_context(lock.held(lock.beside(path), path))
        yield


@contextmanager
def new_folder(path: Path, names: Iterable[str]) -> Iterator[Path]:
    """Yield an empty folder that takes the place of another one on success, and is removed on any error.

    The place is this process's alone meanwhile. What a killed process left half-written is removed.

    Args:
        path: of the folder that is replaced; the new one is made beside it.
        names: of files that will be in it.

    Raises:
        ProxylessError: they cannot be written there, or another process works there.
    """
    path = path.absolute()
    if os.path.ismount(path):
        raise ProxylessError(f"--out {path}: is where a disk is mounted, and cannot be replaced; give a folder in it")
    with ExitStack() as stack:
        with named(f"--out {path}"):
            stack.enter_context(_made(path.parent))
            own = lock.beside(path)
            stack.enter_context(lock.held(own, path))
            work = own.with_name(f"{files.PARTIAL}{hashlib.sha256(own.name.encode(errors='replace')).hexdigest()[:16]}")
            shutil.rmtree(work, ignore_errors=True)
            _try_names(path.parent, [f"{path.name}/{name}" for name in names])
            (work / "new").mkdir(parents=True)  # "new" has the rights of any new folder
        try:
            yield work / "new"
            for written in (work / "new").rglob("*"):
                files.sync(written)
            if path.exists():
                os.rename(path, work / "old")
            try:
                os.rename(work / "new", path)
            except OSError:
                if (work / "old").exists():
                    os.rename(work / "old", path)
                raise
            files.sync(path.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def check_file(path: Path) -> None:
    """Make sure before any work that the file ``path`` can be written, by trying.

    Raises:
        ProxylessError: it is a folder or something else that is no file, or its folder cannot be written to.
    """
    with named(f"--out {path}"):
        if path.is_dir():
            raise ProxylessError(f"--out {path}: is a folder; give the name of a file")
        if path.exists() and not path.is_file():
            raise ProxylessError(f"--out {path}: is a device or a pipe; give the name of a file")
        if not path.name:
            raise ProxylessError(f"--out {path}: give the name of a file")
        with _made(path.parent):
            _try_names(path.parent, [path.name])


def _try_names(path: Path, names: Iterable[str]) -> None:
    """Write a file of each name in a folder of its own in ``path``; nothing remains."""
    trial = Path(tempfile.mkdtemp(prefix=files.PARTIAL, dir=path))
    try:
        for name in names:
            there = path / name
            if there.is_dir() or (there.is_symlink() and not there.exists()):
                raise ProxylessError(f"{there}: is in the way of a file; move it away")
            written = trial / name
            written.parent.mkdir(parents=True, exist_ok=True)
            partial = written.with_name(f"{files.PARTIAL}{len(name)}")
            partial.write_bytes(bytes(TRIED))
            os.replace(partial, written)
            if there.exists():
                there.open("ab").close()
            if there.parent.is_dir() and there.parent != path:
                with tempfile.NamedTemporaryFile(prefix=files.PARTIAL, dir=there.parent):
                    pass
        files.sync(written)
    finally:
        shutil.rmtree(trial)


@contextmanager
def _made(path: Path) -> Iterator[None]:
    """Have a folder, which is removed afterwards, with those above it, if it was made here and is empty."""
    if path.is_symlink() and not path.exists():
        raise ProxylessError(f"{path}: is a link to a place that does not exist; choose another name")
    missing = []
    nearest = path.absolute()
    while not nearest.is_dir() and nearest != nearest.parent:
        missing.append(nearest)
        nearest = nearest.parent
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for made in missing:
            try:
                made.rmdir()
            except OSError:  # there is something in it
                break


@contextmanager
def named(place: str) -> Iterator[None]:
    """Errors of the system say which place was asked for."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: of a name that no file system can have
        reason = getattr(error, "strerror", None) or str(error)
        raise ProxylessError(f"{place}: cannot be written to ({reason}); choose another place") from None
