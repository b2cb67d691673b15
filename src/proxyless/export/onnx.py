"""Networks as ONNX: written, and checked against PyTorch."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from proxyless import files
from proxyless.errors import ProxylessError, first_line
from proxyless.export.onnx_session import input_names, run, session
from proxyless.export.plain import OPSET, with_lowest_versions, without_subnormals
from proxyless.export.silence import silence
from proxyless.modules.copying import unparametrized
from proxyless.modules.modes import evaluation


@dataclass(frozen=True)
class Exported:
    """What is to be said of a file that was written.

    Args:
        difference: the largest absolute difference between the outputs of ONNX Runtime and PyTorch.
        subnormals: weights too small for a normal number, which the file has as zeros.
    """

    difference: float
    subnormals: int


def to_onnx(module: nn.Module, inputs: Sequence[Tensor], *, dynamic_batch: bool = True) -> bytes:
    """``module`` in evaluation mode as a serialised ONNX model with inputs ``input``, ``input1``... and one ``output``.

    It is plain: see :mod:`proxyless.export.plain`.

    Args:
        inputs: example tensors; with ``dynamic_batch`` their first dimension is free in the model.

    Raises:
        ProxylessError: the module has an operator that ONNX export does not know; names the operator, and the part of
            the module that has it.
    """
    return _converted(module, inputs, dynamic_batch)[0].SerializeToString()


def _converted(module: nn.Module, inputs: Sequence[Tensor], dynamic_batch: bool = True) -> tuple[Any, int]:
    """The model of :func:`to_onnx`, and how many of its weights were too small and are zero now."""
    import onnx

    try:
        model = onnx.load_from_string(_traced(module, inputs, dynamic_batch))
    except Exception as error:  # the exporter raises errors of many kinds
        raise ProxylessError(f"{_part(module, inputs)} cannot be exported to ONNX: {_reason(error)}") from error
    subnormals = without_subnormals(model)
    with_lowest_versions(model)
    return model, subnormals


def _traced(module: nn.Module, inputs: Sequence[Tensor], dynamic_batch: bool) -> bytes:
    module = unparametrized(module)
    names = input_names(len(inputs))
    axes = {name: {0: "batch"} for name in [*names, "output"]} if dynamic_batch else None
    buffer = io.BytesIO()
    # The exporter that traces: far quicker than the newer one, and a space has a hundred candidates. Where it fails,
    # it prints all it has of the graph.
    with evaluation(module), silence():
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
    return buffer.getvalue()


def _part(module: nn.Module, inputs: Sequence[Tensor]) -> str:
    """In words, the innermost part of ``module`` that cannot be exported by itself either."""
    whole = type(module).__name__
    seen: dict[str, tuple[Any, ...]] = {}
    names = {part: name for name, part in module.named_modules() if name}

    def remember(part: nn.Module, given: tuple[Any, ...]) -> None:
        seen.setdefault(names[part], given)

    plain = [part for part in names if not isinstance(part, torch.jit.ScriptModule)]
    hooks = [part.register_forward_pre_hook(remember) for part in plain]
    try:
        with evaluation(module), torch.no_grad(), silence():
            module(*inputs)
    except Exception:  # it cannot even be run: then no part of it is to blame
        return whole
    finally:
        for hook in hooks:
            hook.remove()
    found = ""
    for name, part in module.named_modules():
        tensors = seen.get(name, ())
        if name.startswith(found) and tensors and all(isinstance(value, Tensor) for value in tensors):
            try:
                _traced(part, tensors, dynamic_batch=False)
            except Exception:  # as the whole does
                found = f"{name}."
    name = found.removesuffix(".")
    return f"{name} ({type(module.get_submodule(name)).__name__}) of {whole}" if name else whole


def _reason(error: Exception) -> str:
    """The first line of what the exporter says, without what it asks of PyTorch's users."""
    return re.split(r"\s*\.* Please feel free| {1,2}\[Caused by", first_line(error))[0].removeprefix("Unsupported: ")


def export(network: nn.Module, images: Tensor, path: Path, *, metadata: Mapping[str, Any]) -> Exported:
    """Write ``network`` as ``path``, with a free batch size, and compare it with PyTorch on real ``images``.

    Args:
        images: normalised images (batch, channels, height, width) of the data the network is for.
        metadata: JSON values stored in the model, such as classes and preprocessing.

    Raises:
        ProxylessError: the outputs differ by more than 1e-4 of their largest; nothing is written then.
    """
    import onnx

    model, subnormals = _converted(network, [images[:1]])
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
    return Exported(difference, subnormals)
