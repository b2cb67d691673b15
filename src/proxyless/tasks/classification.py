"""Classification: each image has one class, or any number of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from proxyless.tasks.metric import Metric, Sums, ratio, register_metric
from proxyless.tasks.registry import register_task
from proxyless.tasks.task import Confusion, Table, Task, check_names, checked_names


def confusion(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Counts (true class, predicted class) of a batch; targets that are no class, such as 255 or -100, are left out.

    Args:
        outputs: (batch, classes, ...), the highest is the prediction.
        targets: (batch, ...), indices of classes.
    """
    classes = outputs.shape[1]
    pairs = targets * classes + outputs.argmax(dim=1)
    pairs = torch.where((targets >= 0) & (targets < classes), pairs, classes * classes).flatten()
    counts = torch.zeros(classes * classes + 1, dtype=torch.long, device=outputs.device)
    counts.scatter_add_(0, pairs, torch.ones_like(pairs))
    return {"confusion": counts[:-1].view(classes, classes)}


def _recalls(sums: Sums) -> list[tuple[int, float, int]]:
    """Index, share recognised and images of each class that has images."""
    matrix = sums["confusion"]
    right, images = matrix.diagonal().tolist(), matrix.sum(dim=1).tolist()
    return [(index, right[index] / images[index], images[index]) for index in range(len(images)) if images[index]]


def _accuracy(sums: Sums) -> float:
    return ratio(sums["confusion"].diagonal().sum(), sums["confusion"].sum())


def _balanced_accuracy(sums: Sums) -> float:
    recalls = [recall for _, recall, _ in _recalls(sums)]
    return ratio(sum(recalls), len(recalls))


ACCURACY = register_metric(Metric("accuracy", confusion, _accuracy, percent=True))
"""Share of images whose highest output is the class."""

BALANCED_ACCURACY = register_metric(Metric("balanced_accuracy", confusion, _balanced_accuracy, percent=True))
"""Mean over classes of the share of their images that is recognised."""


@register_task
@dataclass(frozen=True)
class Classification(Task):
    """One class for each image: cross-entropy and accuracy.

    Outputs are (batch, classes), targets int64 (batch,).

    Args:
        classes: their names, in the order of the outputs, where they have some.
        metrics: what is reported, the first is the one that counts.
        label_smoothing: of the loss of the weight steps; None: as the settings say.
        class_weights: what an image of each class counts in the losses of weight and architecture steps and in the
            reward of REINFORCE; None: as the settings say.

    Example:
        >>> import torch
        >>> task = Classification(("cat", "dog"), metrics=["accuracy", "balanced_accuracy"])
        >>> outputs, targets = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]]), torch.tensor([0, 1, 1])
        >>> task.figures(task.sums(outputs, targets))
        {'accuracy': 0.6666666666666666, 'balanced_accuracy': 0.75}
        >>> task.predict(outputs)
        ['cat', 'dog', 'cat']
    """

    name: ClassVar[str] = "classification"

    classes: tuple[str, ...] = ()
    metrics: Sequence[Metric | str] = (ACCURACY,)
    label_smoothing: float | None = None
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", checked_names(self.classes))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Plain cross-entropy."""
        return nn.functional.cross_entropy(outputs, targets)

    def training_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy with weights of classes and smoothed labels."""
        smoothing = self.label_smoothing or 0.0
        return nn.functional.cross_entropy(outputs, targets, self._weights(outputs), label_smoothing=smoothing)

    def architecture_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy with weights of classes."""
        return nn.functional.cross_entropy(outputs, targets, self._weights(outputs))

    def _weights(self, outputs: Tensor) -> Tensor | None:
        return None if self.class_weights is None else outputs.new_tensor(self.class_weights)

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Those of the metrics, and the confusion matrix."""
        check_names(self.classes, outputs)
        return super().sums(outputs, targets) | confusion(outputs, targets)

    def reward(self, sums: Sums) -> float:
        """The metric that counts; with weights of classes the accuracy in which images count as their class does."""
        if self.class_weights is None:
            return super().reward(sums)
        matrix = sums["confusion"].double()
        weights = matrix.new_tensor(self.class_weights)
        return float(weights @ matrix.diagonal() / (weights @ matrix.sum(dim=1)))

    def predict(self, outputs: Tensor) -> list[Any]:
        """The name of each image's class, or its index where classes have no names."""
        indices = outputs.argmax(dim=1).tolist()
        return [self.classes[index] for index in indices] if self.classes else indices

    def details(self, sums: Sums) -> dict[str, Any]:
        """What the accuracy over all images may hide.

        Returns:
            ``test_balanced_accuracy``, the mean over classes of the share of their images that is recognised (recall);
            ``worst_class`` with its ``name``, ``recall`` and ``images``, of equal ones the one with most images;
            ``classes_without_test_images``, which neither can speak of.
        """
        recalls = _recalls(sums)
        worst, recall, images = min(recalls, key=lambda known: (known[1], -known[2], known[0]))
        return {
            "test_balanced_accuracy": _balanced_accuracy(sums),
            "worst_class": {"name": self._name(worst), "recall": recall, "images": images},
            "classes_without_test_images": len(sums["confusion"]) - len(recalls),
        }

    def _name(self, index: int) -> str:
        return self.classes[index] if index < len(self.classes) else str(index)

    def confusion(self, sums: Sums) -> Confusion:
        """The confusion matrix over all classes."""
        matrix = sums["confusion"]
        return Confusion(matrix, tuple(self._name(index) for index in range(len(matrix))))

    def with_settings(self, *, label_smoothing: float, class_weights: Sequence[float] | None = None) -> Classification:
        """The same task with smoothing and weights that the settings say, unless it has its own."""
        weights = None if class_weights is None else tuple(class_weights)
        return replace(
            self,
            label_smoothing=label_smoothing if self.label_smoothing is None else self.label_smoothing,
            class_weights=weights if self.class_weights is None else self.class_weights,
        )


