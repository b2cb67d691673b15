import time

import numpy as np
import pytest

from proxyless.latency.timing.repeated_loading import MOST_LOADINGS, time_over_loadings
from proxyless.latency.timing.statistics import Effort, Round

NAMES = [f"m{i}" for i in range(8)]
EFFORT = Effort(rounds=12, width=0.05, limit_s=30, loadings=4)


class Scripted:
    """Loads modules that take 1 ms, by ``spread`` more or less in each loading."""

    def __init__(self, spread: float = 0.0, seconds: float = 0.0) -> None:
        self.spread, self.seconds = spread, seconds
        self.rng = np.random.default_rng(0)
        self.orders: list[list[str]] = []
        self.limits: list[float] = []

    def __call__(self, order, effort, on_round, advance):
        self.orders.append(list(order))
        self.limits.append(effort.limit_s)
        assert effort.loadings == 1
        time.sleep(self.seconds)
        times = {name: 1 + self.spread * self.rng.normal() for name in order}
        for number in range(effort.rounds):
            on_round(Round(times, 0.0))
            advance((number + 1) / effort.rounds)


def test_everything_is_in_every_loading_each_time_in_another_order():
    load, seen = Scripted(0.01), []
    found, conditions = time_over_loadings(NAMES, load, EFFORT, on_round=seen.append)
    assert len(load.orders) == EFFORT.loadings
    assert all(sorted(order) == NAMES for order in load.orders)
    assert len({tuple(order) for order in load.orders}) == EFFORT.loadings
    assert len({done.loading for done in seen}) == EFFORT.loadings
    assert conditions.rounds == len(seen) == EFFORT.rounds
    assert list(found) == NAMES
    assert found["m0"].ms == pytest.approx(1, abs=0.02)


def test_more_loadings_follow_while_intervals_are_wide_but_not_for_ever():
    wild = Scripted(0.5)
    _, conditions = time_over_loadings(NAMES, wild, EFFORT)
    assert len(wild.orders) == MOST_LOADINGS * EFFORT.loadings
    assert conditions.wide == len(NAMES)


def test_a_time_limit_is_shared_among_the_loadings_and_ends_them():
    slow = Scripted(seconds=0.06)
    _, conditions = time_over_loadings(NAMES, slow, Effort(rounds=12, limit_s=0.1, loadings=4))
    assert len(slow.orders) == 2
    assert slow.limits[0] == pytest.approx(0.025, abs=0.002)
    assert conditions.rounds == 6


def test_without_time_every_module_is_still_in_three_rounds():
    load = Scripted()
    _, conditions = time_over_loadings(NAMES, load, Effort(rounds=4, limit_s=0, loadings=4))
    assert conditions.rounds == len(load.orders) == 3


def test_loadings_known_from_before_are_gone_on_from():
    before: list[Round] = []
    time_over_loadings(NAMES, Scripted(), Effort(rounds=6, loadings=2), on_round=before.append)
    more = Scripted()
    _, conditions = time_over_loadings(NAMES, more, EFFORT, history=before)
    assert len(more.orders) == 2
    assert conditions.rounds == 6
    nothing = Scripted()
    time_over_loadings(NAMES, nothing, Effort(rounds=6, loadings=2), history=before)
    assert nothing.orders == []


def test_progress_never_goes_back_and_ends_at_one():
    seen: list[float] = []
    time_over_loadings(NAMES, Scripted(0.5), EFFORT, advance=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_nothing_to_time_loads_nothing():
    load = Scripted()
    found, conditions = time_over_loadings([], load, EFFORT)
    assert (found, conditions.rounds, load.orders) == ({}, 0, [])
