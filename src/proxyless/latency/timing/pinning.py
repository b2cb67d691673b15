"""Keeps a process on the same cores, and the memory that it frees with it, so that times do not change with these."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np

from proxyless.machine.system import system_text

LARGE_BLOCK = 31 << 20
"""Bytes just below the 32 MiB up to which the C library of Linux learns to keep freed blocks."""

ALIKE = 0.9
"""A core with at least this share of the speed of the fastest is of the same kind as that; others are avoided."""

IDLE = 0.7
"""A core with at least this share of the idle time of the idlest core is idle."""


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Keep this thread, and those it starts meanwhile, on as many cores as the system lets it, and freed memory too.

    A thread that moves to another core leaves its caches behind. Memory that an inference frees stays with the process,
    also afterwards.

    Args:
        threads: how many cores.
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

    Up to which size it keeps blocks depends on what the process has freed before. So the memory of one and the same
    feature map may cost nothing, or be mapped and zeroed anew in every inference. Once a large block was freed, all
    are kept. With other allocators this has no effect.
    """
    block = np.empty(LARGE_BLOCK, np.uint8)
    del block


def best_cores(allowed: set[int], count: int) -> list[int]:
    """Choose cores to run on: fast ones before slow ones, idle ones before busy ones.

    Among equals the last comes first, as the first core serves most interrupts. The second thread of a physical core
    comes after all cores of which no thread is taken.

    Args:
        allowed: numbers of the logical cores that may be used.
        count: how many to choose.

    Returns:
        Their numbers; all, where there are no more.
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
    """Return the speed of a core, in a unit of its own machine; 0 where the system does not tell."""
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        text = system_text(f"/sys/devices/system/cpu/cpu{core}/{name}")
        if text.isdigit():
            return int(text)
    return 0


def _siblings(core: int) -> set[int]:
    """Return the logical cores, itself included, that are threads of the same physical core."""
    found = {core}
    for part in system_text(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").split(","):
        bounds = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if bounds:
            found |= set(range(int(bounds[1]), int(bounds[2] or bounds[1]) + 1))
    return found


def _idle(cores: set[int]) -> set[int]:
    """Return those of the cores that are idle at the moment; all where the system does not tell."""
    before = _idle_ticks()
    time.sleep(0.1)
    ticks = {core: now - before.get(core, now) for core, now in _idle_ticks().items()}
    most = max((ticks.get(core, 0) for core in cores), default=0)
    return {core for core in cores if ticks.get(core, 0) >= IDLE * most}


def _idle_ticks() -> dict[int, int]:
    """Return how long each core has been idle, in hundredths of a second; empty where the system does not tell."""
    rows = re.findall(r"^cpu(\d+) \d+ \d+ \d+ (\d+)", system_text("/proc/stat"), flags=re.MULTILINE)
    return {int(core): int(idle) for core, idle in rows}
