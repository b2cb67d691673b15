"""Channels of an ONNX model brought to one level, so that 8 bits for a whole tensor serve each of them.

What a convolution computes in channel c may be multiplied by any s_c > 0 if all that reads it divides its weights for
channel c by s_c, and what lies between lets factors through, as ReLU, sums and means do. The network stays the same; a
tensor's range is no longer that of its largest channel alone. See Nagel et al., Data-free quantization through
weight equalization and bias correction (arXiv:1906.04721), 4.1, here with the activations' ranges on samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyless.export.calibration import Feed, observed
from proxyless.export.onnx_graph import weights_of

THROUGH = {"Relu", "LeakyRelu", "Identity", "Dropout", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"}
"""Operators with f(s x) = s f(x) for s > 0, channel by channel."""

WEIGHTED = {"Conv", "Gemm"}

MOST = 2.0**20
"""The largest factor of a channel."""

HEADROOM = 1.25
"""The factor by which a channel may exceed its level on the samples before it meets an upper bound."""

PASSES = 2
"""How often all groups are gone through: the levels of one depend on the weights that its neighbours have changed."""


@dataclass
class Group:
    """Tensors with one factor for each channel, between the operators that make and read them."""

    tensors: set[str] = field(default_factory=set)
    makers: list[Any] = field(default_factory=list)
    readers: list[Any] = field(default_factory=list)
    bound: float = np.inf
    """The smallest upper bound of a Clip among them: there channels may be raised up to it, not lowered."""
    free: bool = True
    """Whether nothing else makes or reads one of them."""


def equalized(model: Any, feeds: Sequence[Feed]) -> Any:
    """Bring the channels of a model's activations to one level; it computes the same up to rounding.

    Args:
        model: an ONNX model.
        feeds: samples of what it is run on.

    Returns:
        another model; ``model`` is not changed.
    """
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    own_weights(result)
    for _ in range(PASSES):
        levels = _levels(result, feeds)
        for group in groups(result):
            rescale(result, group, _factors(result, group, levels))
    return result


def groups(model: Any) -> list[Group]:
    """The groups of tensors of ``model`` whose channels can be scaled."""
    weights = weights_of(model)
    shapes = _shapes(model)
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    blocked = {value.name for value in [*model.graph.input, *model.graph.output]}
    bounds: dict[str, float] = {}
    for node in model.graph.node:
        given = _given(node, weights)
        joined = _joined(node, given, weights, shapes)
        if joined is None:
            blocked.update(given, node.output)
            continue
        if node.op_type == "Clip":
            bounds[given[0]] = _limits(node, weights)[1]
        for name in joined[1:]:
            parent[root(name)] = root(joined[0])
    found: dict[str, Group] = {}
    for node in model.graph.node:
        given = _given(node, weights)
        for name in [*given, *node.output]:
            if name:
                group = found.setdefault(root(name), Group())
                group.tensors.add(name)
                group.free &= name not in blocked
        if _takes_factors(node, given, weights):
            found[root(given[0])].readers.append(node)
            found[root(node.output[0])].makers.append(node)
    for name, bound in bounds.items():
        group = found[root(name)]
        group.bound = min(group.bound, bound)
    return [group for group in found.values() if group.free and group.makers and group.readers]


def _given(node: Any, weights: dict[str, Any]) -> list[str]:
    """The tensors that a node reads, weights not among them."""
    return [name for name in node.input if name and name not in weights]


def _joined(
    node: Any, given: list[str], weights: dict[str, Any], shapes: dict[str, tuple[int | str, ...]]
) -> list[str] | None:
    """The tensors around a node that must have the same factors; None where it lets no factors through."""
    if _takes_factors(node, given, weights):
        return []
    if node.op_type == "Add" and len(given) == 2 and shapes.get(given[0]) == shapes.get(given[1]):
        return [*given, node.output[0]]
    if (
        (node.op_type == "Clip" and len(given) == 1 and _limits(node, weights)[0] == 0)
        or (node.op_type in THROUGH and len(node.output) == 1)
        or (node.op_type in ("ReduceMean", "Flatten", "Reshape", "Squeeze") and _keeps_channels(node, shapes))
    ):
        return [*given[:1], *node.output[:1]]
    return None


def _takes_factors(node: Any, given: list[str], weights: dict[str, Any]) -> bool:
    """Whether a node has weights that can take any factors over, of what it reads and of what it writes."""
    return node.op_type in WEIGHTED and len(given) == 1 and _plain(node, weights)


def rescale(model: Any, group: Group, factors: NDArray[np.float64]) -> None:
    """Multiply the channels of ``group`` by ``factors``, in the weights of ``model``, which no two operators share."""
    import onnx

    weights = weights_of(model)

    def put(name: str, values: NDArray[Any]) -> None:
        weights[name].CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), name))

    for node in group.makers:
        values = onnx.numpy_helper.to_array(weights[node.input[1]]).astype(np.float64)
        unfolded = _unfolded(node, values)
        put(node.input[1], _folded(node, unfolded * factors.reshape(*unfolded.shape[:2], 1, 1), values.shape))
        if len(node.input) > 2 and node.input[2]:
            bias = onnx.numpy_helper.to_array(weights[node.input[2]]).astype(np.float64)
            put(node.input[2], bias * factors)
    for node in group.readers:
        values = onnx.numpy_helper.to_array(weights[node.input[1]]).astype(np.float64)
        unfolded = _unfolded(node, values)
        divided = unfolded / factors.reshape(unfolded.shape[0], 1, unfolded.shape[2], 1)
        put(node.input[1], _folded(node, divided, values.shape))


def own_weights(model: Any) -> None:
    """Give every operator weights of its own: the exporter writes equal ones once."""
    import onnx

    weights = weights_of(model)
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        for place, name in enumerate(node.input):
            if node.op_type in WEIGHTED and name in weights and name in taken:
                copy = onnx.TensorProto()
                copy.CopyFrom(weights[name])
                copy.name = f"{name}_of_{number}"
                model.graph.initializer.append(copy)
                node.input[place] = copy.name
            elif name in weights:
                taken.add(name)


def _levels(model: Any, feeds: Sequence[Feed]) -> dict[str, NDArray[np.float64]]:
    """The largest magnitude of each channel of every activation, channels being the second axis."""
    found: dict[str, NDArray[np.float64]] = {}
    for values in observed(model, feeds):
        for name, array in values.items():
            if array.ndim >= 2:
                largest = np.abs(array).max(axis=tuple(d for d in range(array.ndim) if d != 1)).astype(np.float64)
                found[name] = np.maximum(largest, found.get(name, 0.0))
    return found


def _factors(model: Any, group: Group, levels: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The factors of the channels of ``group``.

    They lead all the way to one level where only depthwise convolutions read the channels, whose weights have a scale
    for each channel; else half of the way, since the weights that read get what the activations are relieved of.
    """
    import onnx

    weights = weights_of(model)
    activated = {node.input[0] for node in model.graph.node if node.op_type in ("Relu", "Clip")}
    quantised = [levels[name] for name in sorted(group.tensors - activated) if name in levels]
    shares = [level / level.max() for level in quantised if level.max() > 0]
    if not shares:
        return np.ones(len(quantised[0]) if quantised else 1)
    share = np.max(shares, axis=0)
    need = np.zeros_like(share)
    for node in group.readers:
        values = np.abs(_unfolded(node, onnx.numpy_helper.to_array(weights[node.input[1]]).astype(np.float64)))
        if values.shape[2] > 1:
            largest = values.max(axis=3)
            largest = largest / np.maximum(largest.max(axis=2, keepdims=True), 1e-30)
            need = np.maximum(need, largest.max(axis=1).ravel())
    alive = share > 0
    factors = np.ones_like(share)
    factors[alive] = 1 / share[alive]
    balanced = alive & (need > 0)
    factors[balanced] = np.sqrt(need[balanced] / share[balanced])
    if np.isfinite(group.bound):
        level = np.max(quantised, axis=0)
        room = np.divide(group.bound, HEADROOM * level, out=np.ones_like(level), where=level > 0)
        return np.clip(factors, 1.0, np.clip(room, 1.0, MOST))
    factors /= np.max((factors * share)[alive])
    return np.clip(factors, 1 / MOST, MOST)


