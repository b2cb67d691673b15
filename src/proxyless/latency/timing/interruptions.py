"""Notices what keeps a process from running though no other program is to blame: a quota, a hypervisor, a stop."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from proxyless.machine.quota import control_groups, throttling
from proxyless.machine.system_files import system_text

STOLEN_SHARE = 0.05
"""A process is interrupted if a hypervisor gives more than this share of the time of its cores to other machines."""

SUSPENDED_S = 0.05
"""The machine was suspended if the clock that runs on meanwhile is ahead of the other by more seconds than this."""


@dataclass(frozen=True)
class Interruptions:
    """What kept a process from running for a while.

    Args:
        throttled: how many periods of its CPU quota it had used up.
        throttled_s: seconds that it waited for that.
        stolen: share of the time of its cores that a hypervisor gave to other machines.
        stopped_s: seconds in which it was stopped, or the machine suspended.
    """

    throttled: int = 0
    throttled_s: float = 0.0
    stolen: float = 0.0
    stopped_s: float = 0.0

    @property
    def disturbing(self) -> bool:
        """Whether times that were measured meanwhile say nothing of the machine."""
        return bool(self.throttled or self.throttled_s or self.stopped_s) or self.stolen > STOLEN_SHARE


class InterruptionWatch:
    """Watches what interrupts this process, from when it is made.

    Args:
        groups: control groups whose quotas hold for it; looked up unless given.
    """

    def __init__(self, groups: Sequence[str] | None = None) -> None:
        self.groups = control_groups() if groups is None else groups
        self.before = throttling(self.groups)
        self.stolen = _stolen_s()
        self.asleep = _suspended_s()
        self.started = time.perf_counter()

    def until_now(self, stopped_s: float = 0.0) -> Interruptions:
        """Return what has interrupted it until now.

        Args:
            stopped_s: seconds for which the process itself has noticed that it was stopped.
        """
        seconds = max(time.perf_counter() - self.started, 1e-9)
        quota = throttling(self.groups).since(self.before)
        cores, stolen = len(_own_cores()) or os.cpu_count() or 1, _stolen_s() - self.stolen
        asleep = _suspended_s() - self.asleep
        return Interruptions(
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
    """Return the seconds that a hypervisor has given of the cores of this process to others; 0 where unknown."""
    rows = re.findall(r"^cpu(\d+)(?: \d+){7} (\d+)", system_text("/proc/stat"), flags=re.MULTILINE)
    own = _own_cores()
    ticks = sum(int(stolen) for core, stolen in rows if int(core) in own)
    return ticks / os.sysconf("SC_CLK_TCK") if ticks else 0.0


def _suspended_s() -> float:
    """Return the seconds that the machine has been suspended until now; 0 where unknown."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
