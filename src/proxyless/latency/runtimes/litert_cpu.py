"""LiteRT on the CPU, with its XNNPACK kernels: the runtime of Android apps, once called TensorFlow Lite."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from proxyless.errors import ProxylessError, first_line
from proxyless.latency.device import Device, Precision
from proxyless.latency.runtimes import check_precision
from proxyless.latency.runtimes.clock import wall_clock_ms
from proxyless.supernet import evaluation

SIGNATURE = "serving_default"  # what the converter calls the one function of a model; its inputs are args_0, args_1...


class LiteRTCpu:
    """Runs a module as a LiteRT model in float32 or, with weights and activations quantised after training, in int8.

    Images and feature maps enter and leave channels last, as LiteRT stores them: a candidate measured alone then has
    none of the transpositions that it would not have inside a network either.
    """

    reads_onnx = False

    def version(self) -> str:
        try:
            return f"{metadata.version('ai-edge-litert')}, litert-torch {metadata.version('litert-torch')}"
        except metadata.PackageNotFoundError as error:
            raise _missing(error) from None

    def prepare(self, module: nn.Module, inputs: Sequence[Tensor], device: Device) -> _Interpreter:
        check_precision(device, Precision.FLOAT32, Precision.INT8)
        with _silence():
            arrays = [_channels_last(x).contiguous().numpy() for x in inputs]
            content = _converted(module, inputs)
            if device.precision == Precision.INT8:
                content = _quantised(content, arrays, type(module).__name__)
            return _Interpreter(content, arrays, device.threads)

    def load(self, model: Path, inputs: Sequence[Tensor], device: Device) -> _Interpreter:
        raise ProxylessError(f"{model}: LiteRT cannot run an ONNX file; measure the module")


class _Interpreter:
    def __init__(self, content: bytes, arrays: Sequence[NDArray[np.float32]], threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            self.interpreter: Any = Interpreter(model_content=content, num_threads=threads)
            self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ProxylessError(f"LiteRT cannot load the model: {first_line(error)}") from None
        details = self.interpreter.get_signature_runner(SIGNATURE).get_input_details()
        for number, array in enumerate(arrays):
            detail = details.get(f"args_{number}")
            if detail is None:
                continue  # the module does not read this input
            if detail["dtype"] == np.int8:
                scale, zero = detail["quantization"]
                array = np.clip(np.round(array / scale + zero), -128, 127).astype(np.int8)
            self.interpreter.set_tensor(detail["index"], array)

    def times_ms(self, count: int) -> NDArray[np.float64]:
        return wall_clock_ms(self.interpreter.invoke, count)

    def outputs(self) -> list[NDArray[Any]]:
        self.interpreter.invoke()
        return [_channels_first(self._value(detail)) for detail in self.interpreter.get_output_details()]

    def _value(self, detail: dict[str, Any]) -> NDArray[Any]:
        value: NDArray[Any] = self.interpreter.get_tensor(detail["index"])
        if value.dtype != np.int8:
            return value
        scale, zero = detail["quantization"]
        return (value.astype(np.float32) - zero) * scale


def to_tflite(module: nn.Module, inputs: Sequence[Tensor]) -> bytes:
    """``module`` in evaluation mode as a LiteRT (TFLite) model in float32, its images channels last.

    Raises:
        ProxylessError: LiteRT is not installed, or the module has an operator that it does not know.
    """
    with _silence():
        return _converted(module, inputs)


def _converted(module: nn.Module, inputs: Sequence[Tensor]) -> bytes:
    try:
        import litert_torch
    except ImportError as error:
        raise _missing(error) from None
    wrapped = _ChannelsLast(module)
    try:
        with evaluation(wrapped):
            model = litert_torch.convert(wrapped, tuple(_channels_last(x).contiguous() for x in inputs))
        return bytes(model.model_content())
    except Exception as error:  # PyTorch's exporter, JAX and the converter raise errors of many kinds
        raise ProxylessError(f"{type(module).__name__} cannot be converted to LiteRT: {first_line(error)}") from error


def _quantised(content: bytes, arrays: Sequence[NDArray[np.float32]], name: str) -> bytes:
    """The model with int8 weights and activations, whose ranges are those on the example inputs: enough for a time."""
    try:
        from ai_edge_quantizer import quantizer, recipe
    except ImportError as error:
        raise _missing(error) from None
    try:
        examples = {SIGNATURE: [{f"args_{number}": array for number, array in enumerate(arrays)}]}
        program = quantizer.Quantizer(bytearray(content), recipe.static_wi8_ai8())
        return bytes(program.quantize(program.calibrate(examples)).quantized_model)
    except Exception as error:  # the quantiser raises errors of many kinds
        raise ProxylessError(f"{name} cannot be quantised to int8 for LiteRT: {first_line(error)}") from error


def _channels_last(x: Tensor) -> Tensor:
    """(batch, channels, height, width) as (batch, height, width, channels); other tensors as they are."""
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def _channels_first(x: NDArray[Any]) -> NDArray[Any]:
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


class _ChannelsLast(nn.Module):
    """Takes and gives images channels last; the converter cancels these permutations against its own."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor:
        return _channels_last(self.module(*(x.permute(0, 3, 1, 2) if x.ndim == 4 else x for x in inputs)))


def _missing(error: ImportError) -> ProxylessError:
    return ProxylessError(f"LiteRT cannot be imported ({first_line(error)}): pip install 'proxyless[litert]'")


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing printed: not by Python's loggers and warnings, nor by C++ code, which writes to descriptor 2 itself."""
    disabled = logging.root.manager.disable
    with suppress(AttributeError, ValueError):  # no standard error, or a closed one
        sys.stderr.flush()
    shown = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        logging.disable(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        with suppress(AttributeError, ValueError):
            sys.stderr.flush()
        os.dup2(shown, 2)
        os.close(shown)
