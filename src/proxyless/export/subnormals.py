"""Weights smaller than any normal float32, with which processors compute ten times slower: they become zero.

To a sum of other weights they add nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from proxyless.export.onnx_graph import constants

TINY = float(np.finfo(np.float32).tiny)
"""The smallest normal float32."""


def without_subnormals(model: Any) -> int:
    """Set the weights of an ONNX model that are no normal numbers to zero, and return how many there were."""
    import onnx

    found = 0
    for tensor in constants(model):
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        small = (np.abs(values) < TINY) & (values != 0)
        if small.any():
            found += int(small.sum())
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.where(small, np.float32(0), values), tensor.name))
    return found


@contextmanager
def subnormals_as_zeros(module: nn.Module) -> Iterator[None]:
    """Let ``module`` have zeros in place of weights that are no normal numbers, as long as the context lasts."""
    before: list[tuple[Tensor, Tensor]] = []
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.dtype == torch.float32:
            values = tensor.detach()
            small = (values.abs() < TINY) & (values != 0)
            if small.any():
                before.append((values, values.clone()))
                values.masked_fill_(small, 0.0)
    try:
        yield
    finally:
        for values, kept in before:
            values.copy_(kept)


def subnormals_note(count: int) -> str:
    """Say in words that ``count`` weights were set to zero."""
    weights = "1 weight below 1.2e-38 is" if count == 1 else f"{count:,} weights below 1.2e-38 are"
    return f"{weights} zero in the exported files: processors compute with such numbers ten times slower"
