"""Networks as ONNX: written, and checked against PyTorch."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from proxyless import files
from proxyless.errors import ProxylessError, first_line
from proxyless.export.onnx_session import input_names, run, session
from proxyless.supernet import evaluation

OPSET = 17


def to_onnx(module: nn.Module, inputs: Sequence[Tensor], *, dynamic_batch: bool = True) -> bytes:
    """``module`` in evaluation mode as a serialised ONNX model with inputs ``input``, ``input1``... and one ``output``.

    Args:
        inputs: example tensors; with ``dynamic_batch`` their first dimension is free in the model.

    Raises:
        ProxylessError: the module has an operator that ONNX export does not know.
    """
    names = input_names(len(inputs))
    axes = {name: {0: "batch"} for name in [*names, "output"]} if dynamic_batch else None
    buffer = io.BytesIO()
    try:
        # The exporter that traces: far quicker than the newer one, and a space has a hundred candidates.
        with evaluation(module), warnings.catch_warnings(), _quiet("torch.onnx"):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                tuple(inputs),
                buffer,  # type: ignore[arg-type]  # annotated as a path, documented to take a file
                input_names=names,
                output_names=["output"],
                dynamic_axes=axes,
                opset_version=OPSET,
                dynamo=False,
            )
    except Exception as error:  # the exporter raises errors of many kinds
        raise ProxylessError(f"{type(module).__name__} cannot be exported to ONNX: {first_line(error)}") from error
    return buffer.getvalue()


class _quiet:  # noqa: N801  (reads as a verb)
    """Silences one logger below errors."""

    def __init__(self, name: str) -> None:
        self.logger = logging.getLogger(name)

    def __enter__(self) -> None:
        self.level = self.logger.level
        self.logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self.logger.setLevel(self.level)


def export(network: nn.Module, images: Tensor, path: Path, *, metadata: Mapping[str, Any]) -> float:
    """Write ``network`` as ``path``, with a free batch size, and compare it with PyTorch on real ``images``.

    Args:
        images: normalised images (batch, channels, height, width) of the data the network is for.
        metadata: JSON values stored in the model, such as classes and preprocessing.

    Returns:
        the largest absolute difference between the outputs of ONNX Runtime and PyTorch.

    Raises:
        ProxylessError: the outputs differ by more than 1e-4 of their largest; nothing is written then.
    """
    import onnx

    model = onnx.load_from_string(to_onnx(network, [images[:1]]))
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    with evaluation(network), torch.no_grad():
        expected = network(images).numpy()
    found = run(session(content), images.numpy())
    difference = float(np.abs(found - expected).max())
    if difference > 1e-4 * max(1.0, float(np.abs(expected).max())):
        raise ProxylessError(f"{path}: ONNX Runtime's outputs differ from PyTorch's by {difference:.2g}; not written")
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)
    return difference
