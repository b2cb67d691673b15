import math

import pytest
import torch

from proxyless.cost import CostTable
from proxyless.search.objective import BudgetLoss, CombinedLoss, ScaledLoss, TaskOnly, WeightedLoss

COST = CostTable("ms", 1.0, {"a": {"x": 2.0, "y": 4.0}})
EVEN = torch.tensor([[0.5, 0.5]], dtype=torch.float64)


def test_the_loss_adds_the_relative_excess_over_the_budget():
    loss = BudgetLoss(COST, 5.0, weight=0.1).loss(torch.tensor(2.0, dtype=torch.float64), EVEN)
    assert loss.item() == pytest.approx(2.0 + 0.1 * (4.0 - 5.0) / 5.0)


def test_a_fixed_weight_stays_fixed():
    objective = BudgetLoss(COST, 1.0, weight=0.1)
    objective.adapt(EVEN)
    assert objective.weight == 0.1


def test_the_multiplier_grows_above_the_budget_and_shrinks_below_it():
    above, below = BudgetLoss(COST, 2.0, weight=0.1, gain=0.5), BudgetLoss(COST, 8.0, weight=0.1, gain=0.5)
    for steps in range(1, 4):
        above.adapt(EVEN)
        below.adapt(EVEN)
        assert above.weight == pytest.approx(0.1 * math.exp((0.5 * steps + 5) * (4 / 2 - 1)))
        assert below.weight == pytest.approx(0.1 * math.exp((0.5 * steps + 5) * (4 / 8 - 1)))


def test_the_multiplier_brings_the_expected_cost_to_the_budget():
    """Against a task loss that wants the dear candidate: gradient descent on alpha, the multiplier beside it."""
    objective = BudgetLoss(COST, 3.5, weight=0.1, gain=0.05)
    alpha = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    for _ in range(4000):
        p = alpha.softmax(1)
        loss = objective.loss(-p[0, 1], p)
        (gradient,) = torch.autograd.grad(loss, alpha)
        with torch.no_grad():
            alpha -= 0.3 * gradient
        objective.adapt(p.detach())
    assert COST.expected(alpha.softmax(1)).item() == pytest.approx(3.5, rel=0.01)


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(ValueError, match="above 0 ms"):
        BudgetLoss(COST, 0.0)


def test_the_scaled_form_is_that_of_the_authors():
    cost = CostTable("ms", 10.0, {"a": {"x": 20.0, "y": 40.0}})
    loss = ScaledLoss(cost, 80.0).loss(torch.tensor(2.0, dtype=torch.float64), EVEN)
    assert loss.item() == pytest.approx(0.2 * 2.0 * (math.log(40.0) / math.log(80.0)) ** 0.3)


def test_the_scaled_form_refuses_costs_whose_logarithm_is_negative():
    with pytest.raises(ValueError, match="above 1 ms"):
        ScaledLoss(CostTable("ms", 0.1, {"a": {"x": 0.2, "y": 0.4}}), 0.5)


def test_the_weighted_form_is_eq_7():
    loss = WeightedLoss(COST, 0.25).loss(torch.tensor(2.0, dtype=torch.float64), EVEN)
    assert loss.item() == pytest.approx(2.0 + 0.25 * 4.0)


def test_without_a_cost_the_loss_is_the_tasks():
    task = torch.tensor(2.0)
    assert TaskOnly().loss(task, EVEN) is task


def test_several_costs_add_up_and_each_keeps_its_own_multiplier():
    parameters = CostTable("parameters", 100.0, {"a": {"x": 50.0, "y": 150.0}})
    one, two = BudgetLoss(COST, 2.0, weight=0.1, gain=0.2), BudgetLoss(parameters, 400.0, weight=0.3, gain=0.2)
    both = CombinedLoss([one, two])
    loss = both.loss(torch.tensor(1.0, dtype=torch.float64), EVEN)
    assert loss.item() == pytest.approx(1.0 + 0.1 * (4.0 / 2.0 - 1) + 0.3 * (200.0 / 400.0 - 1))
    assert (both.cost, both.budget) == (COST, 2.0)
    both.adapt(EVEN)
    assert one.weight > 0.1
    assert two.weight < 0.3
    state = both.state_dict()
    other = CombinedLoss([BudgetLoss(COST, 2.0, gain=0.2), BudgetLoss(parameters, 400.0, gain=0.2)])
    other.load_state_dict(state)
    assert other.loss(torch.tensor(1.0), EVEN).item() == both.loss(torch.tensor(1.0), EVEN).item()
