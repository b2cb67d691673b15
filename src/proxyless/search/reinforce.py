"""Architecture gradients for rewards without a gradient: REINFORCE, the paper's Proxyless-R (section 3.3, Eqs. 8, 9).

J(alpha) = E[R(path)] has the gradient E[(R(path) - b) * grad log p(path)] for any constant b, so that all it takes is
to sample some networks, look at how good they are, and make the better ones more probable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from proxyless.architecture import Architecture
from proxyless.errors import ProxylessError
from proxyless.files.checkpoints import load_optimizer
from proxyless.modules.modes import batch_statistics
from proxyless.search.blackbox import Selection, Strategy
from proxyless.search.budget import architecture_within
from proxyless.search.limit import Limit
from proxyless.search.reward import Reward
from proxyless.search.steps import Criterion, Forward, StepResult, of_pairs
from proxyless.supernet import Supernet
from proxyless.tasks import Classification

Score = Callable[[Any, Any], float]
"""(outputs, targets) of a batch -> how good the outputs are, from 0 to 1."""


class Policy:
    """The distribution of paths: an independent softmax a choice, or that distribution given that a budget is kept.

    Both are of alpha / T, where the paper's temperature T is 1.

    Args:
        alpha: architecture parameters, (choices, most candidates of a choice).
        mask: which of them belong to a candidate, same shape, bool.
        generator: of the sampling.
        limit: what a path may cost; None for all paths.
        temperature: T at the present, asked for at every use, since a search may anneal it.
    """

    def __init__(
        self,
        alpha: Tensor,
        mask: Tensor,
        generator: torch.Generator,
        limit: Limit | None = None,
        *,
        temperature: Callable[[], float] = lambda: 1.0,
    ) -> None:
        if limit is not None and limit.shape != tuple(alpha.shape):
            raise ValueError(f"the limit's costs are {limit.shape}, the policy {tuple(alpha.shape)}")
        self.alpha, self.mask, self.generator, self.limit = alpha, mask, generator, limit
        self.temperature = temperature

    @classmethod
    def of(cls, supernet: Supernet, limit: Limit | None = None) -> Policy:
        """The distribution of the paths of ``supernet``; its architecture parameters and temperature, not a copy."""
        if limit is not None:
            limit.cost.check(supernet)
        return cls(supernet.alpha, supernet.mask, supernet.generator, limit, temperature=lambda: supernet.temperature)

    @classmethod
    def over(cls, counts: Sequence[int], *, seed: int = 0, limit: Limit | None = None) -> Policy:
        """A uniform policy over paths without a network; ``counts``: number of candidates of each choice."""
        mask = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
        return cls(torch.zeros(mask.shape, dtype=torch.float64), mask, torch.Generator().manual_seed(seed), limit)

    def log_p(self) -> Tensor:
        """Log of the softmax of each choice, (choices, candidates), minus infinity at the padding."""
        logits = self.alpha.detach() / self.temperature()
        return logits.masked_fill(~self.mask.to(logits.device), -torch.inf).log_softmax(dim=1)

    def probabilities(self) -> Tensor:
        """Probability of each candidate, (choices, candidates), 0 at the padding."""
        log_p = self.log_p()
        return log_p.exp() if self.limit is None else self.limit.probabilities(log_p).to(log_p)

    def sample(self, count: int) -> list[Selection]:
        """``count`` independent paths."""
        log_p = self.log_p()
        if self.limit is None:
            p = log_p.double().exp().cpu()
            drawn = torch.multinomial(p, count, replacement=True, generator=self.generator).T
        else:
            drawn = self.limit.sample(log_p, count, self.generator)
        return [tuple(path) for path in drawn.tolist()]

    def one_hot(self, paths: Sequence[Selection]) -> Tensor:
        """The binary gates of ``paths``, (paths, choices, candidates)."""
        return torch.nn.functional.one_hot(torch.tensor(paths), self.alpha.shape[1]).to(self.alpha)

    def score(self, paths: Sequence[Selection]) -> Tensor:
        """Gradient of log p(path) by alpha for each path, (paths, choices, candidates).

        Gates minus their expectation, over T, with a limit as without: either is an exponential family in alpha / T.
        """
        return (self.one_hot(paths) - self.probabilities()) / self.temperature()


def policy_gradient(policy: Policy, paths: Sequence[Selection], rewards: Sequence[float], baseline: float) -> Tensor:
    """Estimate of the gradient of -E[R], (choices, candidates), from sampled paths (paper, Eq. 9 with a baseline)."""
    advantages = torch.tensor(rewards, dtype=torch.float64) - baseline
    return -(advantages.to(policy.alpha)[:, None, None] * policy.score(paths)).mean(dim=0)


class PolicyGradient:
    """One step: sample paths, reward them, move alpha so that the better of them become more probable.

    Args:
        policy: whose ``alpha`` is moved.
        samples: M, networks sampled a step (authors' default 10).
        baseline_decay: of the moving average of the rewards that is subtracted from them (authors' default 0.99).
            It starts from the mean of the first step.
        optimizer: of ``[policy.alpha]``; Adam(betas=(0, 0.999)) without decay when None.
        learning_rate: of that default optimizer (authors' default for CIFAR-10 0.01, for ImageNet 1e-3).
    """

    def __init__(
        self,
        policy: Policy,
        *,
        samples: int = 10,
        baseline_decay: float = 0.99,
        optimizer: torch.optim.Optimizer | None = None,
        learning_rate: float = 1e-3,
    ) -> None:
        if samples < 1:
            raise ValueError(f"a step samples at least one network, got {samples}")
        if not 0 <= baseline_decay < 1:
            raise ValueError(f"the decay of the baseline is at least 0 and below 1, got {baseline_decay}")
        self.policy = policy
        self.samples = samples
        self.baseline_decay = baseline_decay
        self.baseline: float | None = None
        self.optimizer = optimizer or torch.optim.Adam([policy.alpha], lr=learning_rate, betas=(0.0, 0.999))

    def update(self, paths: Sequence[Selection], rewards: Sequence[float]) -> None:
        """Move alpha by what sampled ``paths`` were worth, then the baseline.

        The baseline of a step is made of earlier steps' rewards: one that held the step's own would bias the gradient.
        """
        mean = float(np.mean(rewards))
        if not np.isfinite(mean):
            raise ProxylessError(f"the mean reward of a step is {mean}: make sure that no batch is empty")
        if self.baseline is None:
            self.baseline = mean
        alpha = self.policy.alpha
        alpha.grad = policy_gradient(self.policy, paths, rewards, self.baseline)
        self.optimizer.step()
        alpha.grad = None
        self.baseline = self.baseline_decay * self.baseline + (1 - self.baseline_decay) * mean

    def step_with(self, reward: Callable[[Selection], float]) -> float:
        """One update where ``reward`` says what a path is worth, from a table for instance; the mean reward."""
        paths = self.policy.sample(self.samples)
        rewards = [reward(path) for path in paths]
        self.update(paths, rewards)
        return float(np.mean(rewards))

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint: the optimizer's and the baseline; alpha and the generator are their owner's."""
        return {"optimizer": self.optimizer.state_dict(), "baseline": self.baseline}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        load_optimizer(self.optimizer, state["optimizer"])
        self.baseline = state["baseline"]


class ReinforceUpdate(PolicyGradient):
    """The update rule of Proxyless-R: it learns from rewards of networks that are run forward only.

    Weights and buffers stay as they are. A step takes the memory of one network without a graph.

    Args:
        supernet: whose ``alpha`` is moved.
        reward: what is raised; its cost must fit the supernet.
        score: how good a network's outputs are for a batch, such as ``task.score``; the accuracy of classification
            where None.
        limited: sample only networks within the reward's budget (see :class:`Limit`), a hard constraint for any reward.
        settings: of :class:`PolicyGradient`.

    Raises:
        ProxylessError: the reward's cost is of another space, or no network keeps the budget of a limited search.
        ValueError: ``limited`` with a reward that has no budget.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from proxyless import Choice, Supernet, Zero
        >>> from proxyless.cost import macs_table
        >>> from proxyless.search.reward import LatencyReward
        >>> net = nn.Sequential(Choice(linear=nn.Linear(4, 4), skip=Zero(), shortcut=True), nn.Linear(4, 2))
        >>> supernet = Supernet(net)
        >>> update = ReinforceUpdate(supernet, LatencyReward(macs_table(supernet, (4,)), target=20), samples=4)
        >>> result = update.step((torch.randn(8, 4), torch.randint(2, (8,))), nn.functional.cross_entropy)
        >>> list(update.measures())
        ['baseline']
    """

    def __init__(
        self,
        supernet: Supernet,
        reward: Reward,
        *,
        score: Score | None = None,
        limited: bool = False,
        **settings: Any,
    ) -> None:
        if reward.cost is not None:
            reward.cost.check(supernet)
        limit = None
        if limited:
            if reward.cost is None or reward.budget is None:
                raise ValueError("a limited search needs a reward with a cost and a budget")
            limit = Limit(reward.cost, reward.budget)
        super().__init__(Policy.of(supernet, limit), **settings)
        self.supernet = supernet
        self.reward = reward
        self.score = score or Classification().score

    def step(self, batch: Any, criterion: Criterion, forward: Forward = of_pairs) -> StepResult:
        """One update of the architecture parameters on a held-out batch.

        Loss and outputs returned are those of the last sampled network, whose path the supernet is left on.

        Args:
            batch: (inputs, targets), or whatever ``forward`` takes.
            criterion: of what ``forward`` returns, as the update's score is.
            forward: runs the supernet on a batch of another form, see :data:`proxyless.search.steps.Forward`.

        Raises:
            ContractError: the batch or a candidate is not what it must be.
            ProxylessError: a reward is not finite; nothing has moved then.
        """
        seen: list[tuple[Any, Any]] = []

        def run(path: Selection) -> float:
            self.supernet.path = path
            seen[:] = [forward(self.supernet, batch)]
            return self.reward(self.score(*seen[0]), path)

        with batch_statistics(self.supernet.network), torch.no_grad():
            self.step_with(run)
            outputs, targets = seen[0]
            return StepResult(float(criterion(outputs, targets)), outputs)

    def measures(self) -> dict[str, float]:
        """What to report beside the loss: the baseline, a moving average of the rewards."""
        return {} if self.baseline is None else {"baseline": self.baseline}

    def architecture(self) -> Architecture:
        """The most probable architecture that keeps the reward's budget, if it has one (see :mod:`.budget`)."""
        return architecture_within(self.supernet, self.reward.cost, self.reward.budget)


@dataclass(frozen=True)
class Replay:
    """How :func:`reinforce_replayed` searches; the defaults suit some tens to some hundreds of networks.

    Args:
        samples: networks asked for between two updates.
        steps: gradient steps an update.
        learning_rate: of Adam(betas=(0, 0.999)).
        temperature: weight of the entropy beside the rewards, in standard deviations of the rewards a nat.
        patience: updates without a network not known yet after which the policy starts again from uniform.
    """

    samples: int = 2
    steps: int = 4
    learning_rate: float = 0.3
    temperature: float = 0.15
    patience: int = 4


def reinforce_replayed(policy: Policy, settings: Replay | None = None) -> Strategy:
    """REINFORCE for a reward that is dear and always the same for a path: a strategy for :func:`.blackbox.explore`.

    Nothing is paid for twice: instead of an estimate from the latest samples, each step takes the exact gradient of

        E[R] + temperature * entropy,   expectation and entropy under p(path | path is known)

    over all paths seen so far. The entropy keeps the policy from settling on the best of a few; new paths are sampled
    from the policy itself, within its limit.
    """
    settings = settings or Replay()
    known: dict[Selection, float] = {}
    optimizer = torch.optim.Adam([policy.alpha], lr=settings.learning_rate, betas=(0.0, 0.999))
    idle = 0
    while True:
        before = len(known)
        for path in policy.sample(settings.samples):
            known[path] = yield path
        idle = idle + 1 if len(known) == before else 0
        if idle >= settings.patience:
            with torch.no_grad():
                policy.alpha.zero_()
            optimizer.state.clear()
            idle = 0
            continue
        rewards = torch.tensor(list(known.values()), dtype=policy.alpha.dtype)
        rewards = rewards / rewards.std(correction=0).clamp_min(1e-12)
        gates = policy.one_hot(list(known)).flatten(1)
        t = policy.temperature()
        for _ in range(settings.steps):
            log_p = (gates @ (policy.alpha.detach() / t).flatten()).log_softmax(dim=0)
            soft = rewards - settings.temperature * log_p
            p = log_p.exp()
            gradient = -(p * (soft - p @ soft)) @ gates / t
            policy.alpha.grad = gradient.view_as(policy.alpha)
            optimizer.step()
        policy.alpha.grad = None
