"""Loss and metrics over many batches: what each batch adds is summed, and the figures are made at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from proxyless.errors import ProxylessError
from proxyless.tasks.task import Task


def batch_size(targets: Any) -> int:
    """Number of samples that the targets of a batch belong to."""
    return next(len(leaf) for leaf in tree_leaves(targets) if isinstance(leaf, Tensor) and leaf.dim())


class Totals:
    """The mean loss and the sums of a task's metrics over batches; they stay on the device until they are read."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.loss: Tensor | None = None
        self.samples = 0
        self.sums: dict[str, Tensor] = {}

    def add(self, outputs: Any, targets: Any, loss: Tensor) -> None:
        """Count a batch in; ``loss`` is its mean."""
        size = batch_size(targets)
        loss = loss.detach() * size
        self.loss = loss if self.loss is None else self.loss + loss
        self.samples += size
        with torch.no_grad():
            found = self.task.sums(outputs, targets)
        self.sums = {name: self.sums[name] + value if name in self.sums else value for name, value in found.items()}

    def on_cpu(self) -> dict[str, Tensor]:
        """The sums, where :meth:`Task.figures` and the like take them.

        Raises:
            ValueError: there was no batch.
        """
        if not self.samples:
            raise ValueError("there are no images to evaluate")
        return {name: value.cpu() for name, value in self.sums.items()}

    def figures(self, prefix: str = "") -> dict[str, float]:
        """The mean loss and the metrics, by name.

        Raises:
            ValueError: there was no batch.
        """
        figures = self.task.figures(self.on_cpu())
        loss = float("nan") if self.loss is None else float(self.loss) / self.samples
        return {f"{prefix}loss": loss} | {f"{prefix}{name}": value for name, value in figures.items()}


def check_finite(figures: Mapping[str, float], rate: str) -> None:
    """Make sure that losses and metrics are finite numbers, as the files of a run hold no others.

    Args:
        figures: by name, losses and metrics.
        rate: the setting of the learning rate, which is mostly the reason.

    Raises:
        ProxylessError: one is not; names it.
    """
    for name, value in figures.items():
        if not math.isfinite(value):
            mend = f"lower {rate}" if name.endswith("loss") else f"lower {rate}, or mend the metric"
            raise ProxylessError(f"the {name} is no longer finite: {mend}")
