"""Accuracy and cost made one loss (paper, section 3.3)."""

from __future__ import annotations

import math
from typing import Protocol

from torch import Tensor

from proxyless.latency.table import Cost


class Objective(Protocol):
    """What an architecture step minimises."""

    cost: Cost | None

    def loss(self, task_loss: Tensor, probabilities: Tensor) -> Tensor:
        """The loss of the architecture parameters.

        Args:
            task_loss: scalar, the loss of the sampled network on held-out data.
            probabilities: (choices, candidates), of the candidates the update looks at, 0 elsewhere.
        """
        ...

    def adapt(self, probabilities: Tensor) -> None:
        """Called after each architecture step with the new path probabilities, (choices, candidates)."""
        ...

    def state_dict(self) -> dict[str, float]:
        """What the objective has learnt, for a checkpoint."""
        ...

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take up the state of a checkpoint."""
        ...


class TaskOnly:
    """The task's loss alone: a search that does not know the device."""

    cost: Cost | None = None

    def loss(self, task_loss: Tensor, probabilities: Tensor) -> Tensor:
        return task_loss

    def adapt(self, probabilities: Tensor) -> None:
        pass

    def state_dict(self) -> dict[str, float]:
        return {}

    def load_state_dict(self, state: dict[str, float]) -> None:
        pass


class BudgetLoss:
    """task loss + weight * (E[cost] - budget) / budget: the form ``add#linear`` of the authors' program.

    The paper keeps the weight (lambda 2 in Eq. 7) fixed and leaves it to the user to find the one that ends at the
    budget. With ``gain`` above 0 it is a multiplier that finds itself. With x = (E[cost] - budget) / budget after a
    step, its lasting part grows by the factor exp(gain * x), so that it rests only where the expected cost is the
    budget; the weight is that part times exp(damping * x), without which the two would swing about each other.

    Args:
        cost: what is bounded.
        budget: its bound, in the unit of ``cost``.
        weight: lambda, or the value the multiplier starts from (authors' default 0.1).
        gain: of the multiplier, per step; 0 keeps the weight fixed, as the paper does.
        damping: of the multiplier.
        limits: the multiplier's lasting part stays within these.
    """

    def __init__(
        self,
        cost: Cost,
        budget: float,
        *,
        weight: float = 0.1,
        gain: float = 0.0,
        damping: float = 5.0,
        limits: tuple[float, float] = (1e-3, 1e2),
    ) -> None:
        if budget <= 0:
            raise ValueError(f"a budget is above 0 {cost.unit}, got {budget}")
        self.cost: Cost | None = cost
        self._cost = cost
        self.budget = budget
        self.weight = self._lasting = weight
        self.gain = gain
        self.damping = damping
        self.limits = limits

    def loss(self, task_loss: Tensor, probabilities: Tensor) -> Tensor:
        return task_loss + self.weight * (self._cost.expected(probabilities) - self.budget) / self.budget

    def adapt(self, probabilities: Tensor) -> None:
        if self.gain > 0:
            excess = float(self._cost.expected(probabilities)) / self.budget - 1
            low, high = self.limits
            self._lasting = min(max(self._lasting * math.exp(self.gain * excess), low), high)
            self.weight = self._lasting * math.exp(self.damping * min(excess, 1.0))

    def state_dict(self) -> dict[str, float]:
        return {"weight": self.weight, "lasting": self._lasting}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.weight, self._lasting = state["weight"], state["lasting"]
