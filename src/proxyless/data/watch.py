"""A line for one who waits, where something takes long."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Note = Callable[[str], None]
"""Told a line that is worth reading."""


def tell(text: str) -> None:
    """A line on standard error."""
    print(f"proxyless: {text}", file=sys.stderr, flush=True)


class Watch:
    """Tells in a line what is being done, once it takes longer than ``patience_s`` seconds.

    From a thread of its own, as what takes long may never come back.
    """

    def __init__(self, patience_s: float, note: Note) -> None:
        self.patience_s = patience_s
        self.note = note
        self.doing: Callable[[], str] | None = None
        self.number = 0
        self.thread: threading.Thread | None = None
        self.closed = threading.Event()

    @contextmanager
    def over(self, doing: Callable[[], str]) -> Iterator[None]:
        """Watch what is done meanwhile; ``doing`` says what that is."""
        if self.thread is None:
            self.thread = threading.Thread(target=self._watch, daemon=True)
            self.thread.start()
        self.number += 1
        self.doing = doing
        try:
            yield
        finally:
            self.doing = None

    def close(self) -> None:
        """End the thread."""
        self.closed.set()

    def _watch(self) -> None:
        number, ticks = 0, 0
        while not self.closed.wait(self.patience_s / 4):
            doing = self.doing
            # Counted in naps, not read off a clock: while this process is stopped, nothing takes long.
            ticks = ticks + 1 if doing is not None and number == self.number else 0
            number = self.number
            if doing is not None and ticks == 4:
                self.note(f"{doing()} for {self.patience_s:g} s now")
