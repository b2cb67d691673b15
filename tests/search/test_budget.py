from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from proxyless import Choice, ProxylessError, Supernet, Zero
from proxyless.cost import CostTable
from proxyless.search.budget import best_under_budget, knapsack

COST = CostTable("ms", 0.5, {"first": {"k1": 1.0, "k3": 2.0, "skip": 0.0}, "second": {"wide": 3.0, "narrow": 1.5}})


def brute_force(scores, costs, capacity):
    best, found = -np.inf, None
    for path in product(*(range(len(row)) for row in scores)):
        cost = sum(costs[i][j] for i, j in enumerate(path))
        score = sum(scores[i][j] for i, j in enumerate(path))
        if cost <= capacity and score > best:
            best, found = score, list(path)
    return best, found


@pytest.mark.parametrize("seed", range(30))
def test_equals_brute_force(seed):
    rng = np.random.default_rng(seed)
    scores, costs = rng.normal(size=(5, 4)), rng.integers(0, 50, (5, 4)) / 10
    scores[2, 3] = -np.inf  # a shorter row
    capacity = costs.min(1).sum() + rng.uniform(0.05, 1) * (costs.max(1).sum() - costs.min(1).sum()) + 0.05
    expected, _ = brute_force(scores, costs, capacity)
    path = knapsack(scores, costs, capacity)
    assert sum(costs[i, j] for i, j in enumerate(path)) <= capacity + 1e-9
    assert sum(scores[i, j] for i, j in enumerate(path)) == pytest.approx(expected)


def test_a_space_of_the_papers_size_is_solved_with_measured_costs():
    """Checked against the bound of Lagrange: no path can score above min over lambda of the relaxed problem."""
    rng = np.random.default_rng(0)
    scores, costs = rng.normal(size=(21, 7)), rng.uniform(0.1, 2, (21, 7))
    capacity = 0.4 * costs.max(1).sum()
    path = knapsack(scores, costs, capacity)
    score = sum(scores[i, j] for i, j in enumerate(path))
    bound = min((scores - k * costs).max(1).sum() + k * capacity for k in np.linspace(0, 20, 2001))
    assert sum(costs[i, j] for i, j in enumerate(path)) <= capacity
    assert bound - 0.5 <= score <= bound


def test_a_capacity_that_is_met_exactly_is_met():
    assert knapsack(np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([[0.1, 0.2], [0.1, 0.3]]), 0.5) == [1, 1]


def test_only_the_cheapest_fit_when_nothing_is_to_spare():
    assert knapsack(np.array([[0.0, 9.0], [0.0, 9.0]]), np.array([[1.0, 2.0], [3.0, 4.0]]), 4.0) == [0, 0]


def decided(tiny_net, rows) -> Supernet:
    supernet = Supernet(tiny_net)
    with torch.no_grad():
        supernet.alpha.copy_(torch.tensor(rows))
    return supernet


def test_the_most_probable_path_is_taken_where_it_fits_and_costs_what_is_expected(tiny_net):
    supernet = decided(tiny_net, [[0.0, 9.0, 1.0], [9.0, 0.0, 0.0]])
    assert best_under_budget(supernet, COST, 5.5) == [1, 0]


def test_the_budget_is_kept_at_the_least_loss_of_probability(tiny_net):
    supernet = decided(tiny_net, [[0.0, 5.0, 1.0], [3.0, 0.0, 0.0]])
    assert best_under_budget(supernet, COST, 4.4) == [1, 1]  # 4.0 ms, loses 3; [2, 0], 3.5 ms, would lose 4
    assert best_under_budget(supernet, COST, 2.1) == [2, 1]


def test_an_undecided_search_derives_a_network_that_costs_what_it_expects():
    """Zero is the single most probable candidate everywhere, but two thirds of the probability are for a block."""
    blocks = [Choice(a=nn.Identity(), b=nn.Identity(), skip=Zero()) for _ in range(6)]
    cost = CostTable("ms", 0.5, {str(i): {"a": 1.0, "b": 1.0 + 0.01 * i, "skip": 0.0} for i in range(6)})
    supernet = Supernet(nn.Sequential(*blocks))
    with torch.no_grad():
        supernet.alpha.copy_(torch.tensor([[0.0, -0.01, 0.05]] * 6))
    expected = cost.expected(supernet.probabilities()).item()
    assert supernet.most_probable() == [2] * 6
    assert cost.of_path(best_under_budget(supernet, cost, 5.0)) == pytest.approx(expected, abs=0.55)
    assert 3.0 <= cost.of_path(best_under_budget(supernet, cost, 3.6)) <= 3.6


def test_a_budget_that_had_to_be_fought_for_is_spent_at_the_least_loss_of_probability():
    """The search went below the budget; the third block costs least probability."""
    blocks = [Choice(block=nn.Identity(), skip=Zero()) for _ in range(4)]
    cost = CostTable("ms", 0.0, {str(i): {"block": 1.0, "skip": 0.0} for i in range(4)})
    supernet = Supernet(nn.Sequential(*blocks))
    with torch.no_grad():
        supernet.alpha.copy_(torch.tensor([[0.0, 2.0], [0.0, 2.0], [0.0, 1.0], [0.0, 2.0]]))
    assert cost.expected(supernet.probabilities()) < 0.7
    assert best_under_budget(supernet, cost, 1.0) == [1, 1, 0, 1]
    assert best_under_budget(supernet, cost, 3.0) == [1, 1, 0, 1]  # generous: about what is expected


@pytest.mark.parametrize("temperature", [0.5, 2.0])
@pytest.mark.parametrize("seed", range(6))
def test_a_temperature_derives_what_alpha_divided_by_it_would(seed, temperature):
    """Both the log probabilities and the expected cost are those that the search sampled by."""
    generator = torch.Generator().manual_seed(seed)
    blocks = [Choice(a=nn.Identity(), b=nn.Identity(), skip=Zero()) for _ in range(6)]
    cost = CostTable("ms", 0.5, {str(i): {"a": 1.0, "b": 1.3 + 0.1 * i, "skip": 0.0} for i in range(6)})
    tempered, divided = Supernet(nn.Sequential(*blocks)), Supernet(nn.Sequential(*blocks))
    with torch.no_grad():
        tempered.alpha.copy_(torch.randn(6, 3, generator=generator))
        divided.alpha.copy_(tempered.alpha / temperature)
    tempered.temperature = temperature
    for budget in (2.0, 4.0, 6.0, 100.0):
        assert best_under_budget(tempered, cost, budget) == best_under_budget(divided, cost, budget)


def test_a_generous_budget_is_not_spent_for_its_own_sake(tiny_net):
    supernet = decided(tiny_net, [[0.0, 0.0, 9.0], [0.0, 9.0, 0.0]])
    assert best_under_budget(supernet, COST, 100.0) == [2, 1]


def test_a_decided_search_is_not_overruled_where_the_only_alternative_is_far_dearer():
    cost = CostTable("ms", 0.0, {"0": {"cheap": 1.0, "dear": 10.0}})
    supernet = Supernet(nn.Sequential(Choice(cheap=nn.Identity(), dear=nn.Identity())))
    with torch.no_grad():
        supernet.alpha.copy_(torch.tensor([[np.log(0.96 / 0.04), 0.0]]))
    assert best_under_budget(supernet, cost, 20.0) == [0]


def test_a_budget_below_the_smallest_network_names_its_cost(tiny_net):
    with pytest.raises(ProxylessError, match="smallest network of this space costs 2 ms"):
        best_under_budget(Supernet(tiny_net), COST, 1.9)
