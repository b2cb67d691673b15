"""Rewards: what accuracy and cost are worth together."""

from __future__ import annotations

import pytest

from proxyless.cost import CostTable
from proxyless.search.reward import AccuracyReward, BudgetReward, LatencyReward

COST = CostTable("ms", 2.0, {"a": {"small": 1.0, "big": 3.0}, "b": {"skip": 0.0, "big": 5.0}})


def test_accuracy_alone_ignores_the_path() -> None:
    reward = AccuracyReward()
    assert reward(0.7, [0, 0]) == reward(0.7, [1, 1]) == 0.7
    assert reward.budget is None


def test_latency_reward_is_the_accuracy_at_the_target() -> None:
    assert LatencyReward(COST, target=8.0)(0.7, [0, 1]) == pytest.approx(0.7)


def test_latency_reward_follows_the_power_law_on_both_sides_of_the_target() -> None:
    reward = LatencyReward(COST, target=6.0)
    assert reward(0.5, [0, 0]) == pytest.approx(0.5 * 2**0.1)  # 3 ms
    assert LatencyReward(COST, target=5.0)(0.5, [1, 1]) == pytest.approx(0.5 * 0.5**0.1)  # 10 ms
    assert LatencyReward(COST, target=5.0, exponent=1.0)(0.5, [1, 1]) == pytest.approx(0.25)


def test_the_target_is_the_budget_of_the_derived_network() -> None:
    assert LatencyReward(COST, target=6.0).budget == 6.0


def test_within_the_budget_the_accuracy_counts_alone() -> None:
    reward = BudgetReward(COST, budget=8.0)
    assert reward(0.6, [0, 0]) == 0.6
    assert reward(0.6, [0, 1]) == 0.6  # exactly on the budget


def test_above_the_budget_every_network_is_worse_and_the_further_above_the_worse() -> None:
    reward = BudgetReward(COST, budget=4.0)
    within, above, far_above = reward(0.0, [0, 0]), reward(1.0, [1, 0]), reward(1.0, [1, 1])
    assert within > above > far_above
    assert above == pytest.approx(-0.25)
    assert far_above == pytest.approx(-1.5)


@pytest.mark.parametrize("target", [0.0, -1.0])
def test_a_target_or_budget_that_is_not_above_zero_is_refused(target: float) -> None:
    with pytest.raises(ValueError, match="above 0 ms"):
        LatencyReward(COST, target=target)
    with pytest.raises(ValueError, match="above 0 ms"):
        BudgetReward(COST, budget=target)


def test_a_cost_of_zero_cannot_be_divided_by() -> None:
    free = CostTable("ms", 0.0, {"a": {"skip": 0.0, "big": 3.0}})
    with pytest.raises(ValueError, match="above 0 ms"):
        LatencyReward(free, target=1.0)
