"""The files that a trained network is handed over as beside ``model.onnx``: written, and run on images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from proxyless import files
from proxyless.latency.device import Device, Precision
from proxyless.latency.runtimes import Format, available, runtime
from proxyless.run_folder import RunFolder

Batch = tuple[Tensor, Tensor]


def device_file(run: RunFolder, target: Device) -> Path | None:
    """What ``target`` runs of a finished run; None where it is the module itself, or nothing can be run here."""
    if not target.here:
        return None
    int8 = target.precision is Precision.INT8
    match runtime(target.runtime).format:
        case Format.ONNX:
            return run.onnx_int8 if int8 else run.onnx
        case Format.TFLITE:
            return run.tflite_int8 if int8 else run.tflite
        case Format.MODULE:
            return None


def write(run: RunFolder, path: Path, network: nn.Module, images: Tensor, *, batch: int = 1) -> None:
    """Write ``path``, one of the files of a run that has its ``model.onnx``.

    Args:
        network: the trained network.
        images: normalised held-out images (number, channels, height, width), to compare with PyTorch on and to take
            the ranges of int8 activations from.
        batch: images of one inference, which a TFLite file is made for; ONNX files take any number.

    Raises:
        ProxylessError: the network cannot be converted, or computes something else then.
    """
    if path == run.onnx_int8:
        from proxyless.export.quantize import quantized

        content = quantized(run.onnx.read_bytes(), [[images.numpy()]])
        with files.replacing(path) as temporary:
            temporary.write_bytes(content)
    elif path in (run.tflite, run.tflite_int8):
        from proxyless.export import litert

        litert.export(network, images, path, batch=batch, int8=path == run.tflite_int8)


def not_runnable(path: Path) -> str | None:
    """None where the file can be run here, else the reason, in words."""
    return available("litert" if path.suffix == ".tflite" else "onnxruntime")


def accuracy(path: Path, batches: Iterable[Batch]) -> float:
    """Share of images that the file classifies rightly, run by its own runtime alone on the CPU.

    Raises:
        ProxylessError: the runtime is not installed, or cannot load the file.
    """
    from proxyless.export import litert_session, onnx_session

    run: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    if path.suffix == ".tflite":
        run = partial(litert_session.run, litert_session.Session(path.read_bytes()))
    else:
        run = partial(onnx_session.run, onnx_session.session(path))
    correct = total = 0
    for inputs, targets in batches:
        correct += int((run(inputs.contiguous().numpy()).argmax(axis=1) == targets.numpy()).sum())
        total += len(targets)
    return correct / total
