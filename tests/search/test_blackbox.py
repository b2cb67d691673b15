"""Search by queries alone: what counts as a query, and the methods others are measured against."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from proxyless.search.blackbox import (
    Selection,
    Strategy,
    explore,
    local_search,
    random_search,
    regularized_evolution,
)

COUNTS = (3, 2, 4, 3, 3)
PATHS = list(product(*map(range, COUNTS)))
METHODS = [random_search, regularized_evolution, local_search]


def additive(path: Selection) -> float:
    return float(sum(np.cos(3 * i + j) for i, j in enumerate(path)))


def light(path: Selection) -> bool:
    return sum(path) <= 5


def test_a_network_asked_for_again_is_neither_looked_up_nor_counted() -> None:
    looked_up: list[Selection] = []
    answers: list[float] = []

    def strategy() -> Strategy:
        for path in [(0,), (0,), (1,), (0,), (2,), (3,)]:
            answers.append((yield path))

    def metric(path: Selection) -> float:
        looked_up.append(path)
        return 10.0 * path[0]

    found = explore(strategy(), metric, 3)
    assert looked_up == list(found) == [(0,), (1,), (2,)]
    assert answers == [0.0, 0.0, 10.0, 0.0]


def test_exploring_ends_when_the_strategy_does_or_repeats_itself_for_long() -> None:
    def short() -> Strategy:
        yield (0,)

    def stuck() -> Strategy:
        while True:
            yield (0,)

    assert list(explore(short(), lambda path: 1.0, 10)) == [(0,)]
    assert list(explore(stuck(), lambda path: 1.0, 10, patience=7)) == [(0,)]


@pytest.mark.parametrize("method", METHODS)
def test_only_allowed_networks_are_asked_for(method: Callable[..., Strategy]) -> None:
    found = explore(method(COUNTS, light, np.random.default_rng(0)), additive, 60)
    assert len(found) == 60
    assert all(light(path) for path in found)


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_repeats_a_search(method: Callable[..., Strategy]) -> None:
    first, second = (explore(method(COUNTS, light, np.random.default_rng(7)), additive, 40) for _ in range(2))
    assert list(first) == list(second)


@pytest.mark.parametrize("method", [regularized_evolution, local_search])
def test_the_best_network_of_an_additive_table_is_found_in_part_of_it(method: Callable[..., Strategy]) -> None:
    best = max(PATHS, key=additive)
    for seed in range(5):
        found = explore(method(COUNTS, lambda path: True, np.random.default_rng(seed)), additive, 90)
        assert len(PATHS) == 216
        assert best in found


def test_a_child_of_evolution_differs_from_a_member_of_the_population_in_one_choice() -> None:
    rng = np.random.default_rng(1)
    found = list(explore(regularized_evolution(COUNTS, lambda path: True, rng, population=8, sample=4), additive, 30))
    for position, child in enumerate(found[8:], start=8):
        distances = [sum(a != b for a, b in zip(child, other, strict=True)) for other in found[:position]]
        assert min(distances) == 1


def test_local_search_trades_two_choices_where_the_cap_leaves_no_single_step() -> None:
    value = {(0, 0): 0.0, (1, 0): 2.0, (0, 1): 1.0}  # (1, 1) is too dear
    for seed in range(4):
        asked = explore(local_search((2, 2), lambda path: path != (1, 1), np.random.default_rng(seed)), value.get, 3)
        assert max(asked, key=asked.__getitem__) == (1, 0)
