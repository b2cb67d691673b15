"""ONNX models as plain as can be: nothing imported that no node uses, the oldest versions that mean the same, and no
weights so small that processors become slow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

OPSET = 17
"""The version of ONNX's operators that modules are exported in."""

TINY = float(np.finfo(np.float32).tiny)
"""The smallest float32 that is computed at full speed; below it lie the subnormal numbers."""


def with_lowest_versions(model: Any) -> None:
    """Change ``model`` so that it imports the operator domains of its nodes alone, each in the lowest version in which
    these nodes are the same operators as now, and has the lowest IR version that allows these.

    Older runtimes refuse a model by what it imports, whether it uses that or not.
    """
    import onnx

    known = {_domain(item.domain): item.version for item in model.opset_import}
    used: dict[str, int] = {}
    for node in _nodes(model):
        domain = _domain(node.domain)
        version = known.get(domain, 1)
        if onnx.defs.has(node.op_type, version, domain):
            version = onnx.defs.get_schema(node.op_type, version, domain).since_version
        used[domain] = max(used.get(domain, 1), version)
    del model.opset_import[:]
    # A model without any node imports ONNX's own operators all the same: the checker wants one domain at the least.
    model.opset_import.extend(onnx.helper.make_opsetid(name, used[name]) for name in sorted(used or {"": 1}))
    ours = [item for item in model.opset_import if not item.domain]
    # Version 4 is the first in which weights need not be inputs; 8 the first with functions of a model's own.
    least = 8 if model.functions else 4
    model.ir_version = max(least, onnx.helper.find_min_ir_version_for(ours) if ours else least)


def with_version(model: Any, version: int) -> None:
    """Undo :func:`with_lowest_versions`: let ``model`` import the later ``version`` of ONNX's own operators,
    unless that would change the meaning of one of its nodes.
    """
    import onnx

    ours = [item for item in model.opset_import if not _domain(item.domain)]
    for item in ours:
        if item.version < version and all(
            onnx.defs.get_schema(node.op_type, item.version).since_version
            == onnx.defs.get_schema(node.op_type, version).since_version
            for node in _nodes(model)
            if not _domain(node.domain)
        ):
            item.version = version
            model.ir_version = max(model.ir_version, onnx.helper.find_min_ir_version_for([item]))


def without_subnormals(model: Any) -> int:
    """Set weights of ``model`` that are smaller than any normal float32 to zero; returns how many there were.

    Processors compute with such numbers ten times slower, and to a sum of others they add nothing.
    """
    import onnx

    found = 0
    for tensor in _tensors(model):
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        small = (np.abs(values) < TINY) & (values != 0)
        if small.any():
            found += int(small.sum())
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.where(small, np.float32(0), values), tensor.name))
    return found


def subnormals_note(count: int) -> str:
    """That ``count`` weights were set to zero, in words."""
    weights = "1 weight below 1.2e-38 is" if count == 1 else f"{count:,} weights below 1.2e-38 are"
    return f"{weights} zero in the exported files: processors compute with such numbers ten times slower"


def _domain(name: str) -> str:
    """ONNX's own domain has two spellings."""
    return "" if name == "ai.onnx" else name


def _nodes(model: Any) -> Iterator[Any]:
    """Every node of ``model``: of its graph, of graphs in nodes' attributes, and of its own functions."""
    yield from _within(model.graph.node)
    for function in model.functions:
        yield from _within(function.node)


def _within(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        yield node
        for graph in _graphs(node):
            yield from _within(graph.node)


def _graphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _tensors(model: Any) -> Iterator[Any]:
    """Every constant of ``model``: weights of its graphs, and values of nodes such as Constant."""
    yield from model.graph.initializer
    for node in _nodes(model):
        for graph in _graphs(node):
            yield from graph.initializer
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
