"""The clock of runtimes whose calls return when the inference is finished."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def wall_clock_ms(run: Callable[[], object], count: int) -> NDArray[np.float64]:
    """Ms that each of ``count`` calls of ``run`` took, one after the other."""
    times = np.empty(count)
    for i in range(count):
        start = time.perf_counter_ns()
        run()
        times[i] = time.perf_counter_ns() - start
    return times / 1e6
