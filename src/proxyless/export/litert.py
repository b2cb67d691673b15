"""Networks as LiteRT files, once called TFLite: written, quantised, and checked against PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from proxyless import files
from proxyless.errors import ProxylessError, first_line
from proxyless.export.calibration import Activations, Method, ranges_of
from proxyless.export.comparison import checked_difference
from proxyless.export.litert_session import SIGNATURE, Session, imported, run
from proxyless.export.silence import silence
from proxyless.export.subnormals import subnormals_as_zeros
from proxyless.modules.modes import evaluation


def to_tflite(module: nn.Module, inputs: Sequence[Tensor]) -> bytes:
    """Convert a module in evaluation mode to a float32 LiteRT model, whose images are channels last.

    Args:
        module: the module.
        inputs: example tensors; their batch size is that of the model.

    Returns:
        what stands in the file.

    Raises:
        ProxylessError: LiteRT is not installed, or the module has an operator that it does not know.
    """
    litert_torch = imported("litert_torch")
    wrapped = _ChannelsLast(module)
    try:
        with silence(), evaluation(wrapped), subnormals_as_zeros(module):
            model = litert_torch.convert(wrapped, tuple(channels_last(x).contiguous() for x in inputs))
            return bytes(model.model_content())
    except Exception as error:  # PyTorch's exporter, JAX and the converter raise errors of many kinds
        raise ProxylessError(f"{type(module).__name__} cannot be converted to LiteRT: {first_line(error)}") from error


METHODS = (Method.MSE, Method.MINMAX, None, Method.PERCENTILE)
"""Ways to find the ranges of activations, tried one after the other until one is good enough; None is LiteRT's own."""


def quantized(
    model: bytes, samples: Sequence[Sequence[NDArray[np.float32]]], method: Method | None = Method.MINMAX
) -> bytes:
    """Quantise a LiteRT model to int8 weights and activations, and int8 inputs and outputs.

    Args:
        model: what :func:`to_tflite` returned.
        samples: inputs of inferences like those to come, channels last; of one inference, an array for each input that
            the module was converted with. Some images for accuracy; one random sample is enough for a time.
        method: how the ranges of activations follow from their values on the samples. None is LiteRT's own way, a
            moving average, for which the last samples count most.

    Raises:
        ProxylessError: LiteRT is not installed, or cannot quantise the model.
    """
    quantizer, recipe = (imported(f"ai_edge_quantizer.{name}") for name in ("quantizer", "recipe"))
    examples = [{f"args_{number}": array for number, array in enumerate(sample)} for sample in samples]
    try:
        with silence():
            program = quantizer.Quantizer(bytearray(model), recipe.static_wi8_ai8())
            if method is None:
                statistics = program.calibrate({SIGNATURE: examples})
            else:  # one sample shows which statistics the quantiser asks for
                statistics = _with_ranges(program.calibrate({SIGNATURE: examples[:1]}), model, samples, method)
            return bytes(program.quantize(statistics).quantized_model)
    except ProxylessError:
        raise
    except Exception as error:  # the quantiser raises errors of many kinds
        raise ProxylessError(f"LiteRT cannot quantise the model to int8: {first_line(error)}") from error


def _with_ranges(
    statistics: dict[str, Any], model: bytes, samples: Sequence[Sequence[NDArray[np.float32]]], method: Method
) -> dict[str, Any]:
    """The quantiser's statistics of tensors, with the ranges of activations as ``method`` finds them."""
    session = Session(model, keep_all=True)
    names = [name for name, of_tensor in statistics.items() if of_tensor and np.size(of_tensor["min"]) == 1]

    def observe() -> Iterator[Activations]:
        for sample in samples:
            session.set_inputs(sample)
            session.invoke()
            yield session.tensors(names)

    found = dict(statistics)
    for name, (low, high) in ranges_of(observe, method).items():
        like = statistics[name]
        found[name] = {**like, "min": np.full_like(like["min"], low), "max": np.full_like(like["max"], high)}
    return found


def samples(images: Tensor, batch: int) -> list[list[NDArray[np.float32]]]:
    """Group images into the samples that :func:`quantized` takes.

    Args:
        images: normalised images (number, channels, height, width). The last ones are left out where they do not fill
            an inference, unless there are no others.
        batch: images that the model runs at once.
    """
    whole = images if len(images) >= batch else images.repeat(-(-batch // len(images)), 1, 1, 1)
    parts = channels_last(whole).contiguous().split(batch)
    return [[part.numpy()] for part in parts if len(part) == batch]


def export(network: nn.Module, images: Tensor, path: Path, *, batch: int = 1) -> None:
    """Write a network as a LiteRT file, once its outputs have been compared with PyTorch's.

    Args:
        network: the trained network.
        images: normalised images (number, channels, height, width) of the data the network is for.
        path: the file.
        batch: images of one inference, a fixed number.

    Raises:
        ProxylessError: LiteRT is not installed or cannot convert the network, or outputs differ by more than 1e-3 of
            their largest; nothing is written then.
    """
    content = to_tflite(network, [images[:1].expand(batch, -1, -1, -1)])
    with evaluation(network), torch.no_grad():
        expected = network(images).numpy()
    found = run(Session(content), images.numpy())
    checked_difference(found, expected, path, most=1e-3, whose="LiteRT's outputs")
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)


def channels_last(x: Tensor) -> Tensor:
    """Permute (batch, channels, height, width) to (batch, height, width, channels); other tensors stay as they are."""
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


class _ChannelsLast(nn.Module):
    """Takes and gives images channels last; the converter cancels these permutations against its own."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor:
        return channels_last(self.module(*(x.permute(0, 3, 1, 2) if x.ndim == 4 else x for x in inputs)))
