"""Times the networks of a bundle on a device that has Python, numpy and ONNX Runtime, and writes results.json.

Every round is kept beside the results as it is done: when this is stopped, or killed, the same command goes on from
there. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import math
import multiprocessing
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

try:
    import numpy as np
except ImportError as error:
    print(f"run.py: numpy cannot be imported ({error}): pip install numpy onnxruntime", file=sys.stderr)
    sys.exit(2)


# What the system tells of the machine.
#
# Complete in itself, Python alone, so that it also runs where this package is not.

def system_text(path: str) -> str:
    """A file of the system without the line's end; empty where there is none, or it may not be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""


def usable_cores() -> int:
    """Logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> str:
    """The board's or processor's name and number of logical cores."""
    model = platform.processor() or platform.machine()
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        model = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or model
    lines = system_text("/proc/cpuinfo").splitlines()
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    model = fields.get("model name", model)
    if "cpu family" in fields:  # virtual machines often hide the model's name
        model += f" (family {fields['cpu family']}, model {fields.get('model', '?')})"
    else:  # boards with ARM processors name themselves here
        model = system_text("/proc/device-tree/model") or model
    return f"{model}, {os.cpu_count()} cores"


# What the times of loaded models would otherwise change with, held steady: the cores they run on, and memory.
#
# Complete in itself, Python and numpy alone, so that it also runs where this package is not.

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


# What rounds of timing say: a time with its interval for each module, what the machine was like, what is missing.
#
# Complete in itself, Python and numpy alone, so that the very same code times a bundle where this package is not.
#
# A round in which other programs took the processor, or which was slower than the others as a whole, is disturbed: it is
# measured again instead of averaged in. Of the others the lower quartile counts, since what is left of other load only
# ever adds time.
#
# One module loaded twice takes a percent or two more one time than the other, for as long as it is loaded: where its
# memory comes to lie decides what its parts push out of the caches. Where modules are loaded several times, their mean
# counts, and the interval says how well that is known.

DISTURBING = 0.25
"""Share of the machine's cores that other programs may use before a round counts as disturbed."""

SLOWER = 0.08
"""By how much a round may be slower than the others, as a median over modules."""

WHOLE = 4
"""Modules that a round must have to be judged as a whole: of fewer, one that is noisy by itself would decide."""

LEAST = 3
"""Rounds that every module is in, however little time there is."""

QUANTILE = 0.25
RESAMPLES = 200

BORROWED = 4
"""Degrees of freedom that a module's spread over its loadings borrows from all others at the most."""


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
        rounds: undisturbed passes over every module at the least, over all loadings.
        burst_ms: how long each module runs in a round; a round takes ten times as long at the least.
        width: half the width of an interval, as a share of its value, that is narrow enough.
        limit_s: seconds after which no further round is begun, once every module has been in three.
        loadings: how often every module is loaded anew where the runtime lets it.
    """

    rounds: int = 24
    burst_ms: float = 6.0
    width: float = 0.02
    limit_s: float = 120.0
    loadings: int = 4

    @property
    def rounds_of_loading(self) -> int:
        """Undisturbed passes of each loading at the least."""
        return math.ceil(self.rounds / self.loadings)


@dataclass(frozen=True)
class Round:
    """One pass over modules.

    Args:
        bursts: median ms of each module's burst.
        other_cores: that other programs used meanwhile; None where unknown.
        loading: which loading of the modules was timed.
    """

    bursts: Mapping[str, float]
    other_cores: float | None = None
    loading: str = ""


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
            known = "1 latency is" if self.wide == 1 else f"{self.wide} latencies are"
            told.append(f"{known} known less well than asked: more seconds (limit-s) would help")
        return told


def narrow(interval: Interval, effort: Effort) -> bool:
    """Whether an interval is as narrow as the effort asks."""
    return interval.high_ms - interval.low_ms <= 2 * effort.width * interval.ms


def missing(names: Mapping[str, Any] | Sequence[str], rounds: Sequence[Round], effort: Effort) -> list[str]:
    """Which of ``names`` need more rounds: too few loadings with enough undisturbed ones, or a wide interval."""
    kept = [r for r, good in zip(rounds, undisturbed(rounds), strict=True) if good]
    enough = [
        name
        for name in names
        if sum(len(times) >= effort.rounds_of_loading for times in _by_loading(name, kept)) >= effort.loadings
    ]
    found, _ = intervals(enough, rounds, effort) if enough else ({}, False)
    return [name for name in names if name not in found or not narrow(found[name], effort)]


def undisturbed(rounds: Sequence[Round]) -> list[bool]:
    """Which rounds count: other programs used few cores, and the round was no slower than the others.

    Quicker and slower modules are judged apart: what other machines on the same processor take of its caches and its
    memory is missed by large modules alone.
    """
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
    ratios = bursts[:, seen] / reference
    larger = reference > np.median(reference)
    slowest = [max(_typical(row[larger]), _typical(row[~larger]), _typical(row)) for row in ratios]
    return [quiet and ratio <= 1 + SLOWER for quiet, ratio in zip(calm, slowest, strict=True)]


def _typical(ratios: Any) -> float:
    """Median of an array without what was not timed, NaN; 1 of too few."""
    timed = ratios[~np.isnan(ratios)]
    return float(np.median(timed)) if len(timed) >= WHOLE else 1.0


def intervals(
    names: Mapping[str, Any] | Sequence[str], rounds: Sequence[Round], effort: Effort
) -> tuple[dict[str, Interval], bool]:
    """Lower quartile over the undisturbed rounds of a loading, its mean over the loadings, and the 95 % interval.

    Of one loading the interval is that under resampling of its rounds. Of several it is that of the mean of what they
    came to, by Student's t; how far they lie apart is drawn towards what is usual among ``names``, since a few loadings
    alone say little of it.

    A module with fewer undisturbed rounds than asked, and than half of its rounds or three, is given all of them; the
    second value says that one was.
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


