"""The loss of the architecture parameters: the task's loss and a cost in one number (paper, section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from proxyless.cost import Cost


class Objective(Protocol):
    """What an architecture step minimises."""

    @property
    def cost(self) -> Cost | None:
        """The cost that counts; None where none does."""
        ...

    @property
    def budget(self) -> float | None:
        """What the derived network may cost, in the unit of the cost; None for any cost."""
        ...

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

    def state_dict(self) -> dict[str, Any]:
        """What the objective has learnt, for a checkpoint."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        ...


class _Fixed:
    """An objective that learns nothing on the way."""

    def adapt(self, probabilities: Tensor) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class TaskOnly(_Fixed):
    """The task's loss alone: a search that does not know the device."""

    cost = None
    budget = None

    def loss(self, task_loss: Tensor, probabilities: Tensor) -> Tensor:
        return task_loss


class WeightedLoss(_Fixed):
    """The task's loss + weight * E[cost]: Eq. 7 as it stands, without a budget.

    Args:
        cost: what is weighed.
        weight: lambda 2 of the paper, per unit of the cost.
    """

    budget = None

    def __init__(self, cost: Cost, weight: float) -> None:
        self.cost = cost
        self.weight = weight

    def loss(self, task_loss: Tensor, probabilities: Tensor) -> Tensor:
        return task_loss + self.weight * self.cost.expected(probabilities)


class ScaledLoss(_Fixed):
    """Scale * task's loss * (log E[cost] / log budget)^exponent: the form ``mul#log`` of the authors' program.

    Args:
        cost: what is weighed.
        budget: where the loss is ``scale`` times the task's (authors' default 80 ms for mobile).
        scale: authors' default 0.2.
        exponent: authors' default 0.3.

    Raises:
        ValueError: budget and smallest cost are not both above 1: the logarithm of a cost below 1 is negative.
    """

    def __init__(self, cost: Cost, budget: float, *, scale: float = 0.2, exponent: float = 0.3) -> None:
        if budget <= 1 or cost.smallest() <= 1:
            raise ValueError(
                f"the scaled loss needs costs above 1 {cost.unit}, got a budget of {budget:g} and a smallest cost of"
                f" {cost.smallest():g}: give the cost in a smaller unit, or add the latency to the loss instead"
            )
        self.cost = cost
        self.budget = budget
        self.scale, self.exponent, self._reference = scale, exponent, math.log(budget)

    def loss(self, task_loss: Tensor, probabilities: Tensor) -> Tensor:
        relative = self.cost.expected(probabilities).log() / self._reference
        return self.scale * task_loss * relative**self.exponent


class CombinedLoss:
    """Several objectives together: the loss of each is the task's loss for the next one.

    With ``[BudgetLoss(latency, 2.0), BudgetLoss(parameters, 1e6)]`` both costs count. The derived network must keep the
    budget of the first.

    Args:
        objectives: at least one.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        if not objectives:
            raise ValueError("at least one objective is needed")
        self.objectives = list(objectives)
        self.cost, self.budget = self.objectives[0].cost, self.objectives[0].budget

    def loss(self, task_loss: Tensor, probabilities: Tensor) -> Tensor:
        for objective in self.objectives:
            task_loss = objective.loss(task_loss, probabilities)
        return task_loss

    def adapt(self, probabilities: Tensor) -> None:
        for objective in self.objectives:
            objective.adapt(probabilities)

    def state_dict(self) -> dict[str, Any]:
        return {"objectives": [objective.state_dict() for objective in self.objectives]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for objective, own in zip(self.objectives, state["objectives"], strict=True):
            objective.load_state_dict(own)


class BudgetLoss:
    """The task's loss + weight * (E[cost] - budget) / budget: the form ``add#linear`` of the authors' program.

    The paper keeps the weight (lambda 2 in Eq. 7) fixed and leaves it to the user to find the one that ends at the
    budget. With ``gain`` above 0 the weight adapts by itself. Let x = (E[cost] - budget) / budget after a step. A
    lasting part of the weight is multiplied by exp(gain * x), so that it stays the same only where the expected cost is
    the budget. The weight is that part times exp(damping * x); without this factor cost and weight would oscillate.

    Args:
        cost: what is bounded.
        budget: its bound, in the unit of ``cost``.
        weight: lambda, or the value the multiplier starts from (authors' default 0.1).
        gain: of the multiplier, per step; 0 keeps the weight fixed, as the paper does.
        damping: of the multiplier.
        limits: the multiplier's lasting part stays within these.

    Example:
        >>> import torch
        >>> from proxyless.cost import CostTable
        >>> cost = CostTable("ms", 1.0, {"block": {"small": 1.0, "large": 3.0}})
        >>> objective = BudgetLoss(cost, budget=2.5, weight=0.1)
        >>> probabilities = torch.tensor([[0.5, 0.5]])  # E[cost] is 1 + 2 ms
        >>> objective.loss(torch.tensor(0.7), probabilities)  # 0.7 + 0.1 * (3 - 2.5) / 2.5
        tensor(0.7200)
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
        self.cost = cost
        self.budget = budget
        self.weight = self._lasting = weight
        self.gain = gain
        self.damping = damping
        self.limits = limits

    def loss(self, task_loss: Tensor, probabilities: Tensor) -> Tensor:
        return task_loss + self.weight * (self.cost.expected(probabilities) - self.budget) / self.budget

    def adapt(self, probabilities: Tensor) -> None:
        if self.gain > 0:
            excess = float(self.cost.expected(probabilities)) / self.budget - 1
            low, high = self.limits
            self._lasting = min(max(self._lasting * math.exp(self.gain * excess), low), high)
            self.weight = self._lasting * math.exp(self.damping * min(excess, 1.0))

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight, "lasting": self._lasting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weight, self._lasting = state["weight"], state["lasting"]
