"""Modules loaded and timed several times over, since one loading takes another time than the next.

Complete in itself, Python and numpy alone, so that the very same code times a bundle where this package is not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Protocol

from proxyless.latency.timing.clock import Stopwatch
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
    names: Collection[str],
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
    watch = Stopwatch()
    rounds = list(history)
    before = len(rounds)
    done = 0
    while names and done < MOST * effort.loadings:
        unfinished = missing(names, rounds, effort)
        seconds = watch.seconds()
        if not unfinished or (seconds >= effort.limit_s and min(counts(rounds, names).values()) >= LEAST):
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
    """How much is done, of loadings as a multiple of those asked for: whether there will be more is known at 1 only."""
    return 0.8 * asked if asked <= 1 else 0.8 + 0.19 * (asked - 1) / (MOST - 1)
