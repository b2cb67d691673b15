"""The parts of an ONNX model: its nodes and weights, wherever they stand in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def weights_of(model: Any) -> dict[str, Any]:
    """The weights of the graph of ``model`` by name."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def nodes(model: Any) -> Iterator[Any]:
    """Every node of ``model``: of its graph, of graphs in nodes' attributes, and of its own functions."""
    yield from _within(model.graph.node)
    for function in model.functions:
        yield from _within(function.node)


def constants(model: Any) -> Iterator[Any]:
    """Every constant tensor of ``model``: weights of its graphs, and values of nodes such as Constant."""
    yield from model.graph.initializer
    for node in nodes(model):
        for graph in _graphs(node):
            yield from graph.initializer
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _within(some: Any) -> Iterator[Any]:
    for node in some:
        yield node
        for graph in _graphs(node):
            yield from _within(graph.node)


def _graphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
