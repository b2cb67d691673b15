"""A network in int8 beside itself in float32: what it loses, what it takes, and which of the two to use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from proxyless.data import Batch
from proxyless.latency.timing.statistics import Interval
from proxyless.tasks import Metric, Task

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Outputs for normalised images (batch, channels, height, width)."""

LOSS = 0.01
"""How much worse int8 may be before other ways of quantising are tried, and the user is told: a point of a share such
as accuracy, or this part of another metric."""


@dataclass(frozen=True)
class Trial:
    """A way of quantising, and what it comes to on held-out samples.

    Args:
        recipe: in words.
        score: the metric that counts, such as accuracy.
        error: root mean square of the differences to float32's outputs, as a share of these outputs' spread.
    """

    recipe: str
    score: float
    error: float


@dataclass(frozen=True)
class Comparison:
    """Int8 against float32 on held-out samples.

    Args:
        metric: the one that counts.
        samples: how many.
        score: the metric of float32.
        trials: the ways of quantising that were tried.
    """

    metric: Metric
    samples: int
    score: float
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The way that is kept: the one with the best score, of equal ones the one with the smallest error."""
        sign = 1 if self.metric.higher_is_better else -1
        return max(self.trials, key=lambda trial: (sign * trial.score, -trial.error))

    @property
    def lossy(self) -> bool:
        """Whether the best way loses more than :data:`LOSS`."""
        return loses(self.metric, self.best.score, self.score)


def loses(metric: Metric, score: float, reference: float) -> bool:
    """Whether ``score`` is worse than ``reference`` by more than :data:`LOSS`."""
    return metric.worse_by(score, reference) > LOSS + 1e-9


def best(
    float32: Run,
    candidates: Iterable[tuple[str, bytes]],
    load: Callable[[bytes], Run],
    held_out: Iterable[Batch],
    task: Task,
) -> tuple[bytes, Comparison]:
    """The first of ``candidates`` that loses no more than :data:`LOSS` on held-out samples, or else the best of all.

    Args:
        float32: runs the network in float32.
        candidates: int8 models with what they are called, made one after the other as they are asked for.
        load: makes a model's content run.
        held_out: samples that the ranges were not taken from; iterated again for each candidate.
        task: has the metric that counts.
    """
    reference = _outputs(float32, held_out)
    right = score(zip(reference, held_out, strict=True), task)
    whole = np.concatenate(reference)
    spread = float(np.sqrt(((whole - whole.mean(axis=0)) ** 2).mean())) or 1.0
    contents: dict[Trial, bytes] = {}
    for recipe, content in candidates:
        outputs = _outputs(load(content), held_out)
        error = float(np.sqrt(((np.concatenate(outputs) - whole) ** 2).mean())) / spread
        trial = Trial(recipe, score(zip(outputs, held_out, strict=True), task), error)
        contents[trial] = content
        if not loses(task.metric, trial.score, right):
            break
    comparison = Comparison(task.metric, len(whole), right, tuple(contents))
    return contents[comparison.best], comparison


def score(answers: Iterable[tuple[NDArray[np.float32], Batch]], task: Task) -> float:
    """The metric that counts, of outputs with the batches that they are for."""
    totals: dict[str, torch.Tensor] = {}
    for outputs, (_, targets) in answers:
        for name, value in task.sums(torch.from_numpy(outputs), targets).items():
            totals[name] = totals[name] + value if name in totals else value
    return task.metric.value(totals)


def _outputs(run: Run, batches: Iterable[Batch]) -> list[NDArray[np.float32]]:
    return [run(inputs.contiguous().numpy()) for inputs, _ in batches]


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
        metric, trial = comparison.metric, comparison.best
        tried = f" (tried: {'; '.join(trial.recipe for trial in comparison.trials)})" if comparison.trials[1:] else ""
        found.append(
            f"{_lost(name, metric, trial.score, comparison.score)}: {metric.written(trial.score)} of"
            f" {comparison.samples} held-out images, {metric.written(comparison.score)} in float32{tried};"
            f" use {float32} instead"
        )
    if times and times.slower:
        found.append(
            f"{name} is slower than float32 here: {times.int8.ms:.4g} ms, {float32} {times.float32.ms:.4g} ms;"
            f" use {float32} instead"
        )
    return found


def _lost(name: str, metric: Metric, score: float, reference: float) -> str:
    lost = 100 * metric.worse_by(score, reference)
    return f"{name} loses {lost:.1f} {'points' if metric.percent else '%'} of {metric.name}"


def lost(metric: Metric, found: Mapping[str, float | None], reference: float) -> list[str]:
    """A sentence for each file that is worse than PyTorch by more than :data:`LOSS`.

    Args:
        metric: the one that counts.
        found: its value by file, None where it is not known.
        reference: its value with PyTorch.
    """
    return [
        f"{_lost(name, metric, score, reference)} against PyTorch"
        for name, score in found.items()
        if score is not None and loses(metric, score, reference)
    ]


def described(
    name: str,
    float32: str,
    comparison: Comparison,
    times: Times | None,
    calibration_samples: int,
    on_test: tuple[float | None, float],
) -> dict[str, Any]:
    """All of it for ``result.json``.

    Args:
        name: the int8 file.
        float32: the file that it was made from.
        comparison: of the two on held-out samples.
        times: of the two, where they were measured.
        calibration_samples: how many samples the ranges were taken from.
        on_test: the metric on test samples of the int8 file, None where it is not known, and of the network in float32.
    """
    found = cautions(name, float32, comparison, times)
    metric, (score, reference) = comparison.metric, on_test
    if score is not None and loses(metric, score, reference) and not comparison.lossy:
        found.insert(
            0,
            f"{_lost(name, metric, score, reference)} on test images: {metric.written(score)},"
            f" {metric.written(reference)} in float32; use {float32} instead",
        )
    held_out = f"held_out_{metric.name}"
    return {
        "file": name,
        "float32_file": float32,
        "use": float32 if found else name,
        "cautions": found,
        "recipe": comparison.best.recipe,
        "calibration_images": calibration_samples,
        "held_out_images": comparison.samples,
        held_out: comparison.best.score,
        f"{held_out}_float32": comparison.score,
        "output_error": comparison.best.error,
        "tried": [
            {"recipe": trial.recipe, held_out: trial.score, "output_error": trial.error} for trial in comparison.trials
        ],
        "latency_ms": times.int8.ms if times else None,
        "latency_float32_ms": times.float32.ms if times else None,
    }
