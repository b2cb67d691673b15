"""The ranges that activations of a model are quantised over, from what they are on samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyless.errors import ProxylessError
from proxyless.export.onnx_graph import weights_of
from proxyless.export.onnx_session import session

Feed = Mapping[str, NDArray[Any]]
"""What one run of a model reads, by name of input."""

Activations = Mapping[str, NDArray[Any]]
"""The values of a model's activations, by name of tensor."""

Range = tuple[np.float32, np.float32]

BINS = 2048
"""Bins of the histogram of a tensor."""

LEVELS = 256
"""Values that 8 bits can take."""

SHRINKS = np.linspace(1.0, 0.05, 39)
"""By how much an end of the range may be drawn in, as shares of it."""


class Method(StrEnum):
    """How the range of a tensor follows from its values."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"


def observed(model: Any, feeds: Sequence[Feed]) -> Iterator[dict[str, NDArray[Any]]]:
    """Run ``model`` on one of ``feeds`` after the other, and yield every float32 activation by name each time."""
    import onnx

    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    known = {value.name for value in shown.graph.output}
    names = activations(model)
    float32 = onnx.TensorProto.FLOAT
    more = [onnx.helper.make_tensor_value_info(name, float32, None) for name in names if name not in known]
    inputs = {value.name for value in shown.graph.input}
    shown.graph.output.extend(value for value in more if value.name not in inputs)
    running = session(shown.SerializeToString())
    outputs = [name for name in names if name not in inputs]
    for feed in feeds:
        found = dict(zip(outputs, running.run(outputs, dict(feed)), strict=True)) if outputs else {}
        yield found | {name: feed[name] for name in names if name in inputs and name in feed}


def activations(model: Any) -> list[str]:
    """Names of the float32 tensors that ``model`` computes or is given, weights not among them."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    infos = [*inferred.value_info, *inferred.input, *inferred.output]
    types = {value.name: value.type.tensor_type.elem_type for value in infos}
    weights = weights_of(model)
    made = [value.name for value in model.graph.input]
    made += [name for node in model.graph.node for name in node.output if name]
    return [name for name in made if types.get(name) == onnx.TensorProto.FLOAT and name not in weights]


def ranges(model: Any, feeds: Sequence[Feed], method: Method = Method.MINMAX) -> dict[str, Range]:
    """The lowest and highest value of every activation that 8 bits are to reach, 0 always among them.

    Args:
        model: an ONNX model.
        feeds: samples of what it is run on, in groups as large as memory allows.
        method: how the range of a tensor follows from its values.

    Raises:
        ProxylessError: an activation is infinite or no number.
    """
    return ranges_of(lambda: observed(model, feeds), method)


def ranges_of(observe: Callable[[], Iterable[Activations]], method: Method) -> dict[str, Range]:
    """The lowest and highest value of every activation that 8 bits are to reach, 0 always among them.

    Args:
        observe: runs a model on all samples and yields its activations each time; called once or twice.
        method: how the range of a tensor follows from its values.

    Raises:
        ProxylessError: an activation is infinite or no number.
    """
    ends: dict[str, tuple[float, float]] = {}
    for values in observe():
        for name, array in values.items():
            low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
            if not (np.isfinite(low) and np.isfinite(high)):
                raise ProxylessError(f"int8: {name} is not finite on the samples")
            before = ends.get(name, (0.0, 0.0))
            ends[name] = min(low, before[0]), max(high, before[1])
    if method is not Method.MINMAX:
        drawn = {Method.PERCENTILE: _percentile, Method.MSE: _least_error}[method]
        ends = {name: drawn(counts, *ends[name]) for name, counts in _histograms(observe(), ends).items()}
    return {name: (np.float32(low), np.float32(high)) for name, (low, high) in ends.items()}


def _histograms(
    observations: Iterable[Activations], ends: Mapping[str, tuple[float, float]]
) -> dict[str, NDArray[np.int64]]:
    counts = {name: np.zeros(BINS, np.int64) for name in ends}
    for values in observations:
        for name, array in values.items():
            counts[name] += np.histogram(array, BINS, ends[name] if ends[name][0] < ends[name][1] else (0, 1))[0]
    return counts


def _percentile(counts: NDArray[np.int64], low: float, high: float, outside: float = 1e-4) -> tuple[float, float]:
    """The range without the share ``outside`` of the values at either end."""
    edges = np.linspace(low, high, len(counts) + 1)
    share = np.cumsum(counts) / max(1, counts.sum())
    lowest = edges[int(np.searchsorted(share, outside, side="right"))]
    highest = edges[int(np.searchsorted(share, 1 - outside)) + 1]
    return min(0.0, float(lowest)), max(0.0, float(highest))


def _least_error(counts: NDArray[np.int64], low: float, high: float) -> tuple[float, float]:
    """The range with the smallest sum of squared differences that rounding and clipping make."""
    edges = np.linspace(low, high, len(counts) + 1)
    kept = counts > 0
    centres, weights = ((edges[:-1] + edges[1:]) / 2)[kept], counts[kept]

    def error(ends: tuple[float, float]) -> float:
        step = (ends[1] - ends[0]) / (LEVELS - 1)
        if step <= 0:
            return np.inf
        rounded = np.round(np.clip(centres, *ends) / step) * step
        return float((weights * (rounded - centres) ** 2).sum())

    best, least = (low, high), error((low, high))
    for lower in SHRINKS * low if low < 0 else (0.0,):
        for higher in SHRINKS * high if high > 0 else (0.0,):
            if (found := error((lower, higher))) < least:
                best, least = (float(lower), float(higher)), found
    return best
