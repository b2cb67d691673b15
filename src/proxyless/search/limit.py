"""A policy limited to networks within a budget: their probabilities and samples, exactly, by dynamic programming."""

from __future__ import annotations

import torch
from torch import Tensor

from proxyless.cost import Cost
from proxyless.errors import ProxylessError

STATES = 4_000
"""Most sums of costs a :class:`Limit` keeps apart at a choice."""


class Limit:
    """The networks whose cost is at most a budget, and how probable each candidate is among them.

    Sampling and probabilities are by dynamic programming over the cost spent so far, so they take the same time however
    few of the networks fit, and are exact where no more than 4,000 different sums occur. Otherwise costs are rounded up
    to 1/4,000 of what the budget leaves above the cheapest network: the budget is kept all the same, and a network is
    missed only when it lies within (choices / 4,000) of that.

    Args:
        cost: what is bounded, one row a choice.
        budget: its bound, in the unit of ``cost``.

    Raises:
        ProxylessError: the cheapest network is above the budget.
    """

    def __init__(self, cost: Cost, budget: float) -> None:
        if cost.smallest() > budget:
            raise ProxylessError(
                f"a budget of {budget:g} {cost.unit} cannot be met: the smallest network of this space costs"
                f" {cost.smallest():.4g} {cost.unit}; raise the budget or choose a narrower space"
            )
        self.cost = cost
        self.budget = budget
        rows = [torch.tensor(list(row.values()), dtype=torch.float64) for row in cost.rows.values()]
        self.shape = len(rows), max(map(len, rows))
        excess = torch.full(self.shape, torch.inf, dtype=torch.float64)
        for row, costs in enumerate(rows):
            excess[row, : len(costs)] = costs - costs.min()
        spare = budget - cost.smallest()
        # What makes up the budget exactly must fit in it, whatever the order in which it is summed.
        slack = 1e-9
        self._next = _transitions(excess, spare + slack * budget)
        if self._next is None:
            self._next = _transitions((excess / spare * STATES - slack).ceil(), STATES)

    def _completions(self, log_p: Tensor) -> list[Tensor]:
        """For each choice the log probability, by candidate and state, that it is taken and the rest then fits.

        ``log_p`` is (choices, candidates); each result is (candidates, states), see :func:`_transitions`.
        """
        assert self._next is not None
        never = torch.full((1,), -torch.inf, dtype=log_p.dtype)
        fits, tables = torch.zeros(1, dtype=log_p.dtype), []
        for row in reversed(range(len(log_p))):
            tables.append(log_p[row][:, None] + torch.cat([fits, never])[self._next[row]])
            fits = tables[-1].logsumexp(dim=0)
        return tables[::-1]

    def probabilities(self, log_p: Tensor) -> Tensor:
        """Probability of each candidate among the networks that fit; from log p without the limit, same shape."""
        log_p = log_p.detach().double().cpu().requires_grad_()
        # The derivative of a log partition function by a log weight is the probability of what it weighs.
        with torch.enable_grad():
            (p,) = torch.autograd.grad(self._completions(log_p)[0].logsumexp(dim=0), log_p)
        return p

    def sample(self, log_p: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """``count`` paths from p given that they fit, (count, choices)."""
        assert self._next is not None
        state = torch.zeros(count, dtype=torch.long)
        path = []
        for table, following in zip(self._completions(log_p.detach().double().cpu()), self._next, strict=True):
            taken = torch.multinomial(table[:, state].T.softmax(dim=1), 1, generator=generator).squeeze(1)
            path.append(taken)
            state = following[taken, state]
        return torch.stack(path, dim=1)


def _transitions(excess: Tensor, capacity: float) -> list[Tensor] | None:
    """For each choice the state that follows, by candidate and state; None where a choice has over STATES states.

    A state is the sum of ``excess`` (choices, candidates) of the choices made before. The number after the last state
    stands for more than ``capacity``. Past the last choice there is one state, "it fits".
    """
    spent, tables = torch.zeros(1, dtype=excess.dtype), []
    for row in range(len(excess)):
        total = spent + excess[row][:, None]
        fits = total <= capacity
        last = row == len(excess) - 1
        following = torch.zeros(1, dtype=excess.dtype) if last else total[fits].unique()
        if len(following) > STATES + 1:
            return None
        where = torch.zeros(total.shape, dtype=torch.long) if last else torch.searchsorted(following, total)
        tables.append(torch.where(fits, where, len(following)))
        spent = following
    return tables
