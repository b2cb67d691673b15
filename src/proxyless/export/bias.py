"""Biases of an ONNX model corrected by what quantising moves the mean of each channel.

See Nagel et al., Data-free quantization through weight equalization and bias correction (arXiv:1906.04721), 4.2,
here with means on samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyless.export.calibration import Feed, observed
from proxyless.export.equalize import WEIGHTED, own_weights

STEPS = 2
"""Corrections of all biases at once: one changes what the next layers are given."""


def corrected(model: Any, quantized: Callable[[Any], Any], feeds: Sequence[Feed]) -> Any:
    """``quantized(model)`` with the biases of ``model`` moved so that channels have the means of ``model``.

    Args:
        quantized: makes the int8 model of a model.
        feeds: samples of what it is run on.
    """
    import onnx

    moved = onnx.ModelProto()
    moved.CopyFrom(model)
    own_weights(moved)
    wanted = _means(moved, feeds)
    result = quantized(moved)
    for _ in range(STEPS):
        found = _means(result, feeds)
        weights = {tensor.name: tensor for tensor in moved.graph.initializer}
        for node in moved.graph.node:
            bias = node.input[2] if node.op_type in WEIGHTED and len(node.input) > 2 else ""
            if bias in weights and node.name in wanted and node.name in found:
                values = onnx.numpy_helper.to_array(weights[bias]) + wanted[node.name] - found[node.name]
                weights[bias].CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), bias))
        result = quantized(moved)
    return result


def _means(model: Any, feeds: Sequence[Feed]) -> dict[str, NDArray[np.float64]]:
    """The mean of each channel that a convolution or matrix product gives, by the operator's name."""
    outputs = {node.output[0]: node.name for node in model.graph.node if node.op_type in WEIGHTED}
    sums: dict[str, NDArray[np.float64]] = {}
    counts: dict[str, int] = {}
    for values in observed(model, feeds):
        for tensor, name in outputs.items():
            if tensor in values:
                array = values[tensor]
                axes = tuple(d for d in range(array.ndim) if d != 1)
                sums[name] = sums.get(name, 0.0) + array.sum(axis=axes, dtype=np.float64)
                counts[name] = counts.get(name, 0) + array.size // array.shape[1]
    return {name: total / counts[name] for name, total in sums.items()}
