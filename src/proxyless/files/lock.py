"""A file beside a run, a table or a bundle says which process works at it, so that no other one does."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from proxyless.errors import ProxylessError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
"""The name of the lock in a folder; the lock of a file has the file's name in it, see :func:`beside`."""


class LockedError(ProxylessError):
    """Another process is at work at the same place."""


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock.

    Args:
        pid: of the process.
        host: name of the machine.
        machine: since when the machine runs, and which processes it sees; "" where that is not known. The same in all
            processes that can see one another.
        started: when the process was started, as the machine counts: a number may be given to another one later.
        since: when the lock was taken, for people.
    """

    pid: int
    host: str
    machine: str
    started: str
    since: str

    @classmethod
    def this(cls) -> Owner:
        """This process."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(os.getpid(), platform.node(), _machine(), _started(os.getpid()), now)

    @classmethod
    def read(cls, content: bytes) -> Owner | None:
        """Read a lock; None where it says nothing, as right after it was made, or in a full file system."""
        try:
            value = json.loads(content)
            owner = cls(**{item.name: value[item.name] for item in fields(cls)})
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        texts = (owner.host, owner.machine, owner.started, owner.since)
        numbered = type(owner.pid) is int and 0 < owner.pid < 2**31
        return owner if numbered and all(isinstance(text, str) for text in texts) else None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    def ended(self, here: Owner) -> bool | None:
        """Whether the process is over, as ``here`` sees it; None where that cannot be seen from here."""
        if self.machine != here.machine:
            # The same machine after a restart; or another one, or another container on it.
            return True if self.host == here.host and _boot(self.machine) != _boot(here.machine) else None
        if not _alive(self.pid):
            return True
        started = _started(self.pid)
        return bool(started and self.started and started != self.started)


@contextmanager
def held(path: Path, what: Path) -> Iterator[None]:
    """Hold a lock as long as the context lasts, and take over one whose process has ended.

    Args:
        path: of the lock, in a folder that exists.
        what: the run, table or bundle that is locked, for the message.

    Raises:
        LockedError: another process works at ``what``; names it, and says what to do where it cannot be seen from here.
    """
    here = Owner.this()
    key = os.path.realpath(path)
    if key in _MINE:  # the system's locks do not keep a process from itself, and lose those it has if it tries
        raise LockedError(f"{what}: this process is at work on it already")
    _MINE.add(key)
    try:
        handle = _taken(path, what, here)
        try:
            yield
        finally:
            _given_up(handle, path)
    finally:
        _MINE.remove(key)


_MINE: set[str] = set()
"""Locks of this process."""


def beside(file: Path) -> Path:
    """The path of the lock of a file, or of a folder that is replaced as a whole, in the folder that holds it."""
    file = Path(os.path.realpath(file))
    name = os.fsencode(file.name)
    short = file.name if len(name) <= 200 else hashlib.sha256(name).hexdigest()
    return file.with_name(f".{short}{NAME}")


def _taken(path: Path, what: Path, here: Owner) -> int:
    for _ in range(100):
        if path.is_symlink():  # what it leads to, anybody's file, would be overwritten
            raise ProxylessError(f"{path}: a link, and in the way of the lock; remove it")
        flags = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
        if not stat.S_ISREG(os.fstat(handle).st_mode):  # a pipe would be waited for
            os.close(handle)
            raise ProxylessError(f"{path}: no file, and in the way of the lock; remove it")
        alone = _lock(handle)
        owner = Owner.read(os.read(handle, 10_000))
        if alone is False or (owner and not _over(owner, here, alone)):
            os.close(handle)
            raise LockedError(_message(path, what, owner, here))
        if not _is(handle, path):  # it was given up between our opening and our locking it
            os.close(handle)
            continue
        try:
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, json.dumps(asdict(here)).encode())
        except OSError:
            _given_up(handle, path)
            raise
        return handle
    raise LockedError(f"{what}: several processes begin to work on it at the same time; try again")


def _given_up(handle: int, path: Path) -> None:
    with suppress(OSError):  # of a folder that was moved or removed meanwhile
        if _is(handle, path):
            path.unlink()
    os.close(handle)


def _over(owner: Owner, here: Owner, alone: bool | None) -> bool:
    """Whether ``owner`` holds the lock no more, given whether we are ``alone`` in locking the file."""
    one_kernel = _boot(owner.machine) == _boot(here.machine) and (here.machine or owner.host == here.host)
    if alone and one_kernel:
        return True  # that keeps the locks of both
    return owner.ended(here) is True


def _message(path: Path, what: Path, owner: Owner | None, here: Owner) -> str:
    by = f"another process ({owner})" if owner else "another process"
    text = f"{what}: {by} is at work on it; wait for its end, or choose another name"
    if owner and owner.machine != here.machine:
        text += f"; if that process is over, remove {path}"
    return text


def _lock(handle: int) -> bool | None:
    """Lock the open file for this process, until it ends at the latest: whether that worked; None where none can.

    A lock of the kind that a child does not inherit: workers may outlive a killed process for some seconds.
    """
    if fcntl is None:
        return None
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return None
    return True


def _is(handle: int, path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _machine() -> str:
    parts = []
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _boot(machine: str) -> str:
    return machine.split(" ")[0]


def _alive(pid: int) -> bool:
    if os.name != "posix":
        return True  # there, asking would end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return not _is_zombie(pid)


def _fields(pid: int) -> list[str]:
    """State, parent... of ``/proc/PID/stat``: what stands behind the name, which may hold anything."""
    with suppress(OSError, ValueError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return []


def _is_zombie(pid: int) -> bool:
    return _fields(pid)[:1] == ["Z"]


def _started(pid: int) -> str:
    """Ticks from the machine's start to the process's; "" where that is not known."""
    found = _fields(pid)
    return found[19] if len(found) > 19 else ""
