"""Latency measured: inferences timed in interleaved rounds until the intervals are narrow, on a watched machine.

Complete in itself, Python and numpy alone, so that the very same code times a bundle where this package is not.

Every round runs each module for a short burst and keeps the burst's median, so that a slow spell of the machine falls
on all modules alike instead of on the one that happened to be measured. A round in which other programs took the
processor, or which was slower than the others as a whole, is disturbed: it is measured again instead of averaged in. Of
the others the lower quartile counts, since what is left of other load only ever adds time.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

METHOD = 2
"""To be raised with every change after which a module takes another time than before it: old times do not apply."""

DISTURBING = 0.25
"""Share of the machine's cores that other programs may use before a round counts as disturbed."""

SLOWER = 0.08
"""By how much a round may be slower than the others, as the median over its modules."""

WHOLE = 4
"""Modules that a round must have to be judged as a whole: of fewer, one that is noisy by itself would decide."""

QUANTILE = 0.25
RESAMPLES = 200


class Timed(Protocol):
    """Something that can be timed."""

    def times_ms(self, count: int) -> Any:
        """Ms that each of ``count`` inferences took, an array of float64."""
        ...


@dataclass(frozen=True)
class Interval:
    """A measured time in ms, with the interval it lies in by about 95 %."""

    ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True)
class Effort:
    """How thoroughly to measure.

    Args:
        rounds: undisturbed passes over every module at the least.
        burst_ms: how long each module runs in a round; a round takes ten times as long at the least.
        width: half the width of an interval, as a share of its value, that is narrow enough.
        limit_s: seconds after which no further round is begun, once every module has been in three.
    """

    rounds: int = 15
    burst_ms: float = 6.0
    width: float = 0.02
    limit_s: float = 120.0


@dataclass(frozen=True)
class Round:
    """One pass: median ms of each module's burst, and cores that other programs used meanwhile (None: unknown)."""

    bursts: Mapping[str, float]
    other_cores: float | None = None


@dataclass(frozen=True)
class Conditions:
    """What the machine was like.

    Args:
        rounds: passes measured, of which ``disturbed`` were not used.
        other_cores: mean number of cores that other programs used; None where the system does not tell.
        seconds: taken.
        wide: modules whose interval is still wider than asked.
        busy: whether the undisturbed rounds were too few, so that disturbed ones had to be used: not to be trusted.
    """

    rounds: int
    disturbed: int
    other_cores: float | None
    seconds: float
    wide: int
    busy: bool

    def warnings(self) -> list[str]:
        """What to tell the user: a line for a busy machine, a line for intervals that stayed wide."""
        told = []
        if self.busy:
            used = "" if self.other_cores is None else f"; other programs used {self.other_cores:.1f} cores"
            told.append(
                f"the machine was busy in {self.disturbed} of {self.rounds} rounds{used}: latencies are not to be"
                " trusted, measure again when it is idle"
            )
        if self.wide:
            told.append(f"{self.wide} latencies are known less well than asked: more seconds (limit-s) would help")
        return told


def time_interleaved(
    modules: Mapping[str, Timed],
    effort: Effort,
    *,
    history: Sequence[Round] = (),
    on_round: Callable[[Round], None] = lambda done: None,
    advance: Callable[[float], None] = lambda share: None,
) -> tuple[dict[str, Interval], Conditions]:
    """Time modules against one another.

    Args:
        modules: what to time, by name.
        history: rounds measured before, of these or other modules, to go on from.
        on_round: given each round as it is done, to be kept.
        advance: told the share done, 0 to 1.

    Returns:
        the interval of every module, and the conditions of the rounds measured now.
    """
    started = time.perf_counter()
    if not modules:
        return {}, Conditions(rounds=0, disturbed=0, other_cores=None, seconds=0.0, wide=0, busy=False)
    burst_ms = max(effort.burst_ms, 10 * effort.burst_ms / len(modules))
    repeats = {name: _repeats(module, burst_ms) for name, module in modules.items()}
    rounds = list(history)
    before = len(rounds)
    collecting = gc.isenabled()
    gc.disable()  # a collection within a burst would be timed
    try:
        while True:
            unfinished = missing(modules, rounds, effort)
            seconds = time.perf_counter() - started
            advance(_share(unfinished, len(rounds) - before, seconds, effort))
            counts = _counts(rounds, modules)
            if not unfinished or (seconds > effort.limit_s and min(counts.values()) >= 3):
                break
            if seconds > effort.limit_s:
                unfinished = [name for name in unfinished if counts[name] < 3]
            load = _Load()
            bursts = {name: _burst(modules[name], repeats[name]) for name in unfinished}
            rounds.append(Round(bursts, load.other_cores()))
            on_round(rounds[-1])
    finally:
        if collecting:
            gc.enable()
    advance(1.0)
    now = rounds[before:]
    disturbed = len(now) - sum(undisturbed(rounds)[before:])
    loads = [r.other_cores for r in now if r.other_cores is not None]
    found, busy = intervals(modules, rounds, effort)
    conditions = Conditions(
        rounds=len(now),
        disturbed=disturbed,
        other_cores=round(float(np.mean(loads)), 3) if loads else None,
        seconds=round(time.perf_counter() - started, 2),
        wide=sum(not narrow(interval, effort) for interval in found.values()),
        busy=busy,
    )
    return found, conditions


