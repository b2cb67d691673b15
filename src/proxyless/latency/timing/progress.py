"""How far the timing is, in words on standard error."""

from __future__ import annotations

import sys
import time

ON_TERMINAL_S, IN_FILE_S = 0.2, 10.0
"""Seconds between two lines at the least: on a terminal, where a line replaces the one before, and elsewhere."""


class Progress:
    """Tells the share done and the time left; to be called with the share, 0 to 1.

    Args:
        name: of what is going on.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.terminal = sys.stderr.isatty()
        self.started = self.last = time.monotonic()
        self.first: float | None = None

    def __call__(self, share: float) -> None:
        """Write a line if it is time for one."""
        now = time.monotonic()
        if self.first is None:  # what was known before is not of this process
            self.first, self.started = share, now
        ended = share >= 1 and self.terminal
        pause = ON_TERMINAL_S if self.terminal else IN_FILE_S
        if not ended and (now - self.last < pause or share <= self.first):
            return
        self.last = now
        left = (now - self.started) * (1 - share) / max(share - self.first, 1e-9)
        text = f"{self.name} {share:4.0%}  {left:.0f} s left"
        if self.terminal:
            print(f"\r{text:<40}", end="\n" if ended else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)
