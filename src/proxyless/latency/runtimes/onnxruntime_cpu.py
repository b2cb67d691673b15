"""ONNX Runtime on the CPU, in float32 or int8."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from proxyless.export.onnx_session import input_names
from proxyless.latency.device import Device, Precision
from proxyless.latency.runtimes import check_precision, failing_as
from proxyless.latency.timing.onnx_models import OnnxModel
from proxyless.machine.onnx_runtime import import_onnxruntime, open_session

if TYPE_CHECKING:
    from torch import Tensor, nn


class OnnxRuntimeCpu:
    """Runs a module as ONNX with the CPU provider and a fixed number of threads.

    In int8 the ranges of the activations are those on the example inputs, which is enough for a time, but not for
    accuracy. Inputs and outputs stay float32, so that a candidate that is measured alone converts them on either side.
    """

    def version(self) -> str:
        return str(import_onnxruntime().__version__)

    def convert(self, module: nn.Module, inputs: Sequence[Tensor], device: Device) -> bytes:
        from proxyless.export.onnx import to_onnx
        from proxyless.export.quantize import quantized

        check_precision(device, Precision.FLOAT32, Precision.INT8)
        model = to_onnx(module, inputs, dynamic_batch=False)
        if device.precision is Precision.FLOAT32:
            return model
        with failing_as(f"{type(module).__name__} cannot be quantised for ONNX Runtime"):
            return quantized(model, [[x.numpy() for x in inputs]])

    def prepare(self, module: nn.Module, inputs: Sequence[Tensor], device: Device) -> OnnxModel:
        model = self.convert(module, inputs, device)
        with failing_as(f"{type(module).__name__} cannot be run by ONNX Runtime"):
            return _opened(model, [x.numpy() for x in inputs], device)

    def load(self, model: Path, inputs: Sequence[NDArray[np.float32]], device: Device) -> OnnxModel:
        with failing_as("cannot be run by ONNX Runtime"):
            return _opened(model.read_bytes(), inputs, device)


def _opened(content: bytes, inputs: Sequence[NDArray[np.float32]], device: Device) -> OnnxModel:
    named = zip(input_names(len(inputs)), inputs, strict=True)
    return OnnxModel(open_session(content, threads=device.threads), dict(named))
