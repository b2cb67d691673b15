"""The files that a trained network is handed over as, for other programs: written, and run on images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from proxyless import files
from proxyless.data import Batch, ImageData
from proxyless.export.onnx import Exported
from proxyless.files import reading
from proxyless.job.int8_comparison import Comparison, Run, Times, best, score
from proxyless.job.run_folder import RunFolder
from proxyless.job.settings import Settings
from proxyless.latency.device import Device, Precision, device
from proxyless.latency.measure import measure_files
from proxyless.latency.runtimes import RUNTIMES, Format, why_unavailable
from proxyless.latency.timing.statistics import Effort
from proxyless.tasks import Task

COMPARED = 32
"""Held-out images that a converted network is compared with PyTorch on."""

HELD_OUT = 2000
"""Held-out images that int8 is compared with float32 on, at the most."""

SAMPLES_AT_ONCE = 16
"""Images whose activations are held in memory together while ranges are taken."""


def device_file(run: RunFolder, target: Device) -> Path | None:
    """What ``target`` runs of a finished run; None where it is the module itself, or nothing can be run here."""
    if not target.here:
        return None
    int8 = target.precision is Precision.INT8
    match RUNTIMES.get(target.runtime).format:
        case Format.ONNX:
            return run.onnx_int8 if int8 else run.onnx
        case Format.TFLITE:
            return run.tflite_int8 if int8 else run.tflite
        case Format.MODULE:
            return None


@dataclass(frozen=True)
class Samples:
    """Samples that stand for the data a network is for, as the network takes them: images are normalised.

    Args:
        calibration: inputs (number, ...) that the ranges of int8 are taken from.
        held_out: batches (inputs, targets) of others, to compare int8 with float32 on; iterated more than once.
        compared: inputs to compare a converted network with PyTorch on.
    """

    calibration: Tensor
    held_out: Iterable[Batch]
    compared: Tensor


def image_samples(images: ImageData, settings: Settings, *, int8: bool) -> Samples:
    """Samples of images. Ranges of int8 come from training images, so that held-out ones can judge."""
    count, seed = settings.calibration.images if int8 else 1, settings.seed
    return Samples(
        calibration=images.sample("train", count, seed=seed).images(),
        held_out=images.sample("valid", HELD_OUT if int8 else 1, seed=seed),
        compared=images.sample("valid", COMPARED, seed=seed).images(),
    )


def float32_of(run: RunFolder, path: Path) -> Path:
    """The float32 file that the int8 file ``path`` is made from."""
    return {run.onnx_int8: run.onnx, run.tflite_int8: run.tflite}[path]


def is_int8(run: RunFolder, path: Path) -> bool:
    """Whether the file ``path`` has int8 weights and activations."""
    return path in (run.onnx_int8, run.tflite_int8)


def write_onnx(run: RunFolder, network: nn.Module, images: Tensor) -> Exported:
    """Write ``model.onnx``, compared with PyTorch on ``images``."""
    from proxyless.export import onnx

    return onnx.export(network, images, run.onnx, metadata=files.read_json(run.need(run.model, "train")))


def write_onnx_pixels(run: RunFolder, network: nn.Module, images: Tensor) -> None:
    """Write ``model.pixels.onnx``, and in ``model.json`` what each of the two files takes."""
    from proxyless.export import onnx_pixels

    describe = files.read_json(run.model)
    onnx_pixels.export(network, images, run.onnx_pixels, metadata=describe)
    describe["inputs"] = {
        run.onnx.name: "float32 (batch, channels, height, width), normalised",
        run.onnx_pixels.name: "uint8 (batch, height, width, channels), not normalised",
    }
    files.write_json(run.model, describe)


def write(
    run: RunFolder, path: Path, network: nn.Module, samples: Samples, task: Task, *, batch: int = 1
) -> Comparison | None:
    """Write one of the model files of a run that has its ``model.onnx``.

    An int8 file is made from the float32 one, which is then written too.

    Args:
        run: the run.
        path: the file.
        network: the trained network.
        samples: images to compare with, and to calibrate int8 by.
        task: what is learnt.
        batch: images of one inference, which a TFLite file is made for; ONNX files take any number.

    Returns:
        What int8 loses; None for a float32 file.

    Raises:
        ProxylessError: the network cannot be converted, or computes something else then.
    """
    if path in (run.tflite, run.tflite_int8):
        from proxyless.export import litert

        litert.export(network, samples.compared, run.tflite, batch=batch)
    if not is_int8(run, path):
        return None
    plain = float32_of(run, path)
    content, comparison = best(
        _running(reading.content(plain, reading.LARGEST_MODEL), plain.suffix),
        _quantised(plain, samples.calibration, batch),
        lambda content: _running(content, plain.suffix),
        samples.held_out,
        task,
    )
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)
    return comparison


def _quantised(plain: Path, images: Tensor, batch: int) -> Iterator[tuple[str, bytes]]:
    """The network in the file ``plain`` in int8 in one way after the other, what serves most networks first."""
    model = reading.content(plain, reading.LARGEST_MODEL)
    if plain.suffix == ".tflite":
        from proxyless.export import litert

        for method in litert.METHODS:
            name = "LiteRT's own" if method is None else str(method)
            yield name, litert.quantized(model, litert.samples(images, batch), method)
        return
    from proxyless.export.quantize import RECIPES, quantized

    for recipe in RECIPES:
        yield recipe.name, quantized(model, [[part.numpy()] for part in images.split(SAMPLES_AT_ONCE)], recipe)


def not_runnable(path: Path) -> str | None:
    """None where the file can be run here, else the reason, in words."""
    return why_unavailable("litert" if path.suffix == ".tflite" else "onnxruntime")


def metric_of(path: Path, batches: Iterable[Batch], task: Task) -> float:
    """The metric that counts of what the file answers, run by its own runtime alone on the CPU.

    Args:
        path: the file.
        batches: (inputs, targets).
        task: has the metric.

    Raises:
        ProxylessError: the runtime is not installed, or cannot load the file.
    """
    run = _running(reading.content(path, reading.LARGEST_MODEL), path.suffix)
    answers = ((run(inputs.contiguous().numpy()), (inputs, targets)) for inputs, targets in batches)
    return score(answers, task)


def briefly_measured(path: Path, float32: Path, shape: tuple[int, ...]) -> Times:
    """Measure here, on one thread, whether an int8 file or the float32 one is quicker.

    Args:
        path: the int8 file.
        float32: the float32 file.
        shape: of the images of one inference.
    """
    target = device("cpu-litert-int8" if path.suffix == ".tflite" else "cpu-int8")
    enough = Effort(rounds=8, loadings=2, width=0.05, limit_s=10)
    found, _ = measure_files([path, float32], (shape,), target, enough)
    return Times(*found)


def _running(model: bytes, suffix: str) -> Run:
    from proxyless.export import litert_session, onnx_session

    if suffix == ".tflite":
        return partial(litert_session.run, litert_session.Session(model))
    return partial(onnx_session.run, onnx_session.session(model))