def _marked(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Counts for each label: images that have it, that are given it, and both; and images that are wholly right."""
    given, true = outputs > 0, targets > 0.5
    return {
        "labels.true": true.sum(dim=0),
        "labels.given": given.sum(dim=0),
        "labels.right": (given & true).sum(dim=0),
        "labels.exact": (given == true).all(dim=1).sum(),
        "labels.images": torch.tensor(len(outputs), device=outputs.device),
    }


def _f1(sums: Sums) -> list[float | None]:
    """F1 of each label, 2 right / (true + given); None for one that no image has and none is given."""
    rows = zip(*(sums[f"labels.{name}"].tolist() for name in ("right", "true", "given")), strict=True)
    return [2 * right / (true + given) if true + given else None for right, true, given in rows]


def _mean_f1(sums: Sums) -> float:
    known = [value for value in _f1(sums) if value is not None]
    return sum(known) / len(known) if known else 1.0


F1 = register_metric(Metric("f1", _marked, _mean_f1, percent=True))
"""Mean over labels of F1, the harmonic mean of precision and recall."""

EXACT = register_metric(
    Metric("exact", _marked, lambda sums: ratio(sums["labels.exact"], sums["labels.images"]), percent=True)
)
"""Share of images with all of their labels and no other."""


@register_task
@dataclass(frozen=True)
class MultiLabel(Task):
    """Any number of labels for each image: binary cross-entropy, F1 and the share of images that are wholly right.

    Outputs are (batch, labels), above 0 where a label is given; targets are (batch, labels) of 0 and 1.

    Args:
        labels: their names, in the order of the outputs, where they have some.
        metrics: what is reported, the first is the one that counts.

    Example:
        >>> import torch
        >>> task = MultiLabel(("red", "round"))
        >>> outputs, targets = torch.tensor([[1.0, -1.0], [1.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> task.figures(task.sums(outputs, targets))
        {'f1': 0.8333333333333333, 'exact': 0.5}
        >>> task.predict(outputs)
        [['red'], ['red', 'round']]
    """

    name: ClassVar[str] = "multi-label"

    labels: tuple[str, ...] = ()
    metrics: Sequence[Metric | str] = (F1, EXACT)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", checked_names(self.labels))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy, the mean over images and labels."""
        return nn.functional.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype))

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Those of the metrics, and counts for each label."""
        check_names(self.labels, outputs)
        return super().sums(outputs, targets) | _marked(outputs, targets)

    def predict(self, outputs: Tensor) -> list[Any]:
        """The labels of each image, by name, or by index where they have no names."""
        names = self.labels or range(outputs.shape[1])
        return [[name for name, given in zip(names, row, strict=True) if given] for row in (outputs > 0).tolist()]

    def tables(self, sums: Sums) -> list[Table]:
        """One line for each label."""
        rows: list[list[str | float | None]] = []
        true, given, right = (sums[f"labels.{name}"].tolist() for name in ("true", "given", "right"))
        for index, f1 in enumerate(_f1(sums)):
            precision = right[index] / given[index] if given[index] else None
            recall = right[index] / true[index] if true[index] else None
            rows.append([self.labels[index] if self.labels else str(index), true[index], precision, recall, f1])
        return [
            Table("By label", ("Label", "Images", "Precision", "Recall", "F1"), rows, ("Precision", "Recall", "F1"))
        ]
