"""Architecture gradients through binary gates (paper, section 3.2): one update rule, for two or for all candidates.

An update takes some candidates of each choice, samples the active one among them, obtains dL/dg of each gate from one
backward pass through the active path, and moves the architecture parameters by

    dL/dalpha_i = sum_j dL/dg_j * p_j * (delta_ij - p_i) / T                              (Eq. 4)

where p is the softmax of alpha / T over these candidates; the paper's temperature T is 1. :class:`TwoPathUpdate` takes
two sampled candidates, :class:`AllPathUpdate` all of them. Who calls which method when is told in :mod:`.steps`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from proxyless.architecture import Architecture
from proxyless.choice import Gating, Zero
from proxyless.errors import ProxylessError
from proxyless.files.checkpoints import load_optimizer
from proxyless.modules.modes import batch_statistics
from proxyless.search.budget import architecture_within
from proxyless.search.gates import Gates, Noting, Ran, gradients
from proxyless.search.objective import BudgetLoss, Objective
from proxyless.search.steps import Criterion, Forward, StepResult, of_pairs
from proxyless.supernet import Supernet


@dataclass(frozen=True)
class SampledCandidates:
    """The candidates of each choice that a step looks at, and which of them is active.

    Args:
        support: their indices, int64 (choices, m).
        valid: which entries of ``support`` count, bool (choices, m); the others pad the rows of choices with fewer.
        active: position within ``support`` of the active candidate, int64 (choices,).
    """

    support: Tensor
    valid: Tensor
    active: Tensor


def alpha_gradient(gate_gradient: Tensor, p: Tensor, temperature: float = 1.0) -> Tensor:
    """Eq. 4 for all choices at once, with p = softmax(alpha / temperature); tensors and result are (choices, m)."""
    return p * (gate_gradient - (gate_gradient * p).sum(dim=1, keepdim=True)) / temperature


class GradientUpdate(ABC):
    """An update rule by gradients: it moves the architecture parameters, and leaves the weights as they are.

    Args:
        supernet: whose ``alpha`` is moved.
        objective: what is minimised; its cost must fit the supernet.
        optimizer: of ``[supernet.alpha]``; the authors' Adam(betas=(0, 0.999)) without decay when None.
        learning_rate: of that default optimizer (authors' default for ImageNet 1e-3).
        skip_zero: leave a choice alone whose active candidate is Zero, as the authors' program does. That biases alpha,
            since the gate gradient there is as exact as any other; only for repeating the paper's recipes.
    """

    def __init__(
        self,
        supernet: Supernet,
        objective: Objective,
        *,
        optimizer: torch.optim.Optimizer | None = None,
        learning_rate: float = 1e-3,
        skip_zero: bool = False,
    ) -> None:
        if objective.cost is not None:
            objective.cost.check(supernet)
        self.supernet = supernet
        self.objective = objective
        self.skip_zero = skip_zero
        self.optimizer = optimizer or torch.optim.Adam([supernet.alpha], lr=learning_rate, betas=(0.0, 0.999))

    @abstractmethod
    def sample_candidates(self) -> SampledCandidates:
        """Choose the candidates that the step looks at, and the active one among them."""

    def gating(self, row: int, sampled: SampledCandidates, gates: Tensor) -> Gating:
        """Say how a choice mixes its candidates.

        Args:
            row: number of the choice.
            sampled: the candidates of all choices.
            gates: (m,), of the candidates of this choice.
        """
        kept = sampled.valid[row].tolist()
        return Gates(
            gates,
            [i for i, ok in zip(sampled.support[row].tolist(), kept, strict=True) if ok],
            int(sampled.active[row]),
        )

    def after_step(self, before: Tensor, sampled: SampledCandidates) -> None:  # noqa: B027  (most rules have nothing to add)
        """Change ``supernet.alpha`` once the optimizer has moved it; ``before`` is what it was."""

    def step(self, batch: Any, criterion: Criterion, forward: Forward = of_pairs) -> StepResult:
        """One update of the architecture parameters on a held-out batch.

        Args:
            batch: (inputs, targets), or whatever ``forward`` takes.
            criterion: of what ``forward`` returns.
            forward: runs the supernet on a batch of another form, see :data:`proxyless.search.steps.Forward`.

        Raises:
            ContractError: the batch or a candidate is not what it must be, or a choice runs without a gradient.
            ProxylessError: the loss is not finite; nothing has moved then.
        """
        supernet, alpha = self.supernet, self.supernet.alpha
        sampled = self.sample_candidates()
        logits = supernet.logits().detach().gather(1, sampled.support).masked_fill(~sampled.valid, -torch.inf)
        p = logits.softmax(dim=1).requires_grad_()
        gates = torch.zeros_like(p).scatter_(1, sampled.active[:, None], 1.0).requires_grad_()
        supernet.path = sampled.support.gather(1, sampled.active[:, None]).squeeze(1).tolist()

        ran = Ran()
        for row, choice in enumerate(supernet.choices.values()):
            choice.gating = Noting(self.gating(row, sampled, gates[row]), row, ran)
        try:
            with batch_statistics(supernet.network):
                outputs, targets = forward(supernet, batch)
                ran.check(list(supernet.choices))
                task_loss = criterion(outputs, targets)
                probabilities = torch.zeros_like(alpha).scatter_add(1, sampled.support, p * sampled.valid)
                loss = self.objective.loss(task_loss, probabilities)
                gate_gradient, cost_gradient = gradients(loss, gates, p)
        finally:
            for choice in supernet.choices.values():
                choice.gating = None
        value = float(task_loss.detach())
        if not math.isfinite(value):
            raise ProxylessError(
                f"the loss of an architecture step is {value}: lower the learning rate of the weights, and"
                " make sure that no batch is empty"
            )

        # A gate stands for a probability (paper, 3.2.1), so the cost's own dL/dp joins dL/dg in Eq. 4.
        gradient = gate_gradient + cost_gradient
        rows = torch.zeros_like(alpha).scatter_add(
            1, sampled.support, alpha_gradient(gradient, p.detach(), supernet.temperature) * sampled.valid
        )
        self._move(rows, sampled, ran.with_gradient)
        self.objective.adapt(supernet.probabilities().detach())
        return StepResult(value, tree_map(_detached, outputs))

    def _move(self, gradient: Tensor, sampled: SampledCandidates, used: set[int]) -> None:
        alpha = self.supernet.alpha
        with torch.no_grad():
            before = alpha.clone()
            if self.skip_zero:
                choices = enumerate(self.supernet.choices.values())
                used = used - {row for row, choice in choices if isinstance(choice.candidate(choice.active), Zero)}
            ran = torch.tensor([row in used for row in range(len(alpha))], device=alpha.device)
            touched = torch.zeros_like(self.supernet.mask).scatter(1, sampled.support, sampled.valid) & ran[:, None]
            alpha.grad = gradient * touched
            self.optimizer.step()
            alpha.grad = None
            # An optimizer with momentum also moves candidates that this step did not look at.
            alpha.copy_(torch.where(touched, alpha, before))
            self.after_step(before, sampled)

    def architecture(self) -> Architecture:
        """The most probable architecture that keeps the objective's budget, if it has one (see :mod:`.budget`)."""
        return architecture_within(self.supernet, self.objective.cost, self.objective.budget)

    def measures(self) -> dict[str, float]:
        """What to report beside the loss: the multiplier of a budget."""
        return {"multiplier": self.objective.weight} if isinstance(self.objective, BudgetLoss) else {}

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint: the optimizer's and the objective's."""
        return {"optimizer": self.optimizer.state_dict(), "objective": self.objective.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        load_optimizer(self.optimizer, state["optimizer"])
        self.objective.load_state_dict(state["objective"])


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


class TwoPathUpdate(GradientUpdate):
    """Looks at two candidates of each choice, sampled by multinomial(p) (paper, section 3.2.2).

    After the step both architecture parameters are shifted by one offset that restores the sum of exp(alpha / T) of the
    pair, so that the probabilities of all other candidates stay what they were. Arguments: :class:`GradientUpdate`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from proxyless import Choice, Supernet, Zero
        >>> from proxyless.cost import macs_table
        >>> from proxyless.search.objective import BudgetLoss
        >>> supernet = Supernet(nn.Sequential(Choice(linear=nn.Linear(4, 4), skip=Zero(), shortcut=True)))
        >>> update = TwoPathUpdate(supernet, BudgetLoss(macs_table(supernet, (4,)), budget=10))
        >>> batch = torch.randn(8, 4), torch.randint(4, (8,))  # held-out data
        >>> result = update.step(batch, nn.functional.cross_entropy)
        >>> result.outputs.shape
        torch.Size([8, 4])
        >>> update.architecture().choices  # 16 MACs are more than the budget
        {'0': 'skip'}
    """

    def sample_candidates(self) -> SampledCandidates:
        supernet = self.supernet
        # The floor only matters where one candidate has all the probability: a second one must still be drawn.
        p = supernet.probabilities().detach().double().clamp_min(1e-30) * supernet.mask
        pair = torch.multinomial(p.cpu(), 2, generator=supernet.generator).to(p.device)
        between = supernet.logits().detach().gather(1, pair).softmax(dim=1)
        active = torch.multinomial(between.double().cpu(), 1, generator=supernet.generator).squeeze(1)
        return SampledCandidates(pair, torch.ones_like(pair, dtype=torch.bool), active.to(p.device))

    def after_step(self, before: Tensor, sampled: SampledCandidates) -> None:
        alpha, t = self.supernet.alpha, self.supernet.temperature
        old, new = before.gather(1, sampled.support), alpha.gather(1, sampled.support)
        shift = (old / t).logsumexp(dim=1, keepdim=True) - (new / t).logsumexp(dim=1, keepdim=True)
        alpha.scatter_(1, sampled.support, new + t * shift)


class AllPathUpdate(GradientUpdate):
    """Looks at all candidates of each choice ("full_v2" in the authors' program).

    A step takes the time of N forward passes, and the memory of one path. Arguments: :class:`GradientUpdate`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from proxyless import Choice, Supernet
        >>> from proxyless.search.objective import TaskOnly
        >>> supernet = Supernet(nn.Sequential(Choice(a=nn.Linear(4, 3), b=nn.Linear(4, 3))))
        >>> update = AllPathUpdate(supernet, TaskOnly(), learning_rate=0.01)
        >>> before = supernet.alpha.detach().clone()
        >>> result = update.step((torch.randn(8, 4), torch.randint(3, (8,))), nn.functional.cross_entropy)
        >>> bool((supernet.alpha != before).any())
        True
    """

    def sample_candidates(self) -> SampledCandidates:
        supernet = self.supernet
        p = supernet.probabilities().detach()
        active = torch.multinomial(p.double().cpu(), 1, generator=supernet.generator).squeeze(1).to(p.device)
        support = torch.arange(p.shape[1], device=p.device).expand_as(p)
        return SampledCandidates(support, supernet.mask, active)