def _shapes(model: Any) -> dict[str, tuple[int | str, ...]]:
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: tuple(d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim)
        for value in [*inferred.value_info, *inferred.input, *inferred.output]
    }


def _keeps_channels(node: Any, shapes: dict[str, tuple[int | str, ...]]) -> bool:
    """Whether the second axis is the same before and after, and what follows it is gone or 1."""
    before, after = shapes.get(node.input[0], ()), shapes.get(node.output[0], ())
    return (
        len(before) > 1
        and len(after) > 1
        and before[:2] == after[:2]
        and all(d == 1 for d in after[2:])
        and (node.op_type == "ReduceMean" or all(d == 1 for d in before[2:]))
    )


def _plain(node: Any, weights: dict[str, Any]) -> bool:
    """Whether the weights of a Conv or Gemm are constants, and it does nothing else with them."""
    constant = all(name in weights for name in node.input[1:] if name)
    if node.op_type == "Conv":
        return constant
    attributes = {a.name: a for a in node.attribute}
    factors = [attributes[name].f for name in ("alpha", "beta") if name in attributes]
    return (
        constant and all(factor == 1 for factor in factors) and not ("transA" in attributes and attributes["transA"].i)
    )


def _unfolded(node: Any, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights as (groups, outputs of a group, inputs of a group, taps of the kernel)."""
    if node.op_type == "Conv":
        count = next((a.i for a in node.attribute if a.name == "group"), 1)
        return values.reshape(count, values.shape[0] // count, values.shape[1], -1)
    return (values if _rows_are_outputs(node) else values.T)[None, :, :, None]


def _folded(node: Any, unfolded: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The inverse of :func:`_unfolded`."""
    if node.op_type == "Conv" or _rows_are_outputs(node):
        return unfolded.reshape(shape)
    return unfolded[0, :, :, 0].T


def _rows_are_outputs(node: Any) -> bool:
    """Whether a Gemm has its weights as (outputs, inputs)."""
    return any(a.name == "transB" and a.i for a in node.attribute)


def _limits(node: Any, weights: dict[str, Any]) -> tuple[float, float]:
    """Least and most value of a Clip; what is no constant counts as no number."""
    import onnx

    found = []
    for place, without in ((1, -np.inf), (2, np.inf)):
        name = node.input[place] if len(node.input) > place else ""
        known = float(onnx.numpy_helper.to_array(weights[name])) if name in weights else np.nan
        found.append(known if name else without)
    return found[0], found[1]