def _share(unfinished: Sequence[str], rounds: int, seconds: float, effort: Effort) -> float:
    """How much is done, by rounds or by the time limit, whichever is further; noisy modules take more rounds."""
    if not unfinished:
        return 1.0
    by_time = seconds / effort.limit_s if effort.limit_s else 0.0
    return min(0.99, max(by_time, 0.9 * min(1.0, rounds / (effort.rounds + 1))))


def narrow(interval: Interval, effort: Effort) -> bool:
    """Whether an interval is as narrow as the effort asks."""
    return interval.high_ms - interval.low_ms <= 2 * effort.width * interval.ms


def missing(names: Mapping[str, Any] | Sequence[str], rounds: Sequence[Round], effort: Effort) -> list[str]:
    """Which of ``names`` need another round: too few undisturbed ones, or a wide interval."""
    kept = [r for r, good in zip(rounds, undisturbed(rounds), strict=True) if good]
    counts = _counts(kept, names)
    enough = [name for name in names if counts[name] >= effort.rounds]
    found, _ = intervals(enough, rounds, effort) if enough else ({}, False)
    return [name for name in names if name not in found or not narrow(found[name], effort)]


def undisturbed(rounds: Sequence[Round]) -> list[bool]:
    """Which rounds count: other programs used few cores, and the round was no slower than the others as a whole."""
    if not rounds:
        return []
    cores = os.cpu_count() or 1
    calm = [r.other_cores is None or r.other_cores <= DISTURBING * cores for r in rounds]
    names = sorted({name for r in rounds for name in r.bursts})
    column = {name: i for i, name in enumerate(names)}
    bursts = np.full((len(rounds), len(names)), np.nan)
    for row, r in enumerate(rounds):
        for name, ms in r.bursts.items():
            bursts[row, column[name]] = ms
    usual = bursts[calm] if any(calm) else bursts
    seen = ~np.isnan(usual).all(axis=0)  # a module seen in loud rounds only says nothing of their speed
    if not seen.any():
        return calm
    reference = np.nanquantile(usual[:, seen], QUANTILE, axis=0)
    ratios = [
        float(np.nanmedian(row / reference)) if np.sum(~np.isnan(row)) >= WHOLE else 1.0 for row in bursts[:, seen]
    ]
    return [quiet and ratio <= 1 + SLOWER for quiet, ratio in zip(calm, ratios, strict=True)]


def intervals(
    names: Mapping[str, Any] | Sequence[str], rounds: Sequence[Round], effort: Effort
) -> tuple[dict[str, Interval], bool]:
    """Lower quartile over the undisturbed rounds, with its 95 % interval under resampling of the rounds.

    A module with fewer undisturbed rounds than asked, and than half of its rounds or three, is given all of them; the
    second value says that one was.
    """
    good = undisturbed(rounds)
    busy = False
    found: dict[str, Interval] = {}
    by_count: dict[int, list[tuple[str, list[float]]]] = {}
    for name in names:
        everything = [r.bursts[name] for r in rounds if name in r.bursts]
        kept = [r.bursts[name] for r, fine in zip(rounds, good, strict=True) if fine and name in r.bursts]
        if len(kept) < len(everything) and len(kept) < min(effort.rounds, max(3, len(everything) // 2)):
            kept, busy = everything, True
        by_count.setdefault(len(kept), []).append((name, kept))
    for count, group in by_count.items():
        bursts = np.array([kept for _, kept in group])
        draws = np.random.default_rng(0).integers(0, count, (RESAMPLES, count))
        resampled = np.quantile(bursts[:, draws], QUANTILE, axis=2)
        values = np.quantile(bursts, QUANTILE, axis=1)
        lows, highs = np.quantile(resampled, [0.025, 0.975], axis=1)
        for (name, _), value, low, high in zip(group, values, lows, highs, strict=True):
            found[name] = Interval(float(value), float(min(low, value)), float(max(high, value)))
    return {name: found[name] for name in names}, busy


def _counts(rounds: Sequence[Round], names: Mapping[str, Any] | Sequence[str]) -> dict[str, int]:
    return {name: sum(name in r.bursts for r in rounds) for name in names}


def _burst(module: Timed, count: int) -> float:
    """Median ms of ``count`` inferences; one before them brings the module's data back into the caches."""
    return float(np.median(module.times_ms(count + 1)[1:]))


def _repeats(module: Timed, burst_ms: float) -> int:
    """Warm up until it gets no faster, then choose how often a module runs in a burst of ``burst_ms``."""
    fastest = np.inf
    for _ in range(20):
        single = _burst(module, 3)
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
