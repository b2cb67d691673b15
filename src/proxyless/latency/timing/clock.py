"""Time measured: of inferences, and of longer work."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


class Stopwatch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._started = self._lap = time.perf_counter()

    def seconds(self) -> float:
        """Return how long it has run."""
        return time.perf_counter() - self._started

    def lap(self) -> float:
        """Return the seconds since this was asked before."""
        before, self._lap = self._lap, time.perf_counter()
        return self._lap - before


def wall_clock_ms(run: Callable[[], object], count: int) -> NDArray[np.float64]:
    """Time calls of ``run`` that return when the inference is finished, one after the other: (count,) in ms."""
    times = np.empty(count)
    for i in range(count):
        start = time.perf_counter_ns()
        run()
        times[i] = time.perf_counter_ns() - start
    return times / 1e6
