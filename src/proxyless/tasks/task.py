"""What is learnt, as an object: the loops of search and training know no loss and no metric of their own."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from proxyless.errors import ContractError, short
from proxyless.tasks.metric import Metric, Sums, find, sums_of

Forward = Callable[[nn.Module, Any], tuple[Any, Any]]
"""(network, batch) -> (outputs, targets), as the task takes them."""


@dataclass(frozen=True)
class Table:
    """A table that the report shows for a task, such as one line for each label.

    Args:
        title: the heading.
        columns: what stands above each column.
        rows: the cells, text or numbers.
        percent: numbers of the columns of these names are shares, and shown in percent.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]
    percent: Sequence[str] = ()


@dataclass(frozen=True)
class Confusion:
    """How often which class was taken for which.

    Args:
        matrix: counts (true class, predicted class), int64.
        classes: their names.
        counted: what was counted, in words.
    """

    matrix: Tensor
    classes: tuple[str, ...]
    counted: str = "images"


def check_names(names: Sequence[str], outputs: Tensor) -> None:
    """Make sure that the outputs (batch, names, ...) have a name each, where there are names.

    Raises:
        ContractError: there are more names than outputs, or fewer.
    """
    if names and len(names) != outputs.shape[1]:
        raise ContractError(f"{outputs.shape[1]} outputs for {len(names)} names")


def checked_names(names: Any) -> tuple[str, ...]:
    """Names that a user gives a task, as a tuple.

    Raises:
        ContractError: they are no list of names.
    """
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ContractError(f"the names of a task must be a list, such as ['cat', 'dog'], got {short(names)}")
    return tuple(names)


def pair(batch: Any) -> tuple[Any, Any]:
    """A batch as (inputs, targets).

    Raises:
        ContractError: the batch has another form.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
        raise ContractError(
            f"a batch must be (inputs, targets), got a {type(batch).__name__}{size}: for others give a forward,"
            " which takes (network, batch) and returns (outputs, targets)"
        )
    inputs, targets = batch
    return inputs, targets


class Task(ABC):
    """What a network is to learn, and how well it has.

    A task of one's own has a :attr:`name`, a :meth:`loss` and :attr:`metrics`; everything else has an answer that suits
    most tasks. Below, *outputs* are what the network returns and *targets* what :meth:`inputs_and_targets` takes from a
    batch: tensors with one entry for each sample along the first dimension, or nested tuples, lists and dicts of them.

    Who calls what:

    - a step of the weights, in search and training: :meth:`forward`, :meth:`training_loss`, :meth:`sums`;
    - a step of the architecture: :meth:`forward`, :meth:`architecture_loss`, and :meth:`score` in REINFORCE;
    - an evaluation, batch by batch: :meth:`forward`, :meth:`loss`, :meth:`sums`; then once :meth:`figures`;
    - the main job: :meth:`fitted` and :meth:`with_settings` before the search, and at the end :meth:`details`,
      :meth:`confusion` and :meth:`tables` for the result and the report.

    Attributes:
        name: what the task is called in settings and files.
        metrics: the figures that are reported, by themselves or by name; the first is the one that counts.

    Example:
        >>> import torch
        >>> class Keypoints(Task):
        ...     name = "keypoints"
        ...     metrics = (Metric.mean("distance", lambda outputs, targets: (outputs - targets).norm(dim=-1),
        ...                            higher_is_better=False),)
        ...     def loss(self, outputs, targets):
        ...         return torch.nn.functional.smooth_l1_loss(outputs, targets)
        >>> task = Keypoints()
        >>> outputs, targets = torch.zeros(4, 5, 2), torch.tensor([3.0, 4.0]).expand(4, 5, 2)
        >>> task.figures(task.sums(outputs, targets))
        {'distance': 5.0}
    """

    name: ClassVar[str]
    metrics: Sequence[Metric | str]

    @property
    def metric(self) -> Metric:
        """The metric that counts."""
        return self.all_metrics[0]

    @property
    def all_metrics(self) -> tuple[Metric, ...]:
        """The metrics, those given by name looked up.

        Raises:
            ProxylessError: no metric of such a name is registered.
        """
        return find(self.metrics)

    # -- a batch --

    def inputs_and_targets(self, batch: Any) -> tuple[Any, Any]:
        """What the network is given and what it should answer; here a batch is a pair of the two.

        Raises:
            ContractError: the batch has another form.
        """
        return pair(batch)

    def forward(self, network: nn.Module, batch: Any) -> tuple[Any, Any]:
        """Run the network on a batch; returns (outputs, targets)."""
        inputs, targets = self.inputs_and_targets(batch)
        return network(inputs), targets

    # -- losses: scalars, a mean over the batch --

    @abstractmethod
    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """The loss that evaluations report, a scalar: the mean over the batch."""

    def training_loss(self, outputs: Any, targets: Any) -> Tensor:
        """The loss of the steps of the weights, where it is another one, with label smoothing for instance."""
        return self.loss(outputs, targets)

    def architecture_loss(self, outputs: Any, targets: Any) -> Tensor:
        """The loss of the architecture steps, on held-out data, where it is another one."""
        return self.loss(outputs, targets)

    # -- metrics --

    def sums(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """What adds up over batches and processes, and makes the metrics at the end."""
        return sums_of(self.all_metrics, outputs, targets)

    def figures(self, sums: Sums) -> dict[str, float]:
        """The metrics by name, from the totals of :meth:`sums`."""
        return {metric.name: metric.value(sums) for metric in self.all_metrics}

    def reward(self, sums: Sums) -> float:
        """How good the network is, from 0 to 1, for REINFORCE: the metric that counts, or 1 / (1 + it) of an error."""
        value = self.metric.value(sums)
        if not self.metric.higher_is_better:
            return 1 / (1 + value)
        return 0.0 if value < 0 else value  # what is not a number stays so, and stops the search

    def score(self, outputs: Any, targets: Any) -> float:
        """The :meth:`reward` of one batch."""
        return self.reward({name: value.cpu() for name, value in self.sums(outputs, targets).items()})

    # -- predictions, results, reports --

    def predict(self, outputs: Any) -> list[Any]:
        """What the outputs say of each sample, in the words of the task."""
        return list(outputs)

    def details(self, sums: Sums) -> dict[str, Any]:
        """What ``result.json`` says of the test samples beside the metrics."""
        return {}

    def confusion(self, sums: Sums) -> Confusion | None:
        """How often which class was taken for which, where the task has classes; ``confusion.json`` holds it."""
        return None

    def tables(self, sums: Sums) -> list[Table]:
        """Tables that the report shows, of the test samples."""
        return []

    # -- what the main job fills in --

    def fitted(self, targets: Iterable[Any]) -> Task:
        """The same task with what it takes from the targets of the training samples, given batch by batch."""
        return self

    def with_settings(self, *, label_smoothing: float, class_weights: Sequence[float] | None = None) -> Task:
        """The same task with what the settings say of its training loss, as far as the task leaves it open."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """The task as data for JSON, of which :func:`~proxyless.tasks.registry.from_dict` makes it again."""
        names: list[str] = [field.name for field in dataclasses.fields(self)] if dataclasses.is_dataclass(self) else []
        values = {name: getattr(self, name) for name in names}
        return {"name": self.name, **values, "metrics": [metric.name for metric in self.all_metrics]}
