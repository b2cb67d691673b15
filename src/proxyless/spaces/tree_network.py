"""The networks of the tree space, of residual blocks that hold tree cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import nn

from proxyless.choice import Choice
from proxyless.spaces.tree_layers import (
    ConvLayer,
    DepthConvLayer,
    IdentityLayer,
    Layer,
    Linear,
    LinearLayer,
    PoolingLayer,
    PyramidTreeNet,
    ResidualTreeBlock,
    TransitionBlock,
    TreeNode,
    identity,
    initialise,
    made,
)

if TYPE_CHECKING:
    from proxyless.spaces.tree import TreeSpace

MODULES: dict[str, Callable[[int], nn.Module]] = {
    "sep3": lambda channels: Layer(DepthConvLayer(channels, channels, 3, act_func="relu")),
    "sep5": lambda channels: Layer(DepthConvLayer(channels, channels, 5, act_func="relu")),
    "sep7": lambda channels: Layer(DepthConvLayer(channels, channels, 7, act_func="relu")),
    "dil3": lambda channels: Layer(DepthConvLayer(channels, channels, 3, dilation=2, act_func="relu")),
    "identity": lambda channels: made(identity(channels)),
    "avg3": lambda channels: Layer(PoolingLayer(channels, channels, 3, use_bn=False)),
    "max3": lambda channels: Layer(PoolingLayer(channels, channels, 3, pool_type="max", use_bn=False)),
}
"""What stands on an edge of a cell, by the name of its operation: (batch, channels, height, width) in and out."""

Edge = Callable[[int], nn.Module]
"""Makes the module of an edge with this many channels; called for one edge after the other, in network order."""


def with_choices(space: TreeSpace) -> nn.Module:
    """A fresh over-parameterized network: each edge is a choice between the operations of the space."""

    def edge(channels: int) -> nn.Module:
        return Choice(shortcut=False, **{name: MODULES[name](channels) for name in space.operations})

    return _assembled(space, edge, dropout=0.0, drop_path=0.0)


def of_operations(space: TreeSpace, operations: Sequence[str]) -> nn.Module:
    """A compact network with fresh weights, given the operation of each edge in network order."""
    taken = iter(operations)
    return _assembled(
        space, lambda channels: MODULES[next(taken)](channels), dropout=space.dropout, drop_path=space.drop_path
    )


def _assembled(space: TreeSpace, edge: Edge, *, dropout: float, drop_path: float) -> PyramidTreeNet:
    conv = Layer(ConvLayer(space.channels, space.stem, 3, use_bn=False))
    blocks: list[nn.Module] = [TransitionBlock(conv, Layer(IdentityLayer(space.stem, space.stem)))]
    width, widths = space.stem, space.cell_widths()
    for number, cell_width in enumerate(widths):
        halves = number > 0 and number % space.blocks == 0
        out = space.bottleneck * cell_width
        halving = PoolingLayer(width, width, 2, stride=2, use_bn=False)
        blocks.append(
            ResidualTreeBlock(
                in_bottle=Layer(ConvLayer(width, cell_width)),
                cell=_cell(space, edge, cell_width, 2 if halves else 1),
                out_bottle=Layer(ConvLayer(cell_width, out, act_func="relu")),
                shortcut=made(halving if halves else identity(width)),
                channels=out,
                drop_path=drop_path * (number + 1) / len(widths),
            )
        )
        width = out
    left = space.image_size // 2 ** (space.stages - 1)
    pool = Layer(PoolingLayer(width, width, left, stride=left, act_func="relu"))
    network = PyramidTreeNet(
        [*blocks, TransitionBlock(pool)], Linear(LinearLayer(width, space.classes, dropout_rate=dropout))
    )
    initialise(network)
    return network


def _cell(space: TreeSpace, edge: Edge, width: int, stride: int) -> TreeNode:
    both, branches = width * space.branches, space.branches
    conv = ConvLayer(width, both, 3, stride=stride, groups=branches, has_shuffle=True, act_func="relu")
    edges = [made(identity(width)) for _ in range(branches)]
    children = [_node(space, edge, width, space.depth - 1) for _ in range(branches)]
    split = TreeNode(both, width, edges, children, split_type="split", has_branch_bn=True)
    return TreeNode(width, width, [Layer(conv)], [split], split_type=None, merge_type=None)


def _node(space: TreeSpace, edge: Edge, width: int, levels: int) -> TreeNode:
    edges = [edge(width) for _ in range(space.branches)]
    last = levels == 1
    children = [nn.Identity() if last else _node(space, edge, width, levels - 1) for _ in range(space.branches)]
    return TreeNode(width, width, edges, children)
