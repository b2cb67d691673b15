"""A network in int8 beside itself in float32: what it loses, what it takes, and which of the two to use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from proxyless.latency.timing.statistics import Interval

Batch = tuple[Tensor, Tensor]

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Outputs for normalised images (batch, channels, height, width)."""

LOSS = 0.01
"""The accuracy that int8 may lose before other ways of quantising are tried, and the user is told."""


@dataclass(frozen=True)
class Trial:
    """A way of quantising, and what it comes to on held-out images.

    Args:
        recipe: in words.
        accuracy: share of the images that are classified rightly.
        error: root mean square of the differences to float32's outputs, as a share of these outputs' spread.
    """

    recipe: str
    accuracy: float
    error: float


@dataclass(frozen=True)
class Comparison:
    """Int8 against float32 on ``images`` held-out images; ``accuracy`` is float32's."""

    images: int
    accuracy: float
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The way that is kept: with the highest accuracy, of equal ones the one with the smallest error."""
        return max(self.trials, key=lambda trial: (trial.accuracy, -trial.error))

    @property
    def lossy(self) -> bool:
        """Whether the best way loses more than a point."""
        return loses(self.best.accuracy, self.accuracy)


def loses(accuracy: float, reference: float) -> bool:
    """Whether ``accuracy`` is more than a point below ``reference``."""
    return reference - accuracy > LOSS + 1e-9


def best(
    float32: Run, candidates: Iterable[tuple[str, bytes]], load: Callable[[bytes], Run], held_out: Iterable[Batch]
) -> tuple[bytes, Comparison]:
    """The first of ``candidates`` that loses no more than a point on held-out images, or else the best of all.

    Args:
        candidates: int8 models with what they are called, made one after the other as they are asked for.
        load: makes a model's content run.
        held_out: images that the ranges were not taken from; iterated again for each candidate.
    """
    reference, labels = _outputs(float32, held_out)
    right = float((reference.argmax(axis=1) == labels).mean())
    spread = float(np.sqrt(((reference - reference.mean(axis=0)) ** 2).mean())) or 1.0
    contents: dict[Trial, bytes] = {}
    for recipe, content in candidates:
        outputs, _ = _outputs(load(content), held_out)
        error = float(np.sqrt(((outputs - reference) ** 2).mean())) / spread
        trial = Trial(recipe, float((outputs.argmax(axis=1) == labels).mean()), error)
        contents[trial] = content
        if not loses(trial.accuracy, right):
            break
    comparison = Comparison(len(labels), right, tuple(contents))
    return contents[comparison.best], comparison


def _outputs(run: Run, batches: Iterable[Batch]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    found = [(run(images.contiguous().numpy()), labels.numpy()) for images, labels in batches]
    return np.concatenate([outputs for outputs, _ in found]), np.concatenate([labels for _, labels in found])


@dataclass(frozen=True)
class Times:
    """Latency of both files, measured side by side."""

    int8: Interval
    float32: Interval

    @property
    def slower(self) -> bool:
        """Whether int8 takes longer, by more than measuring can tell."""
        return self.int8.low_ms > self.float32.high_ms


def cautions(name: str, float32: str, comparison: Comparison, times: Times | None) -> list[str]:
    """What the user must know before the file ``name`` is used, a sentence each; none where it is as it should be."""
    found = []
    if comparison.lossy:
        lost = 100 * (comparison.accuracy - comparison.best.accuracy)
        tried = f" (tried: {'; '.join(trial.recipe for trial in comparison.trials)})" if comparison.trials[1:] else ""
        found.append(
            f"{name} loses {lost:.1f} points of accuracy: {comparison.best.accuracy:.2%} of {comparison.images}"
            f" held-out images, {comparison.accuracy:.2%} in float32{tried}; use {float32} instead"
        )
    if times and times.slower:
        found.append(
            f"{name} is slower than float32 here: {times.int8.ms:.4g} ms, {float32} {times.float32.ms:.4g} ms;"
            f" use {float32} instead"
        )
    return found


def lost(found: Mapping[str, float | None], reference: float) -> list[str]:
    """A sentence for each file whose accuracy is more than a point below PyTorch's, ``reference``.

    Args:
        found: accuracies by file, None where it is not known.
    """
    return [
        f"{name} loses {100 * (reference - accuracy):.1f} points of accuracy against PyTorch"
        for name, accuracy in found.items()
        if accuracy is not None and loses(accuracy, reference)
    ]


def described(
    name: str,
    float32: str,
    comparison: Comparison,
    times: Times | None,
    calibration_images: int,
    on_test: tuple[float | None, float],
) -> dict[str, Any]:
    """All of it for ``result.json``.

    Args:
        calibration_images: how many images the ranges were taken from.
        on_test: accuracy on test images of the int8 file, None where it is not known, and of the network in float32.
    """
    found = cautions(name, float32, comparison, times)
    accuracy, reference = on_test
    if accuracy is not None and loses(accuracy, reference) and not comparison.lossy:
        found.insert(
            0,
            f"{name} loses {100 * (reference - accuracy):.1f} points of accuracy on test images: {accuracy:.2%},"
            f" {reference:.2%} in float32; use {float32} instead",
        )
    return {
        "file": name,
        "float32_file": float32,
        "use": float32 if found else name,
        "cautions": found,
        "recipe": comparison.best.recipe,
        "calibration_images": calibration_images,
        "held_out_images": comparison.images,
        "held_out_accuracy": comparison.best.accuracy,
        "held_out_accuracy_float32": comparison.accuracy,
        "output_error": comparison.best.error,
        "tried": [
            {"recipe": trial.recipe, "held_out_accuracy": trial.accuracy, "output_error": trial.error}
            for trial in comparison.trials
        ],
        "latency_ms": times.int8.ms if times else None,
        "latency_float32_ms": times.float32.ms if times else None,
    }
