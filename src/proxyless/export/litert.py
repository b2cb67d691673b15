"""Networks as LiteRT files, once called TFLite: written, quantised, checked against PyTorch, and run."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from proxyless import files
from proxyless.errors import ProxylessError, first_line
from proxyless.supernet import evaluation

SIGNATURE = "serving_default"  # what the converter calls the one function of a model; its inputs are args_0, args_1...


def to_tflite(module: nn.Module, inputs: Sequence[Tensor]) -> bytes:
    """``module`` in evaluation mode as a float32 LiteRT model for the batch of ``inputs``, images channels last.

    Raises:
        ProxylessError: LiteRT is not installed, or the module has an operator that it does not know.
    """
    litert_torch = _imported("litert_torch")
    wrapped = _ChannelsLast(module)
    try:
        with silence(), evaluation(wrapped):
            model = litert_torch.convert(wrapped, tuple(channels_last(x).contiguous() for x in inputs))
            return bytes(model.model_content())
    except Exception as error:  # PyTorch's exporter, JAX and the converter raise errors of many kinds
        raise ProxylessError(f"{type(module).__name__} cannot be converted to LiteRT: {first_line(error)}") from error


def quantized(model: bytes, samples: Sequence[Sequence[NDArray[np.float32]]]) -> bytes:
    """The ``model`` of :func:`to_tflite` with int8 weights and activations, and int8 inputs and outputs.

    Args:
        samples: inputs of inferences like those to come, channels last; of one inference, an array for each input that
            the module was converted with. Some images for accuracy; one random sample is enough for a time.

    Raises:
        ProxylessError: LiteRT is not installed, or cannot quantise the model.
    """
    quantizer, recipe = (_imported(f"ai_edge_quantizer.{name}") for name in ("quantizer", "recipe"))
    examples = [{f"args_{number}": array for number, array in enumerate(sample)} for sample in samples]
    try:
        with silence():
            program = quantizer.Quantizer(bytearray(model), recipe.static_wi8_ai8())
            return bytes(program.quantize(program.calibrate({SIGNATURE: examples})).quantized_model)
    except Exception as error:  # the quantiser raises errors of many kinds
        raise ProxylessError(f"LiteRT cannot quantise the model to int8: {first_line(error)}") from error


class Session:
    """A LiteRT model, loaded; float32 in and out, also where the model itself computes in int8."""

    def __init__(self, model: bytes, *, threads: int = 1) -> None:
        """
        Raises:
            ProxylessError: LiteRT is not installed, or cannot load the model.
        """
        program = _imported("ai_edge_litert.interpreter")
        try:
            with silence():
                self.interpreter: Any = program.Interpreter(model_content=model, num_threads=threads)
                self.interpreter.allocate_tensors()
                self.inputs: dict[str, Any] = self.interpreter.get_signature_runner(SIGNATURE).get_input_details()
        except (ValueError, RuntimeError) as error:
            raise ProxylessError(f"LiteRT cannot load the model: {first_line(error)}") from None

    def set_inputs(self, arrays: Sequence[NDArray[np.float32]]) -> None:
        """What the next inferences read: an array for each input that the module was converted with, channels last."""
        for number, array in enumerate(arrays):
            detail = self.inputs.get(f"args_{number}")
            if detail is None:
                continue  # the module does not read this input
            if detail["dtype"] == np.int8:
                scale, zero = detail["quantization"]
                array = np.clip(np.round(array / scale + zero), -128, 127).astype(np.int8)
            self.interpreter.set_tensor(detail["index"], array)

    def invoke(self) -> None:
        """One inference."""
        self.interpreter.invoke()

    def outputs(self) -> list[NDArray[np.float32]]:
        """What the last inference computed, images channels last."""
        return [self._value(detail) for detail in self.interpreter.get_output_details()]

    def _value(self, detail: dict[str, Any]) -> NDArray[np.float32]:
        value: NDArray[Any] = self.interpreter.get_tensor(detail["index"])
        if value.dtype != np.int8:
            return value
        scale, zero = detail["quantization"]
        return (value.astype(np.float32) - zero) * np.float32(scale)


def run(session: Session, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs of a network's session for normalised images (batch, channels, height, width), of whatever number.

    The model's own batch size is fixed: images are run in groups of that many, the last one filled up.
    """
    group = int(session.inputs["args_0"]["shape"][0])
    found = []
    for part in np.split(images.transpose(0, 2, 3, 1), range(group, len(images), group)):
        filled = np.concatenate([part, np.zeros((group - len(part), *part.shape[1:]), part.dtype)])
        session.set_inputs([np.ascontiguousarray(filled)])
        session.invoke()
        found.append(session.outputs()[0][: len(part)])
    return np.concatenate(found)


def export(network: nn.Module, images: Tensor, path: Path, *, batch: int = 1, int8: bool = False) -> None:
    """Write ``network`` as ``path`` for inferences on ``batch`` images, compared with PyTorch on real ``images``.

    Args:
        images: normalised images (number, channels, height, width) of the data the network is for; those that int8's
            ranges are taken from.

    Raises:
        ProxylessError: LiteRT is not installed or cannot convert the network, or outputs in float32 differ by more than
            1e-3 of their largest; nothing is written then.
    """
    content = to_tflite(network, [images[:1].expand(batch, -1, -1, -1)])
    with evaluation(network), torch.no_grad():
        expected = network(images).numpy()
    difference = np.abs(run(Session(content), images.numpy()) - expected).max()
    if difference > 1e-3 * max(1.0, float(np.abs(expected).max())):
        raise ProxylessError(f"{path}: LiteRT's outputs differ from PyTorch's by {difference:.2g}; not written")
    if int8:
        samples = channels_last(images).contiguous().split(batch)
        content = quantized(content, [[sample.numpy()] for sample in samples if len(sample) == batch])
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)


def channels_last(x: Tensor) -> Tensor:
    """(batch, channels, height, width) as (batch, height, width, channels); other tensors as they are."""
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


class _ChannelsLast(nn.Module):
    """Takes and gives images channels last; the converter cancels these permutations against its own."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor:
        return channels_last(self.module(*(x.permute(0, 3, 1, 2) if x.ndim == 4 else x for x in inputs)))


def _imported(module: str) -> Any:
    """A module of LiteRT's packages, which write to the terminal when they are imported."""
    try:
        with silence():
            return import_module(module)
    except ImportError as error:
        raise missing(error) from None


def missing(error: ImportError) -> ProxylessError:
    """That LiteRT is not installed."""
    return ProxylessError(f"LiteRT cannot be imported ({first_line(error)}): pip install 'proxyless[litert]'")


@contextmanager
def silence() -> Iterator[None]:
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
