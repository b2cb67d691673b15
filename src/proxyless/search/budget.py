"""Meeting a budget: the most probable architecture whose cost stays within it, exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxyless.errors import ProxylessError
from proxyless.latency.table import Cost
from proxyless.supernet import Supernet

GRID = 20_000
"""Steps the budget is divided into; a candidate's cost is rounded up to whole steps."""


def best_under_budget(supernet: Supernet, cost: Cost, budget: float) -> list[int]:
    """The path of largest probability prod_i p_i among those with ``cost`` at most ``budget``.

    Where the most probable candidates fit together they are taken (paper, section 3.2.1). Otherwise this is a
    multiple-choice knapsack: solved by dynamic programming over the spent budget, costs rounded up to 1/20,000 of it,
    so the budget is kept and a path is missed only when it lies within (choices / 20,000) of it.

    Raises:
        ProxylessError: the cheapest network is above the budget; the message names its cost.
    """
    smallest = cost.smallest()
    if smallest > budget:
        raise ProxylessError(
            f"a budget of {budget:g} {cost.unit} cannot be met: the smallest network of this space costs"
            f" {smallest:.4g} {cost.unit}; raise the budget or choose a narrower space"
        )
    greedy = supernet.most_probable()
    if cost.of_path(greedy) <= budget:
        return greedy
    scores = supernet.logits().detach().double().log_softmax(dim=1).cpu().numpy()
    return knapsack(scores, cost.matrix().numpy(), budget - cost.fixed)


def knapsack(scores: NDArray[np.float64], costs: NDArray[np.float64], capacity: float) -> list[int]:
    """One column of each row so that the summed scores are largest and the summed costs at most ``capacity``.

    Args:
        scores: (rows, columns), minus infinity where a row has no such column.
        costs: (rows, columns).
        capacity: at least the sum of the rows' smallest costs.
    """
    costs = np.where(np.isfinite(scores), costs, np.inf)
    floor = costs.min(axis=1)
    spare = max(capacity - floor.sum(), 0.0)
    excess = costs - floor[:, None]
    step = spare / GRID if spare > 0 else 1.0
    # A hair below whole steps counts as whole: the cost that makes up the budget exactly must fit in it.
    weights = np.where(np.isfinite(excess), np.ceil(np.minimum(excess / step, GRID + 1) - 1e-9), GRID + 1).astype(int)
    best = np.zeros(GRID + 1)  # best[s]: largest score with at most s steps spent on the rows so far
    taken = np.zeros((len(scores), GRID + 1), dtype=np.int64)
    for row in range(len(scores)):
        options = np.full((scores.shape[1], GRID + 1), -np.inf)
        for column, weight in enumerate(weights[row]):
            if weight <= GRID:
                options[column, weight:] = best[: GRID + 1 - weight] + scores[row, column]
        taken[row] = options.argmax(axis=0)
        best = options.max(axis=0)
    path, left = [], GRID
    for row in reversed(range(len(scores))):
        column = int(taken[row, left])
        path.append(column)
        left -= weights[row, column]
    return path[::-1]
