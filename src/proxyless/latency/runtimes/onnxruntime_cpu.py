"""ONNX Runtime on the CPU, in float32 or int8."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from proxyless.export.onnx_session import imported, input_names, session
from proxyless.latency.device import Device, Precision
from proxyless.latency.runtimes import Format, check_precision, failing_as
from proxyless.latency.timing.clock import wall_clock_ms

if TYPE_CHECKING:
    from torch import Tensor, nn


class OnnxRuntimeCpu:
    """Runs a module as ONNX with the CPU provider and a fixed number of threads.

    In int8 the ranges of the activations are those on the example inputs: enough for a time, not for accuracy. Inputs
    and outputs stay float32, so that a candidate measured alone has a conversion on either side.
    """

    format = Format.ONNX

    def version(self) -> str:
        return str(imported().__version__)

    def convert(self, module: nn.Module, inputs: Sequence[Tensor], device: Device) -> bytes:
        from proxyless.export.onnx import to_onnx
        from proxyless.export.quantize import quantized

        check_precision(device, Precision.FLOAT32, Precision.INT8)
        model = to_onnx(module, inputs, dynamic_batch=False)
        if device.precision is Precision.FLOAT32:
            return model
        with failing_as(f"{type(module).__name__} cannot be quantised for ONNX Runtime"):
            return quantized(model, [[x.numpy() for x in inputs]])

    def prepare(self, module: nn.Module, inputs: Sequence[Tensor], device: Device) -> _Session:
        model = self.convert(module, inputs, device)
        with failing_as(f"{type(module).__name__} cannot be run by ONNX Runtime"):
            return _Session(session(model, threads=device.threads), [x.numpy() for x in inputs])

    def load(self, model: Path, inputs: Sequence[NDArray[np.float32]], device: Device) -> _Session:
        with failing_as("cannot be run by ONNX Runtime"):
            return _Session(session(model, threads=device.threads), inputs)


class _Session:
    def __init__(self, session: Any, inputs: Sequence[NDArray[np.float32]]) -> None:
        self.session = session
        # A module that does not read an input, such as Zero, has lost it in the export.
        used = {value.name for value in session.get_inputs()}
        named = zip(input_names(len(inputs)), inputs, strict=True)
        self.feed = {name: array for name, array in named if name in used}
        self.outputs()

    def times_ms(self, count: int) -> NDArray[np.float64]:
        return wall_clock_ms(lambda: self.session.run(None, self.feed), count)

    def outputs(self) -> list[NDArray[Any]]:
        found: list[NDArray[Any]] = self.session.run(None, self.feed)
        return found
