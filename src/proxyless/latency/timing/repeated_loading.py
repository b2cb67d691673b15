"""Loads and times modules several times over, since a module takes another time in one loading than in the next."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Protocol

from proxyless.latency.timing.clock import Stopwatch
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

MOST_LOADINGS = 2
"""Loadings at the most, as a multiple of those asked for: a module whose times jump would want ever more."""


class LoadAndTime(Protocol):
    """Loads modules, times them and unloads them; each call is one loading."""

    def __call__(
        self,
        order: Sequence[str],
        effort: Effort,
        on_round: Callable[[Round], None],
        advance: Callable[[float], None],
    ) -> None:
        """Load the modules in the given order, and time them against one another.

        Args:
            order: names of the modules.
            effort: how thoroughly to measure in this loading.
            on_round: given each round as it is done.
            advance: told the share done of this loading, 0 to 1.
        """
        ...


def time_over_loadings(
    names: Collection[str],
    load: LoadAndTime,
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
        effort: how thoroughly to measure.
        history: rounds measured before, of these or other modules, to go on from.
        on_round: given each round as it is done, to be kept.
        advance: told the share done, 0 to 1.

    Returns:
        The interval of every module, and the conditions of the rounds measured now.
    """
    watch = Stopwatch()
    rounds = list(history)
    before = len(rounds)
    done = 0
    while names and done < MOST_LOADINGS * effort.loadings:
        unfinished = missing(names, rounds, effort)
        seconds = watch.seconds()
        if not unfinished or (seconds >= effort.limit_s and min(counts(rounds, names).values()) >= LEAST_ROUNDS):
            break
        left = max(0.0, effort.limit_s - seconds) / max(1, effort.loadings - done)
        once = replace(effort, rounds=effort.rounds_of_loading, loadings=1, width=float("inf"), limit_s=left)
        # In a fixed order every module would come to lie where it did before, and the mean would be off like each.
        order = list(names)
        random.Random(len(rounds)).shuffle(order)
        loading = f"{time.time_ns():x}"

        def keep(one: Round, loading: str = loading) -> None:
            rounds.append(replace(one, loading=loading, seconds=watch.lap()))
            on_round(rounds[-1])

        def show(share: float, done: int = done) -> None:
            advance(_share_of_loadings((done + share) / effort.loadings))

        load(order, once, keep, show)
        done += 1
    advance(1.0)
    found = intervals(names, rounds, effort)[0] if names else {}
    return found, conditions(names, rounds, effort, before=before)


def _share_of_loadings(asked: float) -> float:
    """Say how much is done, given the loadings as a share of those asked for: at 1 it turns out whether more follow."""
    return 0.8 * asked if asked <= 1 else 0.8 + 0.19 * (asked - 1) / (MOST_LOADINGS - 1)
