"""What the times of loaded models would otherwise change with, held steady: the cores they run on, and memory.

Complete in itself, Python and numpy alone, so that it also runs where this package is not.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np

from proxyless.machine.system import system_text

LARGE_BLOCK = 31 << 20
"""Bytes: just below the 32 MiB up to which the C library of Linux learns to keep freed blocks."""

ALIKE = 0.9
"""Share of the fastest core's speed from which a core is of the same kind; others are another device."""

IDLE = 0.7
"""Share of the idlest core's idle time from which a core is idle."""


@contextmanager
def steady(threads: int) -> Iterator[None]:
    """Holds steady what is loaded and timed meanwhile, as far as the system lets it.

    This thread, and those it starts, stay on ``threads`` cores: a thread that moves leaves its caches behind. And
    memory that an inference frees stays with the process.
    """
    keep_freed_memory()
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    with suppress(OSError):  # forbidden, as in some containers
        os.sched_setaffinity(0, best_cores(allowed, threads))
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, allowed)


def keep_freed_memory() -> None:
    """Make the allocator of Linux (glibc) keep freed blocks of up to 32 MiB instead of returning them to the system.

    Up to which size it keeps them, it learns from what the process has freed before. The same feature map then costs
    nothing, or is mapped and zeroed anew in every inference. Freeing one large block teaches it once and for all, and
    has no effect elsewhere.
    """
    block = np.empty(LARGE_BLOCK, np.uint8)
    del block


def best_cores(allowed: set[int], count: int) -> list[int]:
    """``count`` of the ``allowed`` cores, or as many as there are: fast ones before slow, idle ones before busy.

    Of equals the last, as the first serves most interrupts; the second thread of a core that has one only after all
    others.
    """
    speeds = {core: _speed(core) for core in allowed}
    idle = _idle(allowed)
    fast = {core for core in allowed if speeds[core] >= ALIKE * max(speeds.values())}
    order = sorted(allowed, key=lambda core: (core in fast, core in idle, core), reverse=True)
    first: list[int] = []
    for core in order:
        if not _siblings(core) & set(first):
            first.append(core)
    return [*first, *(core for core in order if core not in first)][:count]


def _speed(core: int) -> int:
    """Of a core, comparable with others of the machine; 0 where the system does not tell."""
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        text = system_text(f"/sys/devices/system/cpu/cpu{core}/{name}")
        if text.isdigit():
            return int(text)
    return 0


def _siblings(core: int) -> set[int]:
    """The logical cores, itself included, that are threads of one core."""
    found = {core}
    for part in system_text(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").split(","):
        bounds = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if bounds:
            found |= set(range(int(bounds[1]), int(bounds[2] or bounds[1]) + 1))
    return found


def _idle(cores: set[int]) -> set[int]:
    """Which cores are idle at the moment; all where the system does not tell."""
    before = _idle_ticks()
    time.sleep(0.1)
    ticks = {core: now - before.get(core, now) for core, now in _idle_ticks().items()}
    most = max((ticks.get(core, 0) for core in cores), default=0)
    return {core for core in cores if ticks.get(core, 0) >= IDLE * most}


def _idle_ticks() -> dict[int, int]:
    """How long each core has been idle, in hundredths of a second; empty where the system does not tell."""
    rows = re.findall(r"^cpu(\d+) \d+ \d+ \d+ (\d+)", system_text("/proc/stat"), flags=re.MULTILINE)
    return {int(core): int(idle) for core, idle in rows}
