"""A compact network trained from scratch (SGD, cosine, averaged weights) for a task, and evaluated."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from proxyless.errors import ProxylessError
from proxyless.files.checkpoints import load_optimizer
from proxyless.modules.copying import copied
from proxyless.modules.modes import evaluation
from proxyless.tasks import Forward, Task, Totals
from proxyless.tasks.totals import check_finite

Metrics = dict[str, Any]


class TrainingData(Protocol):
    """The batches a training needs, each a function of its arguments alone, so that it can be resumed."""

    def train(self, epoch: int) -> Iterable[Any]:
        """One pass over the training images."""
        ...

    def valid(self) -> Iterable[Any]:
        """One pass over the held-out images, not augmented."""
        ...

    def steps(self) -> int:
        """Batches of one pass over the training images."""
        ...


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        epochs: passes over the training images.
        learning_rate: at the top: it rises linearly over ``warmup_epochs``, then follows a cosine to 0.
        weight_decay: not applied to norms and biases.
        ema: evaluate and deliver the exponential moving average of the weights, over about 1/20 of the steps.
        seed: of dropout and the like.
    """

    epochs: int
    learning_rate: float
    warmup_epochs: float = 0.3
    weight_decay: float = 4e-5
    ema: bool = True
    seed: int = 0

    def rate(self, position: float) -> float:
        """Learning rate after ``position`` epochs."""
        warmup = min(self.warmup_epochs, 0.5 * self.epochs)
        if position < warmup:
            return self.learning_rate * position / warmup
        return 0.5 * self.learning_rate * (1 + math.cos(math.pi * (position - warmup) / (self.epochs - warmup)))


@dataclass
class TrainingLoop:
    """Runs a :class:`Recipe`; state is handed out after each epoch and what follows depends on that alone.

    Args:
        network: what is trained, in place.
        data: the batches.
        recipe: how.
        task: loss and metrics.
        report: called with the metrics of each epoch.
        checkpoint: called with the state after each epoch.
        advance: called every few steps with (steps done, steps in all, latest metrics).
        forward: runs the network on a batch and returns (outputs, targets) as the task takes them; the task's own
            where None.
    """

    network: nn.Module
    data: TrainingData
    recipe: Recipe
    task: Task
    report: Callable[[Metrics], None] = lambda metrics: None
    checkpoint: Callable[[dict[str, Any]], None] = lambda state: None
    advance: Callable[[int, int, Metrics], None] = lambda done, total, metrics: None
    forward: Forward | None = None
    epoch: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.recipe.weight_decay}, {"params": others, "weight_decay": 0}]
        self.optimizer = torch.optim.SGD(groups, lr=self.recipe.learning_rate, momentum=0.9, nesterov=True)
        self.average = copied(self.network) if self.recipe.ema else self.network
        horizon = max(10.0, self.recipe.epochs * self.data.steps() / 20)
        self.decay = 1 - 1 / horizon
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        """Everything the rest of the training depends on."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that :attr:`checkpoint` was given."""
        if state["epoch"] > self.recipe.epochs:
            raise ProxylessError(f"epoch {state['epoch']} is beyond the end of this training")
        self.epoch, self.step = state["epoch"], state["step"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        load_optimizer(self.optimizer, state["optimizer"])

    def run(self) -> nn.Module:
        """Run what is left of the training; returns the network to deliver.

        Raises:
            ProxylessError: the loss is no longer finite, or a metric is not.
        """
        while self.epoch < self.recipe.epochs:
            started = time.perf_counter()
            with torch.random.fork_rng():
                torch.manual_seed(self.recipe.seed + self.epoch)  # of dropout
                metrics = self._epoch()
            metrics |= {"seconds": time.perf_counter() - started}
            self.epoch += 1
            self.report({"epoch": self.epoch} | metrics)
            self.checkpoint(self.state_dict())
        return self.average

    def _epoch(self) -> Metrics:
        recipe, steps, task = self.recipe, self.data.steps(), self.task
        forward, totals = self.forward or task.forward, Totals(task)
        self.network.train()
        for number, batch in enumerate(islice(self.data.train(self.epoch), steps)):
            for group in self.optimizer.param_groups:
                group["lr"] = recipe.rate(self.epoch + number / steps)
            outputs, targets = forward(self.network, batch)
            loss = task.training_loss(outputs, targets)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.step += 1
            self._average()
            totals.add(outputs, targets, loss)
            if (number + 1) % 20 == 0 or number + 1 == steps:
                partial = totals.figures()
                if not math.isfinite(partial["loss"]):
                    raise ProxylessError("the loss is no longer finite: lower training.learning_rate")
                self.advance(self.epoch * steps + number + 1, recipe.epochs * steps, partial)
        valid = evaluate(self.average, self.data.valid(), task, self.forward)
        figures = totals.figures() | valid.figures("valid_")
        check_finite(figures, "training.learning_rate")
        return figures | {"learning_rate": self.optimizer.param_groups[0]["lr"]}

    @torch.no_grad()
    def _average(self) -> None:
        if self.average is self.network:
            return
        # The average of the first steps is over those steps, not over the random start.
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for mean, value in zip(_floats(self.average), _floats(self.network), strict=True):
            mean.lerp_(value, 1 - decay)


def _floats(network: nn.Module) -> Iterator[Tensor]:
    """Parameters and the statistics of norms."""
    return (value for value in network.state_dict().values() if value.is_floating_point())


@torch.no_grad()
def evaluate(network: nn.Module, batches: Iterable[Any], task: Task, forward: Forward | None = None) -> Totals:
    """Loss and sums of the task for ``network`` in evaluation mode; ``Totals.figures()`` are its loss and metrics."""
    totals, forward = Totals(task), forward or task.forward
    with evaluation(network):
        for batch in batches:
            outputs, targets = forward(network, batch)
            totals.add(outputs, targets, task.loss(outputs, targets))
    return totals
