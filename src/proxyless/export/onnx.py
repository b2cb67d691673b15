"""Networks as ONNX: written, and checked against PyTorch."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from proxyless import files
from proxyless.errors import ProxylessError, first_line
from proxyless.export.comparison import checked_difference
from proxyless.export.onnx_session import input_names, run, session
from proxyless.export.onnx_versions import OPSET, with_lowest_versions
from proxyless.export.silence import silence
from proxyless.export.subnormals import without_subnormals
from proxyless.modules.copying import unparametrized
from proxyless.modules.modes import evaluation


@dataclass(frozen=True)
class Exported:
    """What is known of a file that was written.

    Args:
        difference: the largest absolute difference between the outputs of ONNX Runtime and PyTorch.
        subnormals: weights too small for a normal number, which the file has as zeros.
    """

    difference: float
    subnormals: int


def to_onnx(module: nn.Module, inputs: Sequence[Tensor], *, dynamic_batch: bool = True) -> bytes:
    """Export a module in evaluation mode to an ONNX model with inputs ``input``, ``input1``... and one ``output``.

    The model imports the lowest versions of operators that mean the same (:mod:`proxyless.export.onnx_versions`), and
    its weights are normal numbers or zero (:mod:`proxyless.export.subnormals`).

    Args:
        module: the module.
        inputs: example tensors.
        dynamic_batch: whether the first dimension of inputs and output is free in the model.

    Returns:
        what stands in the file.

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
    """Write a network as an ONNX file with a free batch size, once its outputs have been compared with PyTorch's.

    Args:
        network: the trained network.
        images: normalised images (batch, channels, height, width) of the data the network is for.
        path: the file.
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
    difference = checked_difference(run(session(content), images.numpy()), expected, path, most=1e-4)
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)
    return Exported(difference, subnormals)
