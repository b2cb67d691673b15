"""Turns rounds of timing into a time with its interval for each module, and says which modules need more rounds.

A round is disturbed if other programs used the processor, if the process was interrupted by a quota, a hypervisor or a
stop, or if the round was slower than the others as a whole. It is measured again instead of averaged in. Of the other
rounds the lower quartile counts, since what is left of other load only ever adds time.

One module loaded twice takes a percent or two more one time than the other, for as long as it is loaded: where its
memory comes to lie decides what its parts push out of the caches. Where modules are loaded several times, the mean over
the loadings counts, and the interval says how well that mean is known.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proxyless.latency.timing.interruptions import STOLEN_SHARE, Interruptions
from proxyless.machine.quota import cpu_quota

BUSY_SHARE = 0.25
"""A round is disturbed if other programs use more than this share of the machine's cores."""

SLOWER_SHARE = 0.08
"""A round is disturbed if it is slower than the others by more than this share, as a median over modules."""

LEAST_MODULES = 4
"""A round of fewer modules is not compared with others: one module that is noisy by itself would decide."""

LEAST_ROUNDS = 3
"""Every module is in so many rounds at the least, however little time there is."""

QUANTILE = 0.25
"""What counts of the rounds of one loading: the lower quartile."""

RESAMPLES = 200
"""Bootstrap samples for the interval of a quartile."""

BORROWED = 4
"""Degrees of freedom at the most that the spread of a module over its loadings takes over from the other modules."""


@dataclass(frozen=True)
class Interval:
    """A measured time in ms, with the bounds of its 95 % interval."""

    ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True)
class Effort:
    """How thoroughly to measure.

    Args:
        rounds: how many undisturbed rounds every module is in at the least, over all loadings.
        burst_ms: how long each module runs in a round; a round takes ten times as long at the least.
        width: an interval is narrow enough if half its width is at most this share of its value.
        limit_s: seconds after which no further round is begun, once every module has been in three.
        loadings: how often every module is loaded anew, where the runtime allows that.
    """

    rounds: int = 24
    burst_ms: float = 6.0
    width: float = 0.02
    limit_s: float = 120.0
    loadings: int = 4

    @property
    def rounds_of_loading(self) -> int:
        """How many undisturbed rounds each loading has at the least."""
        return math.ceil(self.rounds / self.loadings)


@dataclass(frozen=True)
class Round:
    """One pass over modules, in which each runs for a short burst.

    Args:
        bursts: median ms of each module's burst.
        other_cores: how many cores other programs used meanwhile; None where the system does not tell.
        loading: which loading of the modules was timed.
        interruptions: what kept the process from running meanwhile.
        seconds: since the round before, or since the timing began.
    """

    bursts: Mapping[str, float]
    other_cores: float | None = None
    loading: str = ""
    interruptions: Interruptions = Interruptions()
    seconds: float = 0.0


@dataclass(frozen=True)
class Conditions:
    """What the machine was like while it was measured.

    Args:
        rounds: how many rounds were measured.
        disturbed: how many of them were disturbed, and so not used.
        other_cores: mean number of cores that other programs used; None where the system does not tell.
        seconds: how long the measuring took.
        wide: how many modules have an interval that is wider than asked.
        busy: whether disturbed rounds had to be used, since there were too few others: times are not to be trusted.
        quota: how many cores the system lets the process use on average; None without a limit.
        throttled: in how many rounds the process had used up that quota.
        throttled_s: seconds that it waited for that.
        stolen: mean share of the time of its cores that a hypervisor gave to other machines.
        stopped_s: seconds in which the process was stopped, or the machine suspended.
    """

    rounds: int
    disturbed: int
    other_cores: float | None
    seconds: float
    wide: int
    busy: bool
    quota: float | None = None
    throttled: int = 0
    throttled_s: float = 0.0
    stolen: float = 0.0
    stopped_s: float = 0.0

    def warnings(self) -> list[str]:
        """Say what the user should know, a line each: interruptions, a busy machine, intervals that stayed wide."""
        told = []
        rest = "these rounds do not count"
        if self.busy:
            rest = "latencies are not to be trusted, measure without that limit"
        if self.throttled:
            limit = "a CPU quota" if self.quota is None else f"the CPU quota of {self.quota:.3g} cores"
            told.append(
                f"{limit} held the measuring up in {self.throttled} of {self.rounds} rounds, for"
                f" {self.throttled_s:.1f} s: {rest}"
            )
        if self.stolen > STOLEN_SHARE:
            told.append(f"the hypervisor gave {self.stolen:.0%} of the processor's time to other machines meanwhile")
        if self.stopped_s:
            told.append(f"the measuring was stopped, or the machine suspended, for {self.stopped_s:.1f} s meanwhile")
        if self.busy and self.disturbed > self.throttled:
            used = "" if self.other_cores is None else f"; other programs used {self.other_cores:.1f} cores"
            told.append(
                f"the machine was busy in {self.disturbed} of {self.rounds} rounds{used}: latencies are not to be"
                " trusted, measure again when it is idle"
            )
        if self.wide:
            known = "1 latency is" if self.wide == 1 else f"{self.wide} latencies are"
            told.append(f"{known} known less well than asked: more seconds (limit-s) would help")
        return told


