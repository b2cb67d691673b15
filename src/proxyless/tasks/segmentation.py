"""Segmentation: a class for each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from proxyless.tasks.classification import confusion
from proxyless.tasks.metric import Metric, Sums, ratio, register_metric
from proxyless.tasks.registry import register_task
from proxyless.tasks.task import Confusion, Table, Task, check_names, checked_names


def _intersections(sums: Sums) -> list[float | None]:
    """Intersection over union of each class, None for one that is neither there nor predicted anywhere."""
    matrix = sums["confusion"]
    both = matrix.diagonal()
    either = matrix.sum(dim=0) + matrix.sum(dim=1) - both
    return [one / all_ if all_ else None for one, all_ in zip(both.tolist(), either.tolist(), strict=True)]


def _mean_iou(sums: Sums) -> float:
    known = [value for value in _intersections(sums) if value is not None]
    return ratio(sum(known), len(known))


def _pixel_accuracy(sums: Sums) -> float:
    return ratio(sums["confusion"].diagonal().sum(), sums["confusion"].sum())


MEAN_IOU = register_metric(Metric("mean_iou", confusion, _mean_iou, percent=True))
"""Mean over classes of intersection over union, of the pixels of all images together."""

PIXEL_ACCURACY = register_metric(Metric("pixel_accuracy", confusion, _pixel_accuracy, percent=True))
"""Share of pixels whose highest output is the class."""


@register_task
@dataclass(frozen=True)
class Segmentation(Task):
    """A class for each pixel: cross-entropy, mean intersection over union and the share of pixels that are right.

    Outputs are (batch, classes, height, width), targets int64 (batch, height, width). A pixel whose target is no class,
    such as 255, counts nowhere.

    Args:
        classes: their names, in the order of the outputs, where they have some.
        metrics: what is reported, the first is the one that counts.

    Example:
        >>> import torch
        >>> task = Segmentation(("sky", "ground"))
        >>> outputs = torch.tensor([[[[2.0, 2.0]], [[0.0, 3.0]]]])  # (1, 2, 1, 2): sky, ground
        >>> task.figures(task.sums(outputs, torch.tensor([[[0, 0]]])))
        {'mean_iou': 0.25, 'pixel_accuracy': 0.5}
        >>> task.figures(task.sums(outputs, torch.tensor([[[0, 255]]])))
        {'mean_iou': 1.0, 'pixel_accuracy': 1.0}
    """

    name: ClassVar[str] = "segmentation"

    classes: tuple[str, ...] = ()
    metrics: Sequence[Metric | str] = (MEAN_IOU, PIXEL_ACCURACY)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", checked_names(self.classes))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy, the mean over pixels that have a class; 0 where none has."""
        known = (targets >= 0) & (targets < outputs.shape[1])
        total = nn.functional.cross_entropy(outputs, torch.where(known, targets, -100), reduction="sum")
        return total / known.sum().clamp_min(1)

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Those of the metrics, and the confusion matrix of pixels."""
        check_names(self.classes, outputs)
        return super().sums(outputs, targets) | confusion(outputs, targets)

    def predict(self, outputs: Tensor) -> list[Any]:
        """The index of each pixel's class, int64 (height, width) for each image."""
        return list(outputs.argmax(dim=1))

    def confusion(self, sums: Sums) -> Confusion:
        """The confusion matrix of pixels."""
        matrix = sums["confusion"]
        return Confusion(matrix, self.classes or tuple(str(index) for index in range(len(matrix))), "pixels")

    def tables(self, sums: Sums) -> list[Table]:
        """One line for each class."""
        names = self.confusion(sums).classes
        pixels = sums["confusion"].sum(dim=1).tolist()
        rows = list(zip(names, pixels, _intersections(sums), strict=True))
        return [Table("By class", ("Class", "Pixels", "IoU"), rows, ("IoU",))]
