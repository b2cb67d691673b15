"""Answers signals that ask for an end as Ctrl-C is answered: by an exception, so that everything is cleared up."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The signals of Ctrl-C, of the usual request to end, and of a terminal that is closed."""

PATIENCE_S = 10.0
"""Seconds that clearing up may take: a signal that comes later ends the process at once."""

AGAIN_S = 0.05
"""Seconds after which the exception is raised again, if it was raised where Python lets exceptions go."""


class Stopped(KeyboardInterrupt):
    """The exception that is raised when a signal asks for the end."""


@dataclass
class Stop:
    """The first signal that came, if one did, and when."""

    number: int | None = None
    since: float = 0.0

    @property
    def exit_code(self) -> int:
        """The exit code of a process that the signal ends."""
        return 128 + (self.number or signal.SIGINT)


@contextmanager
def stoppable(*, ending: bool = False) -> Iterator[Stop]:
    """Raise :class:`Stopped` at the first signal, and ignore those that follow while everything is cleared up.

    A signal that the process was started to ignore, as by ``nohup``, stays ignored.

    Args:
        ending: the process ends after this, so that signals are not left to others then.
    """
    stop = Stop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if stop.number is None:
            stop.number, stop.since = number, now
            raise Stopped(signal.Signals(number).name)
        if now - stop.since > PATIENCE_S:
            os._exit(stop.exit_code)

    def again(number: int, frame: FrameType | None) -> None:
        raise Stopped

    def unraisable(args: Any) -> None:
        # Raised while an object was being deleted, where Python lets exceptions go.
        if isinstance(args.exc_value, Stopped):
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        else:
            hook(args)

    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread can catch signals
        return
    hook = sys.unraisablehook
    caught = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, on_signal) for number in caught}
    if hasattr(signal, "SIGALRM"):
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, again)
        sys.unraisablehook = unraisable
    try:
        yield stop
    finally:
        if not (ending and stop.number):
            sys.unraisablehook = hook
            for number, handler in before.items():
                signal.signal(number, handler)


def leave_signals_to_parent() -> None:
    """Ignore signals that are sent to a whole group of processes: the parent ends this process."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