def narrow(interval: Interval, effort: Effort) -> bool:
    """Say whether an interval is as narrow as the effort asks."""
    return interval.high_ms - interval.low_ms <= 2 * effort.width * interval.ms


def missing(names: Collection[str], rounds: Sequence[Round], effort: Effort) -> list[str]:
    """Find the modules that need more rounds.

    Args:
        names: of the modules.
        rounds: those done so far.
        effort: how thoroughly to measure.

    Returns:
        Those of ``names`` with too few loadings of enough undisturbed rounds, or with a wide interval.
    """
    kept = [r for r, good in zip(rounds, undisturbed(rounds), strict=True) if good]
    enough = [
        name
        for name in names
        if sum(len(times) >= effort.rounds_of_loading for times in _by_loading(name, kept)) >= effort.loadings
    ]
    found, _ = intervals(enough, rounds, effort) if enough else ({}, False)
    return [name for name in names if name not in found or not narrow(found[name], effort)]


def undisturbed(rounds: Sequence[Round]) -> list[bool]:
    """Find the rounds that count: other programs used few cores, nothing interrupted, and they were not slow.

    Quick and slow modules are judged apart: when other machines on the same processor take part of its caches and of
    its memory bandwidth, only large modules get slower.

    Returns:
        Whether each of ``rounds`` counts.
    """
    if not rounds:
        return []
    cores = os.cpu_count() or 1
    calm = [
        (r.other_cores is None or r.other_cores <= BUSY_SHARE * cores) and not r.interruptions.disturbing
        for r in rounds
    ]
    names = sorted({name for r in rounds for name in r.bursts})
    column = {name: i for i, name in enumerate(names)}
    bursts = np.full((len(rounds), len(names)), np.nan)
    for row, r in enumerate(rounds):
        for name, ms in r.bursts.items():
            bursts[row, column[name]] = ms
    usual = bursts[calm] if any(calm) else bursts
    seen = ~np.isnan(usual).all(axis=0)  # a module that was in busy rounds only says nothing of their speed
    if not seen.any():
        return calm
    reference = np.nanquantile(usual[:, seen], QUANTILE, axis=0)
    ratios = bursts[:, seen] / reference
    larger = reference > np.median(reference)
    slowest = [max(_typical(row[larger]), _typical(row[~larger]), _typical(row)) for row in ratios]
    return [quiet and ratio <= 1 + SLOWER_SHARE for quiet, ratio in zip(calm, slowest, strict=True)]


def _typical(ratios: Any) -> float:
    """Return the median of the modules that were timed, which are not NaN; 1 if they are too few."""
    timed = ratios[~np.isnan(ratios)]
    return float(np.median(timed)) if len(timed) >= LEAST_MODULES else 1.0


