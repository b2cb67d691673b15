"""Times modules in interleaved rounds until their intervals are narrow, and watches what else the machine does.

Every round runs each module for a short burst and keeps the median of the burst. So a slow spell of the machine falls
on all modules alike, instead of on the one that happened to be measured.
"""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from proxyless.latency.timing.clock import Stopwatch
from proxyless.latency.timing.interruptions import InterruptionWatch
from proxyless.latency.timing.statistics import (
    LEAST_ROUNDS,
    Conditions,
    Effort,
    Interval,
    Round,
    conditions,
    counts,
    intervals,
    missing,
)
from proxyless.machine.quota import control_groups

METHOD = 3
"""Version of the way of timing. It is raised with each change that changes times, since old times then do not apply."""

STANDSTILL_MS = 100.0
"""An inference that takes longer than the others by so many ms is one in which the process was stopped."""


class Timeable(Protocol):
    """A loaded module that can be timed."""

    def times_ms(self, count: int) -> Any:
        """Run ``count`` inferences one after the other, and return what each took: float64 (count,) in ms."""
        ...


def time_interleaved(
    modules: Mapping[str, Timeable],
    effort: Effort,
    *,
    history: Sequence[Round] = (),
    on_round: Callable[[Round], None] = lambda done: None,
    advance: Callable[[float], None] = lambda share: None,
) -> tuple[dict[str, Interval], Conditions]:
    """Time modules against one another, as they are loaded now.

    Args:
        modules: what to time, by name.
        effort: how thoroughly to measure; its number of loadings has no effect.
        history: rounds measured before, of these or other modules, to go on from.
        on_round: given each round as it is done, to be kept.
        advance: told the share done, 0 to 1.

    Returns:
        The interval of every module, and the conditions of the rounds measured now.
    """
    effort = replace(effort, loadings=1)
    if not modules:
        return {}, conditions((), (), effort)
    watch = Stopwatch()
    burst_ms = max(effort.burst_ms, 10 * effort.burst_ms / len(modules))
    repeats = {name: _repeats(module, burst_ms) for name, module in modules.items()}
    rounds = list(history)
    before = len(rounds)
    groups = control_groups()
    collecting = gc.isenabled()
    gc.disable()  # a collection within a burst would be timed
    try:
        while True:
            unfinished = missing(modules, rounds, effort)
            seconds = watch.seconds()
            advance(_share_of_rounds(unfinished, len(rounds) - before, seconds, effort))
            seen = counts(rounds, modules)
            if not unfinished or (seconds > effort.limit_s and min(seen.values()) >= LEAST_ROUNDS):
                break
            if seconds > effort.limit_s:
                unfinished = [name for name in unfinished if seen[name] < LEAST_ROUNDS]
            load, held = _OtherPrograms(), InterruptionWatch(groups)
            random.Random(len(rounds)).shuffle(unfinished)  # what runs before a module leaves its mark on it
            times = {name: _times(modules[name], repeats[name]) for name in unfinished}
            bursts = {name: float(np.median(ms)) for name, ms in times.items()}
            stopped_s = sum(_stopped_ms(ms) for ms in times.values()) / 1000
            rounds.append(
                Round(bursts, load.other_cores(), interruptions=held.until_now(stopped_s), seconds=watch.lap())
            )
            on_round(rounds[-1])
    finally:
        if collecting:
            gc.enable()
    advance(1.0)
    return intervals(modules, rounds, effort)[0], conditions(modules, rounds, effort, before=before)


def _share_of_rounds(unfinished: Sequence[str], rounds: int, seconds: float, effort: Effort) -> float:
    """Say how much is done, by rounds or by the time limit, whichever is further; noisy modules take more rounds."""
    if not unfinished:
        return 1.0
    by_time = seconds / effort.limit_s if effort.limit_s else 0.0
    return min(0.99, max(by_time, 0.9 * min(1.0, rounds / (effort.rounds + 1))))


def _times(module: Timeable, count: int) -> Any:
    """Time ``count`` inferences, after one that brings the data of the module back into the caches: (count,) in ms."""
    return np.asarray(module.times_ms(count + 1))[1:]


def _stopped_ms(times: Any) -> float:
    """Say how long the process stood still, given the times of inferences that otherwise take equally long."""
    usual = float(np.median(times))
    late = times - usual
    return float(late[late > max(STANDSTILL_MS, usual)].sum())


def _repeats(module: Timeable, burst_ms: float) -> int:
    """Warm up until the module gets no faster, and choose how often it runs in a burst of ``burst_ms``."""
    fastest = np.inf
    for _ in range(20):
        single = float(np.median(_times(module, 3)))
        if single > 0.95 * fastest:
            break
        fastest = single
    return int(np.clip(burst_ms / max(min(single, fastest), 1e-6), 3, 1000))


class _OtherPrograms:
    """Watches how many cores other programs use, from when it is made."""

    def __init__(self) -> None:
        self.before = self._busy_s()
        self.own = self._own_s()
        self.started = time.perf_counter()

    def other_cores(self) -> float | None:
        """Return how many they used on average until now; None where the system does not tell."""
        seconds, busy = time.perf_counter() - self.started, self._busy_s()
        if self.before is None or busy is None or seconds <= 0:
            return None
        # The system counts in hundredths of a second on every core: what is below two of them is no load.
        others = busy - self.before - (self._own_s() - self.own)
        return round(others / seconds, 3) if others > 0.02 else 0.0

    @staticmethod
    def _own_s() -> float:
        spent = os.times()
        return spent.user + spent.system

    @staticmethod
    def _busy_s() -> float | None:
        """Return the seconds that all cores together were not idle, time taken by a hypervisor included."""
        try:
            with open("/proc/stat", encoding="ascii") as file:
                user, nice, system, _, _, irq, soft, steal = map(int, file.readline().split()[1:9])
        except (OSError, ValueError):
            return None
        return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
