"""A network in figures: its layers with shapes, MACs and ms, and the versions it was made with."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

import torch

from proxyless.architecture import Architecture
from proxyless.choice import Zero, settled
from proxyless.latency.operators import count_macs, example_inputs
from proxyless.latency.table import LatencyTable
from proxyless.supernet import Supernet, evaluation

PACKAGES = ("proxyless", "torch", "torchvision", "timm", "onnx", "onnxruntime", "numpy")


def layers(
    supernet: Supernet, architecture: Architecture, table: LatencyTable, input_shape: tuple[int, ...]
) -> list[dict[str, Any]]:
    """One entry for each choice: its name, the operation taken, input and output shape, MACs and predicted ms."""
    path = architecture.path(supernet)
    shapes = supernet.input_shapes(*example_inputs(((1, *input_shape),)))
    rows = table.rows
    found = []
    for (name, choice), index in zip(supernet.choices.items(), path, strict=True):
        inputs, module, taken = example_inputs(shapes[name]), settled(choice, index), choice.operations[index]
        with evaluation(module), torch.no_grad():
            output = module(*inputs)
        found.append(
            {
                "name": name,
                "operation": taken,
                "input": list(inputs[0].shape[1:]),
                "output": list(output.shape[1:]),
                "macs": count_macs(module, inputs),
                "ms": rows[name][taken],
                "skipped": isinstance(choice.candidate(index), Zero),
            }
        )
    return found


def versions() -> dict[str, str]:
    """Versions of Python and of the packages a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
