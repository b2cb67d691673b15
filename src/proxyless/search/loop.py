"""The search: weight steps on sampled paths and architecture steps in turn (paper, section 3.2), after a warm-up.

The loop knows neither data sets nor devices, neither the task nor the update rule it drives. It can be stopped at any
time: state is handed out at the end of each epoch, and what follows depends on that state and the seed alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import Any, Protocol

import torch
from torch import Tensor

from proxyless.errors import ProxylessError
from proxyless.files.checkpoints import load_optimizer
from proxyless.modules.modes import batch_statistics
from proxyless.search.steps import ArchitectureUpdate
from proxyless.supernet import SharedStart, Supernet
from proxyless.tasks import Forward, Task, Totals
from proxyless.tasks.totals import check_finite

Metrics = dict[str, Any]


class SearchData(Protocol):
    """The batches a search needs, each a function of its arguments alone, so that a search can be resumed."""

    def train(self, epoch: int) -> Iterable[Any]:
        """One pass over the training images."""
        ...

    def held_out(self, start: int) -> Iterator[Any]:
        """Endless batches of held-out images for architecture steps, from batch number ``start`` on."""
        ...

    def valid(self) -> Iterable[Any]:
        """One pass over the held-out images, not augmented."""
        ...

    def steps(self) -> int:
        """Batches of one pass over the training images."""
        ...


@dataclass(frozen=True)
class Schedule:
    """Lengths and rates of a search.

    Args:
        warmup_epochs: epochs of weight steps on uniformly sampled paths, with a cosine of their own.
        epochs: epochs of weight and architecture steps.
        learning_rate: of the weights, at the start of each cosine.
        weight_decay: of the weights on the path.
        architecture_every: weight steps for one architecture step (authors' default 5).
        architecture_delay: epochs of the search before the first architecture step (authors' default 1).
        report_every: weight steps between two reports.
        shared: share of the warm-up's steps that belong to the shared start, where the loop is given one.
        temperature: T of the path probabilities softmax(alpha / T) when the search begins (the paper's: 1).
        final_temperature: T in its last step; in between it is multiplied by the same factor at each step. None: T
            stays as it begins.
        seed: of dropout and the like.
    """

    warmup_epochs: int
    epochs: int
    learning_rate: float
    weight_decay: float = 4e-5
    architecture_every: int = 5
    architecture_delay: int = 0
    report_every: int = 20
    shared: float = 0.5
    temperature: float = 1.0
    final_temperature: float | None = None
    seed: int = 0

    def architecture_steps(self, steps: int) -> int:
        """Number of architecture steps, with ``steps`` weight steps an epoch."""
        return max(0, self.epochs - self.architecture_delay) * (steps // self.architecture_every)

    def temperature_at(self, step: int, total: int) -> float:
        """T in weight step number ``step`` of a search of ``total`` weight steps."""
        final = self.temperature if self.final_temperature is None else self.final_temperature
        return self.temperature * (final / self.temperature) ** (step / max(1, total - 1))


@dataclass
class SearchLoop:
    """Runs a :class:`Schedule` over a supernet.

    Args:
        supernet: the network with choices.
        update: moves its architecture parameters, see :class:`~proxyless.search.steps.ArchitectureUpdate`.
        data: the batches.
        schedule: lengths and rates.
        task: losses and metrics.
        expected_cost: E[latency] in ms of the present probabilities for the reports, or None.
        measures: further metrics for the reports of the search, such as the multiplier.
        start: a quicker warm-up, where the space has one.
        report: called with the metrics of every few steps.
        checkpoint: called with the state after every epoch.
        advance: called every few weight steps with (steps done, steps in all, latest metrics).
        forward: runs the supernet on a batch and returns (outputs, targets) as the task takes them; the task's own
            where None.
    """

    supernet: Supernet
    update: ArchitectureUpdate
    data: SearchData
    schedule: Schedule
    task: Task
    expected_cost: Callable[[Tensor], float] | None = None
    measures: Callable[[], Metrics] = dict
    start: SharedStart | None = None
    report: Callable[[Metrics], None] = lambda metrics: None
    checkpoint: Callable[[dict[str, Any]], None] = lambda state: None
    advance: Callable[[int, int, Metrics], None] = lambda done, total, metrics: None
    forward: Forward | None = None

    def __post_init__(self) -> None:
        schedule = self.schedule
        self.optimizer = torch.optim.SGD(
            self.supernet.weights(),
            lr=schedule.learning_rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=schedule.weight_decay,
        )
        self.epoch = 0  # finished epochs, those of the warm-up counted
        self.architecture_step = 0

    def state_dict(self) -> dict[str, Any]:
        """Everything the rest of the search depends on."""
        return {
            "epoch": self.epoch,
            "architecture_step": self.architecture_step,
            "supernet": self.supernet.state_dict(),
            "generator": self.supernet.generator.get_state(),
            "temperature": self.supernet.temperature,
            "optimizer": self.optimizer.state_dict(),
            "update": self.update.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that :attr:`checkpoint` was given."""
        if state["epoch"] > self.schedule.warmup_epochs + self.schedule.epochs:
            raise ProxylessError(f"epoch {state['epoch']} is beyond the end of this search")
        self.epoch, self.architecture_step = state["epoch"], state["architecture_step"]
        self.supernet.load_state_dict(state["supernet"])
        self.supernet.generator.set_state(state["generator"])
        self.supernet.temperature = state["temperature"]
        load_optimizer(self.optimizer, state["optimizer"])
        self.update.load_state_dict(state["update"])

    def run(self) -> None:
        """Run what is left of warm-up and search.

        Raises:
            ProxylessError: the loss is no longer finite.
        """
        schedule = self.schedule
        while self.epoch < schedule.warmup_epochs + schedule.epochs:
            if self.epoch == schedule.warmup_epochs:  # the search's weights start without the warm-up's momentum
                self.optimizer.state.clear()
            with torch.random.fork_rng():
                torch.manual_seed(schedule.seed + self.epoch)  # of dropout
                self._epoch(searching=self.epoch >= schedule.warmup_epochs)
            self.epoch += 1
            self.checkpoint(self.state_dict())

    def _epoch(self, *, searching: bool) -> None:
        schedule, supernet = self.schedule, self.supernet
        length = schedule.epochs if searching else schedule.warmup_epochs
        first = self.epoch - (schedule.warmup_epochs if searching else 0)
        steps = self.data.steps()
        task, forward = self.task, self.forward or self.task.forward
        held_out = self.data.held_out(self.architecture_step) if searching else iter(())
        totals, architecture_losses = Totals(task), list[float]()
        supernet.train()
        for step, batch in enumerate(islice(self.data.train(self.epoch), steps)):
            position = (first * steps + step) / (length * steps)
            for group in self.optimizer.param_groups:
                group["lr"] = 0.5 * schedule.learning_rate * (1 + math.cos(math.pi * position))
            supernet.temperature = schedule.temperature_at(first * steps + step if searching else 0, length * steps)
            self._sample(searching, first * steps + step, length * steps)
            outputs, targets = forward(supernet, batch)
            loss = task.training_loss(outputs, targets)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()  # to None: what is not on the next path has no gradient, momentum or decay
            totals.add(outputs, targets, loss)
            if searching and first >= schedule.architecture_delay and (step + 1) % schedule.architecture_every == 0:
                result = self.update.step(next(held_out), task.architecture_loss, forward)
                architecture_losses.append(result.task_loss)
                self.architecture_step += 1
            last = step + 1 == steps
            if last or (step + 1) % schedule.report_every == 0:
                metrics = self._metrics(searching, self.epoch + (step + 1) / steps) | totals.figures()
                if architecture_losses:
                    metrics["architecture_loss"] = fmean(architecture_losses)
                totals, architecture_losses = Totals(task), []
                if not math.isfinite(metrics["loss"]):
                    raise ProxylessError("the loss of the supernet is no longer finite: lower search.learning_rate")
                if last:
                    found = self.evaluate(supernet.most_probable())
                    check_finite(found, "search.learning_rate")
                    metrics |= found
                self.report(metrics)
                self.advance(self.epoch * steps + step + 1, (schedule.warmup_epochs + schedule.epochs) * steps, metrics)

    def _sample(self, searching: bool, step: int, total: int) -> None:
        path = self.supernet.sample(uniform=not searching)
        if self.start is None or searching:
            return
        shared = round(self.schedule.shared * total)
        if step == 0:
            self.start.begin()
        if step < shared:
            self.supernet.path = self.start.path(path)
        elif step == shared:
            self.start.spread()
            self.optimizer.state.clear()  # the momentum of what the weights were before

    def _metrics(self, searching: bool, epoch: float) -> Metrics:
        supernet = self.supernet
        probabilities = supernet.probabilities().detach()
        metrics: Metrics = {
            "stage": "search" if searching else "warmup",
            "epoch": epoch,
            "step": round(epoch * self.data.steps()),
            "entropy": float(supernet.entropy().detach().mean()),
            "confidence": float(probabilities.max(dim=1).values.mean()),
            "temperature": supernet.temperature,
        }
        if self.expected_cost is not None:
            metrics["expected_latency_ms"] = self.expected_cost(probabilities)
        if searching:
            metrics |= self.measures()
            rows = zip(probabilities.tolist(), supernet.choices.values(), strict=True)
            metrics["probabilities"] = [[round(p, 5) for p in row[: len(choice)]] for row, choice in rows]
        return metrics

    def evaluate(self, path: list[int]) -> Metrics:
        """Loss and metrics of ``path`` on the held-out images with the supernet's weights and batch statistics."""
        before = self.supernet.path
        self.supernet.path = path
        totals, forward = Totals(self.task), self.forward or self.task.forward
        try:
            with batch_statistics(self.supernet.network), torch.no_grad():
                for batch in self.data.valid():
                    outputs, targets = forward(self.supernet, batch)
                    totals.add(outputs, targets, self.task.loss(outputs, targets))
        finally:
            self.supernet.path = before
        return totals.figures("valid_")
