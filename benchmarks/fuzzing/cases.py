"""One case: a good file is made wrong by a few changes, read, and the outcome is told; each is known by its number."""

from __future__ import annotations

import json
import random
import shutil
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

from fuzzing import mutations
from fuzzing.doors import BYTES, CHECKPOINT, DOORS, LINES, SAFETENSORS, YAML, Door
from proxyless.errors import ProxylessError

SEED = "proxyless 1"
LONGEST = 1100
"""Characters of a message."""

LOADED, REFUSED, FAILED = "loaded", "refused", "failed"
Change = int
"""Seed of one change."""


@dataclass(frozen=True)
class Case:
    """What is changed at which door."""

    number: int
    door: Door
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Outcome:
    """What came of a case: ``told`` is the message, or the traceback of a failure."""

    kind: str
    told: str
    seconds: float
    mib: float


def case(number: int) -> Case:
    """The case of a number, the same on every machine."""
    rng = random.Random(f"{SEED} {number}")
    door = rng.choices(DOORS, [door.share for door in DOORS])[0]
    return Case(number, door, tuple(rng.getrandbits(48) for _ in range(rng.choice((1, 1, 1, 2, 3)))))


def changed(door: Door, content: bytes, change: Change, folder: Path) -> bytes:
    """``content`` with one change of the kinds that its door knows."""
    rng = random.Random(change)
    if door.kind == BYTES or rng.random() < 0.25:
        return mutations.changed_bytes(content, rng)
    try:
        if door.kind == CHECKPOINT:
            return mutations.changed_checkpoint(content, rng, folder)
        if door.kind == SAFETENSORS:
            return mutations.changed_safetensors(content, rng)
        if door.kind == LINES:
            lines = content.decode().splitlines()
            where = rng.randrange(len(lines))
            line = mutations.as_text(mutations.changed_tree(json.loads(lines[where]), rng)).decode()
            lines[where] = line.replace("\n", " ")
            return ("\n".join(lines) + "\n").encode()
        tree = _yaml(content) if door.kind == YAML else json.loads(content)
        return mutations.as_text(mutations.changed_tree(tree, rng))
    except Exception:  # an earlier change left no such content
        return mutations.changed_bytes(content, rng)


def _yaml(content: bytes) -> object:
    import yaml

    return yaml.safe_load(content)


def run(found: Case, root: Path, good: Path) -> Outcome:
    """Run a case in ``root``, a copy of the good files in ``good``, which is as before afterwards."""
    path = root / found.door.file
    content = (good / found.door.file).read_bytes()
    rng = random.Random(found.changes[0] + 1)
    path.unlink()
    if rng.random() < 0.01:
        mutations.no_file(path, rng)
    else:
        for change in found.changes:
            content = changed(found.door, content, change, root)
        path.write_bytes(content)
    before, started = _reset_peak(), time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # none is shown to a user
            for ignored in (DeprecationWarning, FutureWarning, ImportWarning, ResourceWarning):
                warnings.simplefilter("ignore", ignored)
            found.door.read(root)
        kind, told = LOADED, ""
    except ProxylessError as error:
        kind, told = REFUSED, str(error)
        if not (told.isprintable() and 0 < len(told) <= LONGEST):
            kind, told = FAILED, f"no single line that can be shown: {told!r}"
    except BaseException as error:
        kind, told = FAILED, _traced(error)
    seconds, mib = time.process_time() - started, max(0.0, _peak() - before)
    if (root / mutations.MARKER).exists():
        kind, told = FAILED, f"code of the file was run; {told}"
        (root / mutations.MARKER).rmdir()
    _restore(path, good / found.door.file)
    return Outcome(kind, told, seconds, mib)


def minimal(found: Case, root: Path, good: Path) -> Case:
    """The case with one change alone, where that fails too."""
    for change in found.changes if len(found.changes) > 1 else ():
        fewer = Case(found.number, found.door, (change,))
        if run(fewer, root, good).kind == FAILED:
            return fewer
    return found


def _traced(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    ours = [place for place, frame in zip(where, frames, strict=True) if "proxyless" in frame.filename]
    text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return f"{text} | {' < '.join(reversed([*ours[-4:], where[-1]]))}"


def _restore(path: Path, good: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    shutil.copy(good, path)


def _reset_peak() -> float:
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    """MiB of memory that this process had at the most since it was last reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0