def conditions(
    names: Mapping[str, Any] | Sequence[str], rounds: Sequence[Round], effort: Effort, *, before: int, seconds: float
) -> Conditions:
    """What the machine was like in the rounds from number ``before`` on, which took ``seconds``."""
    found, busy = intervals(names, rounds, effort) if names else ({}, False)
    now = rounds[before:]
    loads = [r.other_cores for r in now if r.other_cores is not None]
    return Conditions(
        rounds=len(now),
        disturbed=len(now) - sum(undisturbed(rounds)[before:]),
        other_cores=round(float(np.mean(loads)), 3) if loads else None,
        seconds=round(seconds, 2),
        wide=sum(not narrow(interval, effort) for interval in found.values()),
        busy=busy,
    )


def counts(rounds: Sequence[Round], names: Mapping[str, Any] | Sequence[str]) -> dict[str, int]:
    """Rounds that each of ``names`` was in."""
    return {name: sum(name in r.bursts for r in rounds) for name in names}


def _by_loading(name: str, rounds: Sequence[Round]) -> list[list[float]]:
    """The bursts of a module, a list for each loading."""
    found: dict[str, list[float]] = {}
    for r in rounds:
        if name in r.bursts:
            found.setdefault(r.loading, []).append(r.bursts[name])
    return list(found.values())


def _quartiles(pieces: Sequence[Sequence[float]]) -> list[Interval]:
    """Lower quartile of each piece, with its 95 % interval under resampling."""
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
    """Mean and interval of what the loadings of each module came to."""
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
    """Median of a chi-squared distribution as a share of its mean (Wilson and Hilferty's approximation)."""
    return float((1 - 2 / (9 * freedom)) ** 3)


