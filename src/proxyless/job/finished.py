"""What is done with a trained run: its network is rebuilt, written for other programs, evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from proxyless import spaces
from proxyless.architecture import Architecture
from proxyless.errors import ProxylessError, first_line
from proxyless.export.onnx import Exported
from proxyless.files.checkpoints import check_state, read_safetensors
from proxyless.job import int8_comparison, model_files, plugins
from proxyless.job.run_data import evaluated, recorded_data
from proxyless.job.run_folder import RunFolder
from proxyless.job.run_records import read_data, read_description, read_task
from proxyless.job.settings import Settings
from proxyless.job.settings import load as load_settings
from proxyless.spaces import Space
from proxyless.training import loop as training


def load_network(run: RunFolder, space: Space | None = None) -> nn.Module:
    """The trained network of a run, rebuilt from its architecture and weights, in evaluation mode.

    Args:
        run: with both.
        space: that the architecture is of; None: the one that it names.

    Raises:
        ProxylessError: a file is missing, or the weights do not fit the architecture.
    """
    plugins.restore(run)
    architecture = Architecture.load(run.need(run.architecture, "search"))
    if space is None:
        if not architecture.space:
            raise ProxylessError(
                f"{run.path}: its network is one of your own; in Python, proxyless.load(path, network=...) rebuilds it"
            )
        space = spaces.space_of(architecture)
    weights = run.need(run.weights, "search")
    state = read_safetensors(weights)
    try:
        with torch.device("meta"):  # compared before memory is taken for a network that may be of any size
            check_state(state, space.build(architecture).state_dict())
        network = space.build(architecture)
        network.load_state_dict(state)
    except (ProxylessError, RuntimeError) as error:
        raise ProxylessError(f"{weights}: does not fit {run.architecture} ({first_line(error)})") from None
    return network.eval()


def export(
    run: RunFolder, others: Sequence[Path] = (), *, pixels: bool = False, source: str | None = None
) -> tuple[Exported, list[str]]:
    """Write ``model.onnx`` of a trained run and other files of its network, compared with PyTorch on held-out images.

    Args:
        run: the run.
        others: the files of its :class:`RunFolder` to write too.
        pixels: whether to write ``model.pixels.onnx`` too, which takes pixels of 8 bits and normalises them itself.
        source: where the images of the run are now.

    Returns:
        What is to be said of ``model.onnx``; and of int8 files, measured briefly, what one must know before using them.

    Raises:
        ProxylessError: the run is not trained, its data has changed, the network cannot be converted, or
            what another file needs is not installed.
    """
    for path in others:
        if reason := model_files.not_runnable(path):
            raise ProxylessError(f"{path.name}: {reason}")
    network = load_network(run)
    chosen = load_settings(run.config) if run.config.exists() else Settings()
    quantised = any(model_files.is_int8(run, path) for path in others)
    needed = ("train", "valid") if quantised else ("valid",)
    samples = model_files.image_samples(recorded_data(run, source, check=needed), chosen, int8=quantised)
    exported = model_files.write_onnx(run, network, samples.compared)
    if pixels:
        model_files.write_onnx_pixels(run, network, samples.compared)
    cautions: list[str] = []
    for path in others:
        if path == run.tflite and run.tflite_int8 in others:
            continue  # written with that one
        comparison = model_files.write(run, path, network, samples, read_task(run))
        if comparison:
            plain = model_files.float32_of(run, path)
            times = model_files.briefly_measured(path, plain, (1, *samples.compared.shape[1:]))
            cautions += int8_comparison.cautions(path.name, plain.name, comparison, times)
    return exported, cautions


def evaluate(run: RunFolder, source: str | None = None) -> dict[str, Any]:
    """Accuracy of a trained run on the test split of data, with PyTorch and of each file of the network.

    A file is run by ONNX Runtime or LiteRT alone; its accuracy is None where that is not installed.

    Args:
        run: the run.
        source: a data set, or a folder with ``test/`` or class folders in it, with classes of the run; the run's own
            data when None. See :func:`proxyless.job.run_data.evaluated`.

    Raises:
        ProxylessError: the run is not finished, or the data has other classes.
    """
    network = load_network(run)
    description = read_description(run)
    run.need(run.onnx, "export")
    chosen = evaluated(run, description, source)
    batches = chosen.batches
    task = read_task(run)
    totals = training.evaluate(network, batches, task)
    sums = totals.on_cpu()
    classes, confusion = description["classes"], task.confusion(sums)
    if confusion and len(confusion.matrix) != len(classes):
        raise ProxylessError(f"{run.model}: has {len(classes)} classes, the network {len(confusion.matrix)}")
    figures, metric = totals.figures("test_"), task.metric
    found = {
        path.name: None if model_files.not_runnable(path) else model_files.metric_of(path, batches, task)
        for path in run.models()
    }
    return {
        "data": source or read_data(run)["source"],
        "note": chosen.note,
        "task": task.name,
        "metric": metric.to_dict(),
        "test_images": totals.samples,
        **figures,
        **task.details(sums),
        f"test_{metric.name}_files": found,
        "cautions": int8_comparison.lost(metric, found, figures[f"test_{metric.name}"]),
    }
