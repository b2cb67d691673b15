"""Does the same work on many image files, in several threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from proxyless.data.decoding import without_warnings
from proxyless.machine.system import usable_cores

CHUNK = 32  # files that a thread takes at a time

T = TypeVar("T")


def on_each(work: Callable[[Path], T], root: Path, names: Sequence[str]) -> Iterator[T]:
    """Work on every file below ``root``, and give the results in the order of ``names``."""
    chunks = (names[start : start + CHUNK] for start in range(0, len(names), CHUNK))
    pool = ThreadPoolExecutor(usable_cores())
    try:
        with without_warnings():
            for results in pool.map(lambda chunk: [work(root / name) for name in chunk], chunks):
                yield from results
    finally:
        pool.shutdown(cancel_futures=True)  # so that Ctrl-C does not wait for all the files
