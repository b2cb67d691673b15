"""Meeting a budget: the most probable architecture whose cost stays within it, exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxyless.architecture import Architecture, architecture_of
from proxyless.cost import Cost
from proxyless.errors import ProxylessError
from proxyless.supernet import Supernet

CLOSE = 0.97
"""A derived network is to cost at least this share of what it may cost."""


def architecture_within(supernet: Supernet, cost: Cost | None, budget: float | None) -> Architecture:
    """The most probable architecture that keeps the budget, as :func:`best_under_budget` says; of all, without one."""
    if cost is None or budget is None:
        return architecture_of(supernet)
    return architecture_of(supernet, best_under_budget(supernet, cost, budget))


def best_under_budget(supernet: Supernet, cost: Cost, budget: float) -> list[int]:
    """The most probable path that keeps the budget and makes use of it.

    In a finished search that is the most probable candidate of each choice (paper, section 3.2.1). Before that the
    most probable path can cost much less than the search was about: where many candidates still share the probability,
    the single most probable one is often Zero. So of the paths within the budget this takes the maximum of
    log p + mu * cost for the smallest mu >= 0 that brings the cost near what it may be. That is the budget where it is
    below the cost of a network drawn at random, so that the search had to give something up for it; where it is more
    generous, E[cost], since what the search does not want is not spent either. For each mu that is a multiple-choice
    knapsack, solved exactly.

    Raises:
        ProxylessError: the cheapest network is above the budget; the message names its cost.
    """
    smallest = cost.smallest()
    if smallest > budget:
        raise ProxylessError(
            f"a budget of {budget:g} {cost.unit} cannot be met: the smallest network of this space costs"
            f" {smallest:.4g} {cost.unit}; raise the budget or choose a narrower space"
        )
    scores = supernet.logits().detach().double().log_softmax(dim=1).cpu().numpy()
    costs = cost.matrix().numpy()
    at_random = float(cost.expected((supernet.mask / supernet.mask.sum(dim=1, keepdim=True)).double().cpu()))
    expected = float(cost.expected(supernet.probabilities().detach().double().cpu()))
    wanted = CLOSE * (budget if budget < at_random else min(budget, expected))

    def best(mu: float) -> list[int]:
        return knapsack(scores + mu * costs / budget, costs, budget - cost.fixed)

    path = best(0.0)
    if cost.of_path(path) >= wanted:
        return path
    low, high = 0.0, 1.0
    while cost.of_path(best(high)) < wanted and high < 1e6:
        low, high = high, 2 * high
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if cost.of_path(best(middle)) >= wanted else (middle, high)
    # Where candidates are few or far apart the next dearer path may be further off than the one before.
    return min(best(low), best(high), key=lambda path: abs(cost.of_path(path) - wanted))


def knapsack(scores: NDArray[np.float64], costs: NDArray[np.float64], capacity: float) -> list[int]:
    """One column of each row so that the summed scores are largest and the summed costs at most ``capacity``.

    Nemhauser and Ullmann's method: row by row it keeps the partial sums that no other one beats in both cost and
    score, which are few in practice though not in the worst case.

    Args:
        scores: (rows, columns), minus infinity where a row has no such column.
        costs: (rows, columns).
        capacity: at least the sum of the rows' smallest costs.
    """
    costs = np.where(np.isfinite(scores), costs, np.inf)
    cheapest = costs.min(axis=1)
    rest = cheapest.sum() - np.cumsum(cheapest)  # what the rows after each one cost at least
    slack = 1e-12 * max(1.0, abs(capacity))  # sums of the same costs in another order differ by rounding
    spent, gained = np.zeros(1), np.zeros(1)
    origins: list[NDArray[np.int64]] = []
    for row in range(len(scores)):
        cost = (spent[:, None] + costs[row]).ravel()
        score = (gained[:, None] + scores[row]).ravel()
        fits = np.flatnonzero(cost + rest[row] <= capacity + slack)
        order = fits[np.lexsort((-score[fits], cost[fits]))]
        best_before = np.concatenate([[-np.inf], np.maximum.accumulate(score[order])[:-1]])
        kept = order[score[order] > best_before]
        origins.append(kept)
        spent, gained = cost[kept], score[kept]
    state, path = len(spent) - 1, []  # the last one kept has the largest score
    for kept in reversed(origins):
        state, column = divmod(int(kept[state]), scores.shape[1])
        path.append(column)
    return path[::-1]
