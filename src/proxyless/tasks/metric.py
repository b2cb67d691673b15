"""A metric: one figure of how good a network is, put together from parts that add up over batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from proxyless.errors import ProxylessError, short
from proxyless.registry import Registry

Sums = Mapping[str, Tensor]
"""Parts of metrics by name. Those of all batches and processes, added up, are those of the whole data set."""


@dataclass(frozen=True)
class Metric:
    """One figure of how good a network is.

    A mean of batches' figures is in general not the figure of all of them, so a metric has two steps: :attr:`sums`
    takes what adds up out of each batch, and :attr:`value` makes the figure of the totals.

    Args:
        name: as histories and results call it, such as ``accuracy``.
        sums: (outputs, targets) of one batch -> tensors by name. Metrics that share the function share its sums.
        value: the totals over all batches, on the CPU -> the figure.
        higher_is_better: whether a larger figure is a better one.
        percent: whether people read the figure as a share, 0.91 as 91 %.

    Example:
        >>> import torch
        >>> def hits_and_images(outputs, targets):
        ...     hits = (outputs.topk(2).indices == targets[:, None]).any(dim=1)
        ...     return {"hits": hits.sum(), "images": torch.tensor(len(hits))}
        >>> top2 = Metric("top2", hits_and_images, lambda sums: float(sums["hits"] / sums["images"]), percent=True)
        >>> outputs, targets = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), torch.tensor([1, 2])
        >>> top2.value(top2.sums(outputs, targets))
        0.5
    """

    name: str
    sums: Callable[[Any, Any], Sums]
    value: Callable[[Sums], float]
    higher_is_better: bool = True
    percent: bool = False

    @classmethod
    def mean(
        cls, name: str, each: Callable[[Any, Any], Tensor], *, higher_is_better: bool = True, percent: bool = False
    ) -> Metric:
        """The metric that is the mean of one number for each sample.

        Args:
            name: as histories and results call it.
            each: (outputs, targets) -> those numbers, a tensor of any shape; all of its entries count alike.
            higher_is_better: whether a larger figure is a better one.
            percent: whether people read the figure as a share.

        Example:
            >>> import torch
            >>> error = Metric.mean("error", lambda outputs, targets: (outputs - targets).abs(), higher_is_better=False)
            >>> error.value(error.sums(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0])))
            1.5
        """
        total, count = f"{name}.sum", f"{name}.count"

        def sums(outputs: Any, targets: Any) -> Sums:
            values = each(outputs, targets).double()
            return {total: values.sum(), count: torch.tensor(values.numel(), device=values.device)}

        return cls(name, sums, lambda sums: ratio(sums[total], sums[count]), higher_is_better, percent)

    def better(self, one: float, other: float) -> bool:
        """Whether ``one`` is a better figure than ``other``."""
        return one > other if self.higher_is_better else one < other

    def worse_by(self, found: float, reference: float) -> float:
        """How much worse ``found`` is than ``reference``: a difference for shares, else a part of the reference."""
        lost = reference - found if self.higher_is_better else found - reference
        return lost if self.percent or not reference else lost / abs(reference)

    def written(self, value: float) -> str:
        """The figure as a person reads it."""
        return f"{value:.2%}" if self.percent else f"{value:.4g}"

    def to_dict(self) -> dict[str, Any]:
        """What a reader of a result needs to know of the metric, for JSON."""
        return {"name": self.name, "higher_is_better": self.higher_is_better, "percent": self.percent}


def ratio(part: float | Tensor, whole: float | Tensor) -> float:
    """``part / whole``, not a number where nothing was counted."""
    return float(part) / float(whole) if float(whole) else math.nan


METRICS: Registry[Metric] = Registry("metric", "proxyless.metrics")
"""The metrics that can be asked for by name."""


def register_metric(metric: Metric) -> Metric:
    """Let a metric be asked for by its name, as in ``Classification(metrics=["accuracy", "top2"])``.

    Raises:
        ProxylessError: the name has another form than ``mean_iou``, or a metric of another module has it already.

    Example:
        >>> import proxyless
        >>> def distance(outputs, targets):
        ...     return (outputs.argmax(dim=1) - targets).abs()
        >>> metric = proxyless.register_metric(proxyless.Metric.mean("distance", distance, higher_is_better=False))
        >>> proxyless.Classification(metrics=["accuracy", "distance"]).metric.name
        'accuracy'
    """
    METRICS.register(metric.name, metric, module=metric.sums.__module__)
    return metric


def find(metrics: Iterable[Metric | str]) -> tuple[Metric, ...]:
    """The metrics, with those given by name looked up.

    Raises:
        ProxylessError: no metric of that name is registered.
    """
    if isinstance(metrics, str) or not all(isinstance(metric, str | Metric) for metric in metrics):
        raise ProxylessError(f"metrics must be a list of Metrics or of their names, got {short(metrics)}")
    return tuple(METRICS.get(metric) if isinstance(metric, str) else metric for metric in metrics)


def sums_of(metrics: Sequence[Metric], outputs: Any, targets: Any) -> dict[str, Tensor]:
    """The sums of all the metrics for one batch."""
    functions = dict.fromkeys(metric.sums for metric in metrics)
    return {name: value for function in functions for name, value in function(outputs, targets).items()}