def intervals(names: Collection[str], rounds: Sequence[Round], effort: Effort) -> tuple[dict[str, Interval], bool]:
    """Compute the time of every module, with its 95 % interval.

    The time is the lower quartile over the undisturbed rounds of a loading, and its mean over the loadings. The
    interval of one loading is found by resampling its rounds. That of several is the interval of their mean, by
    Student's t; their spread is drawn towards what is usual among ``names``, since a few loadings alone say little of
    it.

    Args:
        names: of the modules, each in at least one round.
        rounds: those done so far.
        effort: how thoroughly to measure.

    Returns:
        The interval of every module; and whether disturbed rounds had to be used for one, which is so if it has fewer
        undisturbed ones than asked, and fewer than three or than half of its rounds.
    """
    good = [r for r, fine in zip(rounds, undisturbed(rounds), strict=True) if fine]
    busy = False
    pieces: list[tuple[str, list[float]]] = []
    for name in names:
        kept, everything = _by_loading(name, good), _by_loading(name, rounds)
        used, total = (sum(map(len, loadings)) for loadings in (kept, everything))
        if used < total and used < min(effort.rounds, max(3, total // 2)):
            kept, busy = everything, True
        most = max(map(len, kept))
        pieces += [(name, times) for times in kept if 2 * len(times) >= most]  # not what an interruption cut short
    loadings: dict[str, list[Interval]] = {name: [] for name in names}
    for (name, _), interval in zip(pieces, _quartiles([times for _, times in pieces]), strict=True):
        loadings[name].append(interval)
    return _over_loadings(loadings), busy


def conditions(names: Collection[str], rounds: Sequence[Round], effort: Effort, *, before: int = 0) -> Conditions:
    """Sum up what the machine was like.

    Args:
        names: of the modules.
        rounds: all that are known, to judge by which are disturbed.
        effort: how thoroughly was asked to measure.
        before: how many of the rounds, the first ones, were measured before and are not summed up.
    """
    found, busy = intervals(names, rounds, effort) if names else ({}, False)
    now = rounds[before:]
    loads = [r.other_cores for r in now if r.other_cores is not None]
    return Conditions(
        rounds=len(now),
        disturbed=len(now) - sum(undisturbed(rounds)[before:]),
        other_cores=round(float(np.mean(loads)), 3) if loads else None,
        seconds=round(sum(r.seconds for r in now), 2),
        wide=sum(not narrow(interval, effort) for interval in found.values()),
        busy=busy,
        quota=cpu_quota(),
        throttled=sum(bool(r.interruptions.throttled or r.interruptions.throttled_s) for r in now),
        throttled_s=round(sum(r.interruptions.throttled_s for r in now), 3),
        stolen=round(float(np.mean([r.interruptions.stolen for r in now])), 3) if now else 0.0,
        stopped_s=round(sum(r.interruptions.stopped_s for r in now), 3),
    )


def counts(rounds: Sequence[Round], names: Collection[str]) -> dict[str, int]:
    """Count the rounds that each of ``names`` was in."""
    return {name: sum(name in r.bursts for r in rounds) for name in names}


def _by_loading(name: str, rounds: Sequence[Round]) -> list[list[float]]:
    """Return the bursts of a module in ms, a list for each loading."""
    found: dict[str, list[float]] = {}
    for r in rounds:
        if name in r.bursts:
            found.setdefault(r.loading, []).append(r.bursts[name])
    return list(found.values())


def _quartiles(pieces: Sequence[Sequence[float]]) -> list[Interval]:
    """Compute the lower quartile of each piece, with its 95 % interval under resampling."""
    found: list[Interval | None] = [None] * len(pieces)
    by_count: dict[int, list[int]] = {}
    for number, times in enumerate(pieces):
        by_count.setdefault(len(times), []).append(number)
    for count, numbers in by_count.items():
        bursts = np.array([pieces[number] for number in numbers])
        draws = np.random.default_rng(0).integers(0, count, (RESAMPLES, count))
        resampled = np.quantile(bursts[:, draws], QUANTILE, axis=2)
        values = np.quantile(bursts, QUANTILE, axis=1)
        lows, highs = np.quantile(resampled, [0.025, 0.975], axis=1)
        for number, value, low, high in zip(numbers, values, lows, highs, strict=True):
            found[number] = Interval(float(value), float(min(low, value)), float(max(high, value)))
    return [interval for interval in found if interval is not None]


def _over_loadings(loadings: Mapping[str, Sequence[Interval]]) -> dict[str, Interval]:
    """Compute the mean over the loadings of each module, and its interval."""
    several = {name: np.array([one.ms for one in some]) for name, some in loadings.items() if len(some) > 1}
    spreads = {name: float(np.var(ms, ddof=1)) / float(ms.mean()) ** 2 for name, ms in several.items()}
    # A median, so that one module that jumps about does not make all others look uncertain.
    usual = {
        count: float(np.median(some)) / _median_of_chi2(count - 1)
        for count in {len(ms) for ms in several.values()}
        for some in [[spreads[name] for name, ms in several.items() if len(ms) == count]]
    }
    found = {}
    for name, some in loadings.items():
        if name not in several:
            found[name] = some[0]
            continue
        count, ms = len(some), float(several[name].mean())
        own = count - 1
        others = min(BORROWED, own * (sum(len(ms) == count for ms in several.values()) - 1))
        spread = (own * spreads[name] + others * usual[count]) / (own + others)
        half = _student(own + others) * np.sqrt(spread / count) * ms
        within = np.sqrt(sum((one.high_ms - one.low_ms) ** 2 for one in some)) / 2 / count
        half = float(max(half, within))
        found[name] = Interval(ms, max(ms - half, 0.0), ms + half)
    return found


def _median_of_chi2(freedom: int) -> float:
    """Return the median of a chi-squared distribution as a share of its mean (Wilson and Hilferty's approximation)."""
    return float((1 - 2 / (9 * freedom)) ** 3)


def _student(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t, as a series about the normal's; 3 % off at 2 degrees, less above."""
    z = 1.959964
    terms = ((z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))
