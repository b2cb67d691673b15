"""OpenVINO on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from proxyless.export.onnx_session import input_names
from proxyless.latency.device import Device, Precision
from proxyless.latency.runtimes import check_precision, failing_as
from proxyless.latency.timing.clock import wall_clock_ms

if TYPE_CHECKING:
    from torch import Tensor, nn


class OpenVinoCpu:
    """Runs a module as ONNX with the CPU plugin, one inference at a time, tuned for latency.

    The precision is fixed to float32. By default OpenVINO computes float32 networks in bfloat16 on processors that have
    it, and then the name of the device would not say what was measured.
    """

    def version(self) -> str:
        import openvino

        return str(openvino.__version__).split("-")[0]  # what follows is the build

    def convert(self, module: nn.Module, inputs: Sequence[Tensor], device: Device) -> bytes:
        from proxyless.export.onnx import to_onnx

        check_precision(device, Precision.FLOAT32)
        return to_onnx(module, inputs, dynamic_batch=False)

    def prepare(self, module: nn.Module, inputs: Sequence[Tensor], device: Device) -> _Request:
        model = self.convert(module, inputs, device)
        with failing_as(f"{type(module).__name__} cannot be run by OpenVINO"):
            return self._request(model, [x.numpy() for x in inputs], device)

    def load(self, model: Path, inputs: Sequence[NDArray[np.float32]], device: Device) -> _Request:
        with failing_as("cannot be run by OpenVINO"):
            return self._request(model.read_bytes(), inputs, device)

    @cached_property
    def _core(self) -> Any:
        import openvino

        return openvino.Core()

    def _request(self, content: bytes, inputs: Sequence[NDArray[np.float32]], device: Device) -> _Request:
        check_precision(device, Precision.FLOAT32)
        model = self._core.read_model(content)
        named = dict(zip(input_names(len(inputs)), inputs, strict=True))
        # A module that does not read an input, such as Zero, has lost it in the export.
        used = {value.any_name: named[value.any_name] for value in model.inputs}
        if used:  # a free batch size is settled before compiling, as it would be where latency counts
            model.reshape({name: list(array.shape) for name, array in used.items()})
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": device.threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,  # whoever measures has chosen the cores
        }
        return _Request(self._core.compile_model(model, "CPU", settings), used)


class _Request:
    def __init__(self, compiled: Any, inputs: dict[str, NDArray[np.float32]]) -> None:
        import openvino

        self.compiled = compiled
        self.request = compiled.create_infer_request()
        for name, array in inputs.items():
            self.request.set_tensor(name, openvino.Tensor(array.copy()))
        self.outputs()

    def times_ms(self, count: int) -> NDArray[np.float64]:
        return wall_clock_ms(lambda: self.request.infer(share_outputs=True), count)

    def outputs(self) -> list[NDArray[Any]]:
        self.request.infer(share_outputs=True)
        return [tensor.data.copy() for tensor in self.request.output_tensors]
