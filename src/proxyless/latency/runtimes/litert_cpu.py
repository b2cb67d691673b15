"""LiteRT on the CPU, with its XNNPACK kernels: the runtime of Android apps, once called TensorFlow Lite."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from proxyless.export import litert_session
from proxyless.latency.device import Device, Precision
from proxyless.latency.runtimes import check_precision, failing_as
from proxyless.latency.timing.clock import wall_clock_ms

if TYPE_CHECKING:
    from torch import Tensor, nn


class LiteRTCpu:
    """Runs a module as a LiteRT model, in float32 or, with weights and activations quantised after training, in int8.

    Images and feature maps enter and leave channels last, as LiteRT stores them. So a candidate that is measured alone
    has no transpositions, just as inside a network. In int8 the ranges of the activations are those on the example
    inputs, which is enough for a time, but not for accuracy.
    """

    def version(self) -> str:
        try:
            return f"{metadata.version('ai-edge-litert')}, litert-torch {metadata.version('litert-torch')}"
        except metadata.PackageNotFoundError as error:
            raise litert_session.missing(error) from None

    def convert(self, module: nn.Module, inputs: Sequence[Tensor], device: Device) -> bytes:
        from proxyless.export import litert

        check_precision(device, Precision.FLOAT32, Precision.INT8)
        content = litert.to_tflite(module, inputs)
        if device.precision is Precision.FLOAT32:
            return content
        return litert.quantized(content, [[_channels_last(x.numpy()) for x in inputs]])

    def prepare(self, module: nn.Module, inputs: Sequence[Tensor], device: Device) -> _Loaded:
        content = self.convert(module, inputs, device)
        return _Loaded(content, [x.numpy() for x in inputs], device)

    def load(self, model: Path, inputs: Sequence[NDArray[np.float32]], device: Device) -> _Loaded:
        check_precision(device, Precision.FLOAT32, Precision.INT8)
        with failing_as("cannot be run by LiteRT"):
            return _Loaded(model.read_bytes(), inputs, device)


class _Loaded:
    def __init__(self, content: bytes, inputs: Sequence[NDArray[np.float32]], device: Device) -> None:
        self.session = litert_session.Session(content, threads=device.threads)
        self.session.set_inputs([_channels_last(x) for x in inputs])
        self.session.invoke()

    def times_ms(self, count: int) -> NDArray[np.float64]:
        return wall_clock_ms(self.session.invoke, count)

    def outputs(self) -> list[NDArray[Any]]:
        self.session.invoke()
        return [x.transpose(0, 3, 1, 2) if x.ndim == 4 else x for x in self.session.outputs()]


def _channels_last(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x
