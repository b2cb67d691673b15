"""Tells a user who waits what takes so long."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Note = Callable[[str], None]
"""Is called with a line of text for the user."""


def tell(text: str) -> None:
    """Print a line on standard error."""
    print(f"proxyless: {text}", file=sys.stderr, flush=True)


class Watch:
    """Tells what is being done, once it takes longer than ``patience_s`` seconds.

    A thread of its own does so, since what takes long may never return.
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
        """Watch what is done inside a ``with`` block; ``doing`` describes it."""
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
            # Short sleeps are counted: time in which this process was stopped, as by Ctrl-Z, does not count.
            ticks = ticks + 1 if doing is not None and number == self.number else 0
            number = self.number
            if doing is not None and ticks == 4:
                self.note(f"{doing()} for {self.patience_s:g} s now")
