"""What keeps a process from running without another program to blame: a quota, a hypervisor, being stopped.

Complete in itself, Python alone, so that it also runs where this package is not.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from proxyless.machine.quota import control_groups, throttling
from proxyless.machine.system_files import system_text

STOLEN = 0.05
"""Share of its cores' time that other machines may take from a process before it counts as held up."""

SUSPENDED_S = 0.05
"""Seconds by which the clock that runs on in a suspended machine must be ahead of the other."""


@dataclass(frozen=True)
class Held:
    """What held a process up for a while.

    Args:
        throttled: periods in which it had used up its CPU quota.
        throttled_s: seconds that it had to wait for that.
        stolen: share of the time of its cores that a hypervisor gave to other machines.
        stopped_s: seconds that it was stopped, or the machine suspended.
    """

    throttled: int = 0
    throttled_s: float = 0.0
    stolen: float = 0.0
    stopped_s: float = 0.0

    @property
    def disturbing(self) -> bool:
        """Whether times taken meanwhile say nothing of the machine."""
        return bool(self.throttled or self.throttled_s or self.stopped_s) or self.stolen > STOLEN


class HoldUps:
    """What holds this process up from now on."""

    def __init__(self, groups: Sequence[str] | None = None) -> None:
        """``groups``: control groups whose quotas hold for it; looked up unless given."""
        self.groups = control_groups() if groups is None else groups
        self.before = throttling(self.groups)
        self.stolen = _stolen_s()
        self.asleep = _suspended_s()
        self.started = time.perf_counter()

    def until_now(self, stopped_s: float = 0.0) -> Held:
        """Since this was made; ``stopped_s``: what the process itself has noticed of being stopped."""
        seconds = max(time.perf_counter() - self.started, 1e-9)
        quota = throttling(self.groups).since(self.before)
        cores, stolen = len(_own_cores()) or os.cpu_count() or 1, _stolen_s() - self.stolen
        asleep = _suspended_s() - self.asleep
        return Held(
            quota.periods,
            quota.seconds,
            # The system counts in hundredths of a second on every core: one of them says nothing.
            round(min(1.0, stolen / (cores * seconds)), 3) if stolen > 0.015 else 0.0,
            # Who is throttled stands still too.
            round(max(0.0, stopped_s - quota.seconds) + (asleep if asleep > SUSPENDED_S else 0.0), 3),
        )


def _own_cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _stolen_s() -> float:
    """Seconds that the cores this process may use have been other machines' until now; 0 where unknown."""
    rows = re.findall(r"^cpu(\d+)(?: \d+){7} (\d+)", system_text("/proc/stat"), flags=re.MULTILINE)
    own = _own_cores()
    ticks = sum(int(stolen) for core, stolen in rows if int(core) in own)
    return ticks / os.sysconf("SC_CLK_TCK") if ticks else 0.0


def _suspended_s() -> float:
    """Seconds that the machine has been suspended until now; 0 where unknown."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
