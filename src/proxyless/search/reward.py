"""Accuracy and cost made one reward, for searches that need no gradient of either (paper, Eq. 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from proxyless.cost import Cost


class Reward(Protocol):
    """What a policy gradient raises."""

    @property
    def cost(self) -> Cost | None:
        """The cost that counts, None where none does."""
        ...

    @property
    def budget(self) -> float | None:
        """What the derived network may cost, in the unit of :attr:`cost`; None for any cost."""
        ...

    def __call__(self, accuracy: float, path: Sequence[int]) -> float:
        """The reward of the network that takes candidate ``path[i]`` at choice i, higher is better."""
        ...


@dataclass(frozen=True)
class AccuracyReward:
    """The accuracy alone: a search that does not know the device."""

    cost: Cost | None = None
    budget: float | None = None

    def __call__(self, accuracy: float, path: Sequence[int]) -> float:
        return accuracy


@dataclass(frozen=True)
class LatencyReward:
    """accuracy * (target / cost)^exponent: the paper's reward, a soft constraint as in MnasNet.

    Args:
        cost: what is traded against the accuracy, usually a latency.
        target: where the reward is the accuracy itself, in the unit of ``cost``; also the derived network's budget.
        exponent: how much a cost above the target takes and one below it gives (authors' default 0.1).

    Raises:
        ValueError: a target that is not above 0, or a cost that can be 0.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from proxyless import Choice, CostTable, LatencyReward, ReinforceUpdate, Supernet
        >>> supernet = Supernet(nn.Sequential(Choice(small=nn.Linear(4, 2, bias=False), large=nn.Linear(4, 2))))
        >>> cost = CostTable("ms", 1.0, {"0": {"small": 1.0, "large": 2.0}})
        >>> update = ReinforceUpdate(supernet, LatencyReward(cost, target=2.5))
        >>> result = update.step((torch.randn(8, 4), torch.randint(0, 2, (8,))), nn.functional.cross_entropy)
        >>> update.architecture().choices
        {'0': 'small'}
    """

    cost: Cost
    target: float
    exponent: float = 0.1

    def __post_init__(self) -> None:
        if self.target <= 0 or self.cost.smallest() <= 0:
            raise ValueError(
                f"target and costs must be above 0 {self.cost.unit}, got a target of {self.target:g}"
                f" and a cheapest network of {self.cost.smallest():g}"
            )

    @property
    def budget(self) -> float:
        return self.target

    def __call__(self, accuracy: float, path: Sequence[int]) -> float:
        return accuracy * (self.target / self.cost.of_path(path)) ** self.exponent


@dataclass(frozen=True)
class BudgetReward:
    """The accuracy within the budget; above it minus the relative excess: a hard constraint.

    Every network above the budget is worth less than every one within it, and less the further it is above, so the
    policy is pointed back from wherever it stands.

    Args:
        cost: what is bounded.
        budget: its bound, in the unit of ``cost``.

    Raises:
        ValueError: a budget that is not above 0.
    """

    cost: Cost
    budget: float

    def __post_init__(self) -> None:
        if self.budget <= 0:
            raise ValueError(f"a budget is above 0 {self.cost.unit}, got {self.budget:g}")

    def __call__(self, accuracy: float, path: Sequence[int]) -> float:
        excess = self.cost.of_path(path) / self.budget - 1
        return accuracy if excess <= 0 else -excess
