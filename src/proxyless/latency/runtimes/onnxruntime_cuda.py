"""ONNX Runtime on an NVIDIA GPU, with its own CUDA kernels or with TensorRT."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from proxyless.errors import ProxylessError
from proxyless.export.onnx import to_onnx
from proxyless.export.onnx_session import input_names
from proxyless.latency.device import Device, Precision
from proxyless.latency.runtimes import RUNTIMES, check_precision, failing_as
from proxyless.latency.timing.clock import wall_clock_ms
from proxyless.machine.onnx_runtime import CPU, Provider, import_onnxruntime, open_session


class OnnxRuntimeCuda:
    """Runs a module as ONNX on the first GPU that is visible, in float32 or float16.

    Inputs and outputs stay in the memory of the GPU, so that no copies between host and GPU are timed. A run returns
    when the GPU has finished, so the clock of the host is right. In float32 the default of ONNX Runtime decides about
    TF32.
    """

    provider = "CUDAExecutionProvider"

    def version(self) -> str:
        onnxruntime = import_onnxruntime()

        if self.provider not in onnxruntime.get_available_providers():
            raise ProxylessError(
                f"this ONNX Runtime {onnxruntime.__version__} has no {self.provider}:"
                " pip install --force-reinstall --no-deps onnxruntime-gpu"
            )
        return str(onnxruntime.__version__)

    def prepare(self, module: nn.Module, inputs: Sequence[Tensor], device: Device) -> _Bound:
        model = to_onnx(module, inputs, dynamic_batch=False)
        with failing_as(f"{type(module).__name__} cannot be run by {_title(device)}"):
            return self._bound(model, [x.numpy() for x in inputs], device)

    def load(self, model: Path, inputs: Sequence[NDArray[np.float32]], device: Device) -> _Bound:
        with failing_as(f"cannot be run by {_title(device)}"):
            return self._bound(model.read_bytes(), inputs, device)

    def providers(self, device: Device) -> list[tuple[str, dict[str, str]]]:
        """Return the execution providers with their options, by preference."""
        return [(self.provider, {"device_id": "0", "cudnn_conv_algo_search": "EXHAUSTIVE"})]

    def converted(self, model: bytes, device: Device) -> bytes:
        """Convert a model to the precision of ``device``, inputs and outputs included."""
        return half(model) if device.precision is Precision.FLOAT16 else model

    def _bound(self, model: bytes, inputs: Sequence[NDArray[np.float32]], device: Device) -> _Bound:
        check_precision(device, Precision.FLOAT32, Precision.FLOAT16)
        self.version()
        providers: list[Provider] = [*self.providers(device), CPU]
        session = open_session(self.converted(model, device), threads=device.threads, providers=providers)
        return _Bound(session, inputs)


class OnnxRuntimeTensorRT(OnnxRuntimeCuda):
    """Runs a module as ONNX with TensorRT, which builds an engine for it: in seconds, or a minute for a network."""

    provider = "TensorrtExecutionProvider"

    def version(self) -> str:
        version = super().version()
        with suppress(ImportError):  # its Python package is one way to have its libraries, and loads them
            import tensorrt

            return f"{version}, TensorRT {tensorrt.__version__}"
        return version

    def providers(self, device: Device) -> list[tuple[str, dict[str, str]]]:
        options = {"device_id": "0", "trt_fp16_enable": "1" if device.precision is Precision.FLOAT16 else "0"}
        return [(self.provider, options), *super().providers(device)]

    def converted(self, model: bytes, device: Device) -> bytes:
        return model  # TensorRT chooses the precision of every layer itself


class _Bound:
    """A session with its inputs in the memory of the GPU, which writes its outputs to the same place every time."""

    def __init__(self, session: Any, inputs: Sequence[NDArray[np.float32]], memory: str = "cuda") -> None:
        onnxruntime = import_onnxruntime()

        self.session = session
        self.binding = session.io_binding()
        types = {value.name: value.type for value in session.get_inputs()}
        for name, array in zip(input_names(len(inputs)), inputs, strict=True):
            if name not in types:
                continue  # a module that does not read an input has lost it in the export
            if types[name] == "tensor(float16)":
                array = array.astype(np.float16)
            self.binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, memory, 0))
        names = [value.name for value in session.get_outputs()]
        for name in names:
            self.binding.bind_output(name, memory, 0)
        self._run()  # finds the shapes of the outputs, and takes memory for them
        for name, value in zip(names, self.binding.get_outputs(), strict=True):
            self.binding.bind_ortvalue_output(name, value)

    def _run(self) -> None:
        self.session.run_with_iobinding(self.binding)

    def times_ms(self, count: int) -> NDArray[np.float64]:
        return wall_clock_ms(self._run, count)

    def outputs(self) -> list[NDArray[Any]]:
        self._run()
        found: list[NDArray[Any]] = self.binding.copy_outputs_to_cpu()
        return found


def _title(device: Device) -> str:
    return RUNTIMES.get(device.runtime).title


def half(model: bytes) -> bytes:
    """Convert an ONNX model so that weights, activations, inputs and outputs are float16."""
    import onnx

    convert = import_onnxruntime("onnxruntime.transformers.float16").convert_float_to_float16
    converted: bytes = convert(onnx.load_from_string(model)).SerializeToString()
    return converted
