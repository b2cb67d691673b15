"""Makes batches in worker processes, and in this process where these fail: the same bits in the same order."""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from proxyless.data.main_guard import not_to_be_imported
from proxyless.data.watch import Note, Watch, tell
from proxyless.data.workers import AHEAD, Batch, Ended, Source, Workers
from proxyless.machine.system import usable_cores

MOST = 4
"""Worker processes, unless more are asked for."""

PATIENCE_S = 60.0
"""Seconds of waiting after which the user is told what is being waited for."""

GIVE_UP = 5
"""So many times ``PATIENCE_S`` without a batch, and this process makes the batches itself."""


@dataclass
class _Stream:
    """The batches that one consumer wants of a source: those to be asked for, those asked for, and those made."""

    name: str
    numbers: Iterator[int]
    over: bool = False
    due: deque[tuple[int, int]] = field(default_factory=deque)  # key and number, in the order wanted
    made: dict[int, Batch | str] = field(default_factory=dict)  # by key; or why a process could not make it


class Pool:
    """Makes batches of several sources for several consumers, all in the same worker processes.

    The processes start with the first batch that they are to make. They live until the pool is closed or is no longer
    referred to, or until this process ends. Where they cannot be started, end early or no longer answer, ``note`` is
    called, and this process makes all batches that are still wanted.

    Args:
        sources: Makers of batches, by name.
        slow: Names of the sources that are slow enough that processes help.
        workers: Processes for all sources; 0: none; None: one for each core, at most 4, for the slow sources.
        note: Called with a line of text about what went wrong; prints it unless given.
        patience_s: Seconds of waiting after which the user is told what is being waited for.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        slow: Iterable[str],
        *,
        workers: int | None = None,
        note: Note | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.sources = dict(sources)
        self.slow = set(slow)
        self.apart = self.slow if workers is None else set(sources) if workers else set()
        self.count = min(usable_cores(), MOST) if workers is None else workers
        self.note = note or tell
        self.patience_s = patience_s
        self.watch = Watch(patience_s, self.note)
        self.workers: Workers | None = None
        self.streams: dict[int, _Stream] = {}
        self.keys = itertools.count()
        self.waited_s = 0.0
        self.told = False  # why there is nothing yet

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        self.watch.close()
        self.apart = set()
        if self.workers:
            self.workers.stop()
            self.workers = None

    def batches(self, name: str, numbers: Iterable[int]) -> Iterator[Batch]:
        """Iterate over batches of a source, in the order of ``numbers``.

        Several such iterators may be in use at the same time.

        Raises:
            ProxylessError: An image cannot be read.
        """
        stream = _Stream(name, iter(numbers))
        try:
            while (wanted := self._next(stream)) is not None:
                yield self._batch(stream, *wanted)
        finally:
            self.streams = {key: other for key, other in self.streams.items() if other is not stream}

    def _next(self, stream: _Stream) -> tuple[int, int] | None:
        while stream.name in self.apart and self._ready():
            self._ask(stream)
            if stream.due or stream.over:
                break
            self._collect()  # the processes are busy with other streams
        if stream.due:
            return stream.due.popleft()
        number = next(stream.numbers, None)
        return None if number is None else (-1, number)

    def _batch(self, stream: _Stream, key: int, number: int) -> Batch:
        while self.workers and key in self.streams:
            self._collect()
        self.streams.pop(key, None)
        made = stream.made.pop(key, None)
        if isinstance(made, tuple):
            return made
        source = self.sources[stream.name]
        if stream.name not in self.slow:
            return source[number]
        with self.watch.over(source.doing):
            batch = source[number]
        if made is not None and not self.told:  # so the images are not at fault
            self.told = True
            self.note(f"a batch could be made in this process, but not in one beside it: {made}")
        return batch

    def _ready(self) -> bool:
        """Say whether there are processes, after starting them if there are none yet."""
        if self.workers:
            return True
        reason = not_to_be_imported()
        if reason:
            self._alone(reason)
        elif multiprocessing.current_process().daemon:
            self._alone("a daemonic process may start no others")
        else:
            try:
                sources = {name: self.sources[name] for name in self.apart}
                self.workers = Workers(sources, self.count, patience_s=self.patience_s)
            except OSError as error:
                self._alone(f"processes that load images cannot be started ({error})")
        return self.workers is not None

    def _ask(self, stream: _Stream) -> None:
        """Ask the processes for the batches that will be wanted soon."""
        while self.workers and self.workers.room() and len(stream.due) < AHEAD * self.count:
            number = next(stream.numbers, None)
            if number is None:
                stream.over = True
                return
            key = next(self.keys)
            stream.due.append((key, number))
            self.streams[key] = stream
            try:
                self.workers.ask(key, stream.name, number)
            except Ended as ended:
                self._alone(str(ended))

    def _collect(self) -> None:
        """Receive what the processes have made, or wait a little for it."""
        assert self.workers
        tick_s = min(1.0, self.patience_s / 4)
        started = time.monotonic()
        try:
            answers = self.workers.answers(tick_s)
        except Ended as ended:
            self._alone(str(ended))
            return
        for answer in answers:
            if isinstance(answer, str):
                self._heard(answer)
                continue
            self.waited_s = 0.0
            stream = self.streams.pop(answer.key, None)
            if stream is not None:
                stream.made[answer.key] = answer.batch or answer.failure
        if answers:
            return
        # Short times are added up: time in which this process was stopped, as by Ctrl-Z, does not count.
        self.waited_s += min(tick_s, time.monotonic() - started)
        if self.waited_s > GIVE_UP * self.patience_s:
            self._alone(f"no batch has come from the processes that load images for {self.waited_s:.0f} s")
        elif self.waited_s > 1.5 * self.patience_s and not self.told:
            self._heard(
                f"no batch has come from the processes that load images for {self.waited_s:.0f} s; still waiting"
            )

    def _heard(self, text: str) -> None:
        self.told = True
        self.note(text)

    def _alone(self, reason: str) -> None:
        """Continue without processes."""
        if self.workers:
            self.workers.stop()
        self.workers, self.apart = None, set()
        self.note(f"{reason}; images are now loaded in this process, as with images.workers 0")