def _student(freedom: int) -> float:
    """97.5 % quantile of Student's t, expanded about the normal's; 3 % off at 2, less above."""
    z = 1.959964
    terms = ((z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


# Latency measured: inferences timed in interleaved rounds until the intervals are narrow, on a watched machine.
#
# Complete in itself, Python and numpy alone, so that the very same code times a bundle where this package is not.
#
# Every round runs each module for a short burst and keeps the burst's median, so that a slow spell of the machine falls
# on all modules alike instead of on the one that happened to be measured.

METHOD = 3
"""To be raised with every change after which a module takes another time than before it: old times do not apply."""


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
    started = time.perf_counter()
    effort = replace(effort, loadings=1)
    if not modules:
        return {}, conditions((), (), effort, before=0, seconds=0.0)
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
            advance(_share_of_rounds(unfinished, len(rounds) - before, seconds, effort))
            seen = counts(rounds, modules)
            if not unfinished or (seconds > effort.limit_s and min(seen.values()) >= LEAST):
                break
            if seconds > effort.limit_s:
                unfinished = [name for name in unfinished if seen[name] < LEAST]
            load = _Load()
            random.Random(len(rounds)).shuffle(unfinished)  # what runs before a module leaves its mark on it
            bursts = {name: _burst(modules[name], repeats[name]) for name in unfinished}
            rounds.append(Round(bursts, load.other_cores()))
            on_round(rounds[-1])
    finally:
        if collecting:
            gc.enable()
    advance(1.0)
    seconds = time.perf_counter() - started
    return intervals(modules, rounds, effort)[0], conditions(modules, rounds, effort, before=before, seconds=seconds)


def _share_of_rounds(unfinished: Sequence[str], rounds: int, seconds: float, effort: Effort) -> float:
    """How much is done, by rounds or by the time limit, whichever is further; noisy modules take more rounds."""
    if not unfinished:
        return 1.0
    by_time = seconds / effort.limit_s if effort.limit_s else 0.0
    return min(0.99, max(by_time, 0.9 * min(1.0, rounds / (effort.rounds + 1))))


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


# Modules loaded and timed several times over, since one loading takes another time than the next.
#
# Complete in itself, Python and numpy alone, so that the very same code times a bundle where this package is not.

MOST = 2
"""Loadings at the most, as a multiple of those asked for: a module that jumps about would want ever more."""


class Loading(Protocol):
    """Loads modules, in a process of its own where it can, times them and forgets them."""

    def __call__(
        self,
        order: Sequence[str],
        effort: Effort,
        on_round: Callable[[Round], None],
        advance: Callable[[float], None],
    ) -> None:
        """Load and time the modules called ``order``, in that order."""
        ...


def time_loadings(
    names: Sequence[str],
    load: Loading,
    effort: Effort,
    *,
    history: Sequence[Round] = (),
    on_round: Callable[[Round], None] = lambda done: None,
    advance: Callable[[float], None] = lambda share: None,
) -> tuple[dict[str, Interval], Conditions]:
    """Time modules against one another, all of them in every loading, each time in another order.

    Args:
        names: of the modules.
        load: makes one loading.
        history: rounds measured before, of these or other modules, to go on from.
        on_round: given each round as it is done, to be kept.
        advance: told the share done, 0 to 1.

    Returns:
        the interval of every module, and the conditions of the rounds measured now.
    """
    started = time.perf_counter()
    rounds = list(history)
    before = len(rounds)
    done = 0
    while names and done < MOST * effort.loadings:
        unfinished = missing(names, rounds, effort)
        seconds = time.perf_counter() - started
        if not unfinished or (seconds >= effort.limit_s and min(counts(rounds, names).values()) >= LEAST):
            break
        left = max(0.0, effort.limit_s - seconds) / max(1, effort.loadings - done)
        once = replace(effort, rounds=effort.rounds_of_loading, loadings=1, width=float("inf"), limit_s=left)
        # In a fixed order every module would come to lie where it did before, and the mean would be off like each.
        order = list(names)
        random.Random(len(rounds)).shuffle(order)
        loading = f"{time.time_ns():x}"

        def keep(one: Round, loading: str = loading) -> None:
            rounds.append(replace(one, loading=loading))
            on_round(rounds[-1])

        def show(share: float, done: int = done) -> None:
            advance(_share_of_loadings((done + share) / effort.loadings))

        load(order, once, keep, show)
        done += 1
    advance(1.0)
    found = intervals(names, rounds, effort)[0] if names else {}
    seconds = time.perf_counter() - started
    return found, conditions(names, rounds, effort, before=before, seconds=seconds)


def _share_of_loadings(asked: float) -> float:
    """How much is done, of loadings as a multiple of those asked for: whether there will be more is known at 1 only."""
    return 0.8 * asked if asked <= 1 else 0.8 + 0.19 * (asked - 1) / (MOST - 1)


# The command line.

BUNDLE = "proxyless bundle 1"
"""Format of manifest.json."""

RESULTS = "proxyless results 1"
"""Format of results.json."""


class Mistake(Exception):  # noqa: N818  (shown to the user as one line, not raised at a caller)
    """What stops the program: one line that says what is wrong and how to mend it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Time a bundle; returns the exit code: 0, 2 after a mistake, 130 when interrupted."""
    try:
        measure(_parser().parse_args(arguments))
    except (Mistake, OSError) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def measure(parsed: argparse.Namespace) -> None:
    """Time whatever of the bundle is not yet known well enough, and write the results."""
    if parsed.out.is_dir():
        raise Mistake(f"--out {parsed.out}: is a folder; give the name of a file")
    if parsed.threads > usable_cores():
        raise Mistake(f"--threads {parsed.threads}: this process may use {usable_cores()} cores")
    manifest, digest = read_manifest(parsed.bundle)
    items = manifest["networks"] if parsed.networks_only else [*manifest["operators"].values(), *manifest["networks"]]
    models = {Path(item["file"]).stem: item for item in items}
    for item in models.values():
        if not (parsed.bundle / item["file"]).is_file():
            raise Mistake(f"{parsed.bundle / item['file']}: missing; copy the whole bundle again")
    runtime = _onnxruntime()
    setup = {
        "runtime": "onnxruntime",
        "runtime_version": runtime.__version__,
        "providers": providers(parsed.providers, runtime.get_available_providers()),
        "threads": parsed.threads,
        "machine": machine(),
    }
    effort = Effort(parsed.rounds, parsed.burst_ms, parsed.width, parsed.limit_s, parsed.loadings)
    record = Record(rounds_path(parsed.out), {"bundle": digest, "timing": METHOD} | setup)
    if missing(models, record.rounds, effort):
        apart = Apart(parsed.bundle, models, setup)
        history, shown = list(record.rounds), Progress("time")
        time_loadings(list(models), apart, effort, history=history, on_round=record.add, advance=shown)
    found, about = evaluated(models, record, effort)
    results = {
        "format": RESULTS,
        "bundle": digest,
        "device": {"name": parsed.name} | setup,
        "conditions": asdict(about),
        "times": {name: asdict(interval) for name, interval in found.items()},
        "manifest": manifest,
    }
    write_whole(parsed.out, json.dumps(results, indent=1, allow_nan=False) + "\n")
    for warning in about.warnings():
        print(warning, file=sys.stderr)
    networks = len(manifest["networks"])
    counted = f"{len(models) - networks} operators and {networks} networks"
    print(f"{parsed.out}: {counted} in {about.rounds} rounds, {about.seconds:.0f} s")
    others = " --adapt TABLES-OF-OTHER-DEVICES" * parsed.networks_only
    print(f"where the bundle was made: proxyless measure --from {parsed.out.name}{others} --out table.json")


def rounds_path(out: Path) -> Path:
    """Where the rounds are kept whose results go to ``out``."""
    return out.with_name(f"{out.name.removesuffix('.json')}.rounds.jsonl")


def read_manifest(folder: Path) -> tuple[dict[str, Any], str]:
    """The manifest of the bundle ``folder``, and its SHA-256, by which results are told to be of this bundle."""
    path = folder / "manifest.json"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise Mistake(f"{folder}: no bundle, it has no manifest.json; give its folder by --bundle") from None
    try:
        value = json.loads(content)
        known = value["format"] == BUNDLE
    except (ValueError, TypeError, KeyError):
        raise Mistake(f"{path}: not the manifest of a bundle, or only part of it; copy it again") from None
    if not known:
        raise Mistake(
            f"{path}: format {value['format']!r}, but this run.py reads {BUNDLE!r}; keep a bundle's files together"
        )
    return value, hashlib.sha256(content).hexdigest()


def providers(wanted: Sequence[str], available: Sequence[str]) -> list[str]:
    """Full names of execution providers; ``xnnpack`` is short for ``XnnpackExecutionProvider``."""
    short = {name.lower().removesuffix("executionprovider"): name for name in available}
    found = []
    for name in wanted:
        key = name.lower().removesuffix("executionprovider")
        if key not in short:
            raise Mistake(f"--providers {name}: this ONNX Runtime has {', '.join(available)}")
        found.append(short[key])
    return found


class Model:
    """A loaded ONNX file that is run on one input, the same every time."""

    def __init__(self, session: Any, inputs: Sequence[Mapping[str, Any]]) -> None:
        self.session = session
        numbers = np.random.default_rng(0)
        read = {value.name for value in session.get_inputs()}
        self.feed = {
            value["name"]: numbers.standard_normal(value["shape"]).astype(value["dtype"])
            for value in inputs
            if value["name"] in read
        }

    def times_ms(self, count: int) -> Any:
        """Ms that each of ``count`` inferences took, copies to and from an accelerator included."""
        times = np.empty(count)
        for i in range(count):
            start = time.perf_counter_ns()
            self.session.run(None, self.feed)
            times[i] = time.perf_counter_ns() - start
        return times / 1e6


def load(runtime: Any, folder: Path, item: Mapping[str, Any], setup: Mapping[str, Any]) -> Model:
    """Load one file of the bundle, which must be as it was written."""
    path = folder / item["file"]
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != item["sha256"]:
        raise Mistake(f"{path}: changed since the bundle was written; copy it again")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = setup["threads"]
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Otherwise the threads of one model go on spinning after an inference and take the cores of the next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    chosen: list[Any] = list(setup["providers"])
    if "XnnpackExecutionProvider" in chosen:  # has threads of its own, which ONNX Runtime's would only disturb
        own = {"intra_op_num_threads": str(setup["threads"])}
        chosen[chosen.index("XnnpackExecutionProvider")] = ("XnnpackExecutionProvider", own)
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            session = runtime.InferenceSession(content, options, providers=chosen)
        session.disable_fallback()  # to the CPU, silently
        model = Model(session, item["inputs"])
        model.times_ms(1)
    except Exception as error:  # ONNX Runtime raises classes of its own, which it does not export
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Mistake(f"{path}: ONNX Runtime cannot run it: {reason}") from None
    if session.get_providers()[0] != setup["providers"][0]:
        raise Mistake(
            f"{path}: runs with {session.get_providers()[0]}, since {setup['providers'][0]} cannot be loaded: its"
            " libraries are missing or of other versions"
        )
    return model


class Apart:
    """Loads models in a process of its own and times them; see :class:`proxyless.latency.loadings.Loading`.

    Args:
        folder: of the bundle.
        models: by name, as the manifest describes them.
        setup: providers and threads.

    Raises:
        Mistake: when called, of a model that cannot be loaded or ends the process.
    """

    def __init__(self, folder: Path, models: Mapping[str, Mapping[str, Any]], setup: Mapping[str, Any]) -> None:
        self.folder, self.models, self.setup = folder, models, setup

    def __call__(
        self,
        order: Sequence[str],
        effort: Effort,
        on_round: Callable[[Round], None],
        advance: Callable[[float], None],
    ) -> None:
        context = multiprocessing.get_context("spawn")
        out, into = context.Pipe(duplex=False)
        process = context.Process(target=_loading, args=(self, list(order), effort, into), daemon=True)
        process.start()
        into.close()  # the end that the process has is the only one
        loading = order[0]
        try:
            while True:
                kind, value = out.recv()
                if kind == "mistake":
                    raise Mistake(value)
                elif kind == "loading":
                    loading = value
                elif kind == "round":
                    on_round(value)
                elif kind == "share":
                    advance(value)
                else:
                    return
        except EOFError:
            process.join()
            name = self.folder / self.models[loading]["file"]
            raise Mistake(f"{name}: the process that ran it, or one after it, ended with {process.exitcode}") from None
        finally:
            process.kill()
            process.join()


def _loading(apart: Apart, order: Sequence[str], effort: Effort, into: Any) -> None:
    """What the process of a loading does: sends pairs of a kind and a value."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # its parent ends it
    try:
        runtime, loaded = _onnxruntime(), {}
        with steady(apart.setup["threads"]):
            for name in order:
                into.send(("loading", name))
                loaded[name] = load(runtime, apart.folder, apart.models[name], apart.setup)
            time_interleaved(
                loaded,
                effort,
                on_round=lambda done: into.send(("round", done)),
                advance=lambda share: into.send(("share", share)),
            )
        into.send(("finished", None))
    except Mistake as error:
        into.send(("mistake", str(error)))
    except BrokenPipeError:  # the parent has been killed
        return


class Record:
    """The rounds done so far, kept in a file of JSON lines that begins with what was measured and how.

    Args:
        path: of the file; taken up if it is there.
        setup: what all its rounds have in common.

    Raises:
        Mistake: the file holds something else, or rounds of another setup.
    """

    def __init__(self, path: Path, setup: Mapping[str, Any]) -> None:
        self.path = path
        self.rounds: list[Round] = []
        self.seconds = 0.0
        if path.exists():
            self._take_up(setup)
        else:
            write_whole(path, json.dumps(setup) + "\n")
        self.last = time.perf_counter()

    def _take_up(self, setup: Mapping[str, Any]) -> None:
        first, *lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True) or [""]
        mend = "choose another --out, or remove that file"
        try:
            before = json.loads(first)
            differing = [name for name in setup if before.get(name) != setup[name]]
        except (ValueError, TypeError, KeyError):
            raise Mistake(f"{self.path}: in the way, and holds no rounds of a bundle; {mend}") from None
        if differing:
            name = differing[0]
            what = "another bundle" if name == "bundle" else f"{name} {before.get(name)!r}, not {setup[name]!r}"
            raise Mistake(f"{self.path}: its rounds are of {what}; {mend}")
        for line in lines:
            try:
                value = json.loads(line)
                bursts = {name: float(ms) for name, ms in value["bursts"].items()}
                self.rounds.append(Round(bursts, value["other_cores"], value["loading"]))
                self.seconds += value["seconds"]
            except (ValueError, TypeError, KeyError, AttributeError):
                continue  # cut off by a kill
        if lines and not lines[-1].endswith("\n"):
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def add(self, done: Round) -> None:
        """Append a round."""
        now = time.perf_counter()
        value = {
            "bursts": {name: round(ms, 7) for name, ms in done.bursts.items()},
            "other_cores": done.other_cores,
            "loading": done.loading,
            "seconds": round(now - self.last, 3),
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(value, allow_nan=False) + "\n")
        self.rounds.append(done)
        self.seconds += now - self.last
        self.last = now


def evaluated(models: Mapping[str, Any], record: Record, effort: Effort) -> tuple[dict[str, Interval], Conditions]:
    """The interval of every model over all rounds, also those before a stop, and what the machine was like."""
    found, _ = intervals(models, record.rounds, effort)
    return found, conditions(models, record.rounds, effort, before=0, seconds=record.seconds)


class Progress:
    """The share done and the time left, on standard error: one line on a terminal, else a line every ten seconds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.terminal = sys.stderr.isatty()
        self.started = self.last = time.monotonic()
        self.first: float | None = None

    def __call__(self, share: float) -> None:
        now = time.monotonic()
        if self.first is None:  # what was known before is not of this run
            self.first, self.started = share, now
        ended = share >= 1 and self.terminal
        if not ended and (now - self.last < (0.2 if self.terminal else 10) or share <= self.first):
            return
        self.last = now
        left = (now - self.started) * (1 - share) / max(share - self.first, 1e-9)
        text = f"{self.name} {share:4.0%}  {left:.0f} s left"
        print(f"\r{text:<40}" if self.terminal else text, end="" if self.terminal and not ended else "\n",
              file=sys.stderr, flush=True)  # fmt: skip


def write_whole(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".partial-", suffix=path.suffix, dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise Mistake(f"ONNX Runtime cannot be imported ({error}): pip install onnxruntime") from None
    return onnxruntime


def _parser() -> argparse.ArgumentParser:
    default = Effort()
    parser = argparse.ArgumentParser(description="Time the networks of a bundle on this device.")
    text = "the whole networks alone: enough to adapt tables of other devices, not to make one from nothing"
    parser.add_argument("--networks-only", action="store_true", help=text)
    whole, positive = _number(int, 1), _number(float, 0.01)
    own = Path(__file__).resolve().parent
    parser.add_argument("--out", type=Path, default=Path("results.json"), metavar="FILE", help="default: results.json")
    parser.add_argument("--name", default=platform.node() or "device", help="of this device (default: its host name)")
    parser.add_argument("--threads", type=whole, default=1, metavar="N", help="of one inference (default: 1)")
    parser.add_argument(
        "--providers", nargs="+", default=["cpu"], metavar="NAME",
        help="execution providers of ONNX Runtime by preference, such as xnnpack cpu, or cuda cpu (default: cpu)",
    )  # fmt: skip
    text = f"undisturbed passes over all models at the least (default: {default.rounds})"
    parser.add_argument("--rounds", type=whole, default=default.rounds, metavar="N", help=text)
    text = f"how often all models are loaded anew, in a process of its own each time (default: {default.loadings})"
    parser.add_argument("--loadings", type=whole, default=default.loadings, metavar="N", help=text)
    text = f"ms that a model runs in each pass (default: {default.burst_ms:g})"
    parser.add_argument("--burst-ms", type=positive, default=default.burst_ms, metavar="MS", help=text)
    text = f"half the width of an interval, as a share, that is narrow enough (default: {default.width:g})"
    parser.add_argument("--width", type=_number(float, 0), default=default.width, metavar="X", help=text)
    text = f"seconds after which intervals may stay wider (default: {default.limit_s:g})"
    parser.add_argument("--limit-s", type=_number(float, 0), default=default.limit_s, metavar="S", help=text)
    parser.add_argument("--bundle", type=Path, default=own, metavar="FOLDER", help="default: where this file is")
    return parser


def _number(kind: Callable[[str], Any], least: float) -> Callable[[str], Any]:
    def parsed(text: str) -> Any:
        value = kind(text)
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be at least {least:g}, got {text}")
        return value

    parsed.__name__ = "number"  # argparse names it in its error
    return parsed


if __name__ == "__main__":
    sys.exit(main())
