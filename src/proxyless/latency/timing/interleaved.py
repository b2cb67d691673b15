"""Latency measured: inferences timed in interleaved rounds until the intervals are narrow, on a watched machine.

Complete in itself, Python and numpy alone, so that the very same code times a bundle where this package is not.

Every round runs each module for a short burst and keeps the burst's median, so that a slow spell of the machine falls
on all modules alike instead of on the one that happened to be measured.
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
from proxyless.latency.timing.interruptions import HoldUps
from proxyless.latency.timing.statistics import (
    LEAST,
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
"""To be raised with every change after which a module takes another time than before it: old times do not apply."""

STANDSTILL_MS = 100.0
"""By how much an inference must take longer than others like it for the process to have been stopped in it."""


class Timed(Protocol):
    """Something that can be timed."""

    def times_ms(self, count: int) -> Any:
        """Ms that each of ``count`` inferences took, an array of float64."""
        ...


def time_interleaved(
    modules: Mapping[str, Timed],
    effort: Effort,
    *,
    history: Sequence[Round] = (),
    on_round: Callable[[Round], None] = lambda done: None,
    advance: Callable[[float], None] = lambda share: None,
) -> tuple[dict[str, Interval], Conditions]:
    """Time modules against one another, as they are loaded now: of ``effort`` all but its loadings applies.

    Args:
        modules: what to time, by name.
        history: rounds measured before, of these or other modules, to go on from.
        on_round: given each round as it is done, to be kept.
        advance: told the share done, 0 to 1.

    Returns:
        the interval of every module, and the conditions of the rounds measured now.
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
            if not unfinished or (seconds > effort.limit_s and min(seen.values()) >= LEAST):
                break
            if seconds > effort.limit_s:
                unfinished = [name for name in unfinished if seen[name] < LEAST]
            load, held = _Load(), HoldUps(groups)
            random.Random(len(rounds)).shuffle(unfinished)  # what runs before a module leaves its mark on it
            times = {name: _times(modules[name], repeats[name]) for name in unfinished}
            bursts = {name: float(np.median(ms)) for name, ms in times.items()}
            stopped_s = sum(_stopped_ms(ms) for ms in times.values()) / 1000
            rounds.append(Round(bursts, load.other_cores(), held=held.until_now(stopped_s), seconds=watch.lap()))
            on_round(rounds[-1])
    finally:
        if collecting:
            gc.enable()
    advance(1.0)
    return intervals(modules, rounds, effort)[0], conditions(modules, rounds, effort, before=before)


def _share_of_rounds(unfinished: Sequence[str], rounds: int, seconds: float, effort: Effort) -> float:
    """How much is done, by rounds or by the time limit, whichever is further; noisy modules take more rounds."""
    if not unfinished:
        return 1.0
    by_time = seconds / effort.limit_s if effort.limit_s else 0.0
    return min(0.99, max(by_time, 0.9 * min(1.0, rounds / (effort.rounds + 1))))


def _times(module: Timed, count: int) -> Any:
    """Ms of each of ``count`` inferences; one before them brings the module's data back into the caches."""
    return np.asarray(module.times_ms(count + 1))[1:]


def _stopped_ms(times: Any) -> float:
    """How long the process stood still, of the times of inferences that otherwise take equally long."""
    usual = float(np.median(times))
    late = times - usual
    return float(late[late > max(STANDSTILL_MS, usual)].sum())


def _repeats(module: Timed, burst_ms: float) -> int:
    """Warm up until it gets no faster, then choose how often a module runs in a burst of ``burst_ms``."""
    fastest = np.inf
    for _ in range(20):
        single = float(np.median(_times(module, 3)))
        if single > 0.95 * fastest:
            break
        fastest = single
    return int(np.clip(burst_ms / max(min(single, fastest), 1e-6), 3, 1000))


class _Load:
    """Cores that other programs use from now on."""

    def __init__(self) -> None:
        self.before = self._busy_s()
        self.own = self._own_s()
        self.started = time.perf_counter()

    def other_cores(self) -> float | None:
        """Until now; None where the system does not tell."""
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
        """Seconds that all cores together were not idle, time taken by a hypervisor included."""
        try:
            with open("/proc/stat", encoding="ascii") as file:
                user, nice, system, _, _, irq, soft, steal = map(int, file.readline().split()[1:9])
        except (OSError, ValueError):
            return None
        return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
