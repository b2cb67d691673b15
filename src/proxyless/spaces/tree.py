"""The tree space: a PyramidNet for small images whose residual blocks hold tree cells (paper, section 4.1).

Every residual block is a bottleneck around a cell. The cell's root doubles the channels in a group convolution and
splits them between two branches; from there on every node hands its whole input to two children and adds what they
return. Each of these edges is a choice: 12 in a block, 648 in the published CIFAR-10 network, which is a member of the
space with all arguments at their defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from torch import nn

from proxyless.architecture import Architecture, indices
from proxyless.choice import Choice
from proxyless.errors import ProxylessError
from proxyless.spaces.arguments import COMMON, LARGEST_IMAGE, as_tuple, check_rate, check_size, check_whole
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

BOTTLENECK = 4
"""Channels of a residual block's output for one of its cell."""

OPERATIONS: dict[str, Callable[[int], nn.Module]] = {
    "sep3": lambda channels: Layer(DepthConvLayer(channels, channels, 3, act_func="relu")),
    "sep5": lambda channels: Layer(DepthConvLayer(channels, channels, 5, act_func="relu")),
    "sep7": lambda channels: Layer(DepthConvLayer(channels, channels, 7, act_func="relu")),
    "dil3": lambda channels: Layer(DepthConvLayer(channels, channels, 3, dilation=2, act_func="relu")),
    "identity": lambda channels: made(identity(channels)),
    "avg3": lambda channels: Layer(PoolingLayer(channels, channels, 3, use_bn=False)),
    "max3": lambda channels: Layer(PoolingLayer(channels, channels, 3, pool_type="max", use_bn=False)),
}
"""What may stand on an edge of a cell, by name: (batch, channels, height, width) in and out."""

BOUNDS = {
    "image_size": (1, LARGEST_IMAGE),
    "stages": (1, 8),
    "blocks": (1, 1000),
    "stem": (1, 4096),
    "final_width": (1, 65_536),
    "depth": (2, 12),
    "branches": (2, 16),
}
"""From where to where the whole numbers go that a space is made with."""

Edge = Callable[[int], nn.Module]
"""Makes the module of an edge with this many channels; called for one edge after the other, in network order."""


@dataclass(frozen=True)
class TreeSpace:
    """All networks of the family for one image size; its fields are the ``arguments`` of an architecture.

    Args:
        classes: number of classes.
        channels: of the images, 1 or 3.
        image_size: height and width in pixels; a multiple of 2 ** (stages - 1).
        stages: each but the first starts by halving height and width.
        blocks: residual blocks in a stage.
        stem: channels of the first convolution, and of a cell before the first block.
        final_width: channels of the last block's output, at least 4 * stem; a cell has a quarter of its block's,
            growing linearly from ``stem``, and a multiple of ``branches``.
        depth: levels of a cell below its root, the first of which splits the channels.
        branches: children of a node.
        operations: names of the candidates on an edge, of :data:`OPERATIONS`.
        dropout: before the classifier, in the derived network.
        drop_path: probability, while training the derived network, that its last residual block is left out for an
            image; those of the blocks before grow linearly up to it.

    Raises:
        ProxylessError: an argument out of range.
    """

    classes: int = 10
    channels: int = 3
    image_size: int = 32
    stages: int = 3
    blocks: int = 18
    stem: int = 16
    final_width: int = 400
    depth: int = 3
    branches: int = 2
    operations: tuple[str, ...] = tuple(OPERATIONS)
    dropout: float = 0.0
    drop_path: float = 0.0

    name = "tree"

    def __post_init__(self) -> None:
        as_tuple(self, "operations")
        check_whole(self, COMMON | BOUNDS)
        reduction = 2 ** (self.stages - 1)
        if self.image_size < reduction or self.image_size % reduction:
            raise ProxylessError(
                f"space tree: image_size must be a multiple of {reduction} px for {self.stages} stages,"
                f" got {self.image_size}"
            )
        if self.stem < self.branches or self.final_width < BOTTLENECK * self.stem:
            raise ProxylessError(
                f"space tree: stem must be at least branches ({self.branches}) and final_width at least {BOTTLENECK}"
                f" times stem, got stem {self.stem} and final_width {self.final_width}"
            )
        unknown = [name for name in self.operations if not isinstance(name, str) or name not in OPERATIONS]
        if unknown or len(set(self.operations)) != len(self.operations) or len(self.operations) < 2:
            raise ProxylessError(
                f"space tree: operations must be two or more different ones of {', '.join(OPERATIONS)},"
                f" got {', '.join(map(str, self.operations)) or 'none'}"
            )
        for field in ("dropout", "drop_path"):
            check_rate(self, field)
        edges = sum(self.branches ** (level + 1) for level in range(1, self.depth))  # of a cell
        candidates = edges * len(self.operations)
        check_size(self, self.stages * self.blocks * candidates, 0)
        # Of an edge with channels w at the most: 7 x 7 depthwise and 1 x 1; around the cell, bottles of 4 w channels.
        of_cells = sum((candidates + 17) * width * (width + 49) for width in self.cell_widths())
        check_size(self, 0, of_cells + self.final_width * self.classes)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.channels, self.image_size, self.image_size

    def cell_widths(self) -> tuple[int, ...]:
        """Channels of the cell of each residual block; its block returns four times as many."""
        count, last = self.stages * self.blocks, self.final_width / BOTTLENECK
        linear = [self.stem + (last - self.stem) * (number + 1) / count for number in range(count)]
        return tuple(round(width) // self.branches * self.branches for width in linear)

    def choices(self) -> dict[str, list[str]]:
        """Candidates by choice, in network order; a choice is named by its place in the network's modules."""
        return {name: list(self.operations) for block in self.block_choices() for name in block}

    def block_choices(self) -> list[list[str]]:
        """Names of the choices of each residual block."""
        roots = [f"blocks.{number + 1}.cell.child_nodes.0" for number in range(self.stages * self.blocks)]
        return [
            [
                name
                for branch in range(self.branches)
                for name in self._edges(f"{root}.child_nodes.{branch}", self.depth - 1)
            ]
            for root in roots
        ]

    def _edges(self, node: str, levels: int) -> Iterator[str]:
        if levels:
            yield from (f"{node}.edges.{branch}" for branch in range(self.branches))
            for branch in range(self.branches):
                yield from self._edges(f"{node}.child_nodes.{branch}", levels - 1)

    def network(self) -> nn.Module:
        """A fresh over-parameterized network, (batch, channels, height, width) -> (batch, classes)."""

        def edge(channels: int) -> nn.Module:
            return Choice(
                shortcut=False, **{operation: OPERATIONS[operation](channels) for operation in self.operations}
            )

        return self._assembled(edge, dropout=0.0, drop_path=0.0)

    def build(self, architecture: Architecture) -> nn.Module:
        """The compact network of ``architecture`` with fresh weights.

        Raises:
            ProxylessError: the architecture is not of this space.
        """
        indices(architecture.choices, self.choices())
        taken = (architecture.choices[name] for name in self.choices())

        def edge(channels: int) -> nn.Module:
            return OPERATIONS[next(taken)](channels)

        return self._assembled(edge, dropout=self.dropout, drop_path=self.drop_path)

    def architecture(self, choices: dict[str, str]) -> Architecture:
        """``choices`` as an architecture of this space."""
        arguments = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return Architecture(choices, self.name, arguments)

    def describe(self, architecture: Architecture) -> str:
        """One readable line: how often each operation was taken in each stage."""
        blocks = self.block_choices()
        stages = []
        for stage in range(self.stages):
            names = [name for block in blocks[stage * self.blocks : (stage + 1) * self.blocks] for name in block]
            taken = [architecture.choices[name] for name in names]
            counts = {operation: taken.count(operation) for operation in self.operations}
            stages.append(" ".join(f"{operation} {count}" for operation, count in counts.items() if count))
        return " | ".join(f"stage {number + 1}: {text}" for number, text in enumerate(stages))

    # -- assembly --

    def _assembled(self, edge: Edge, *, dropout: float, drop_path: float) -> PyramidTreeNet:
        conv = Layer(ConvLayer(self.channels, self.stem, 3, use_bn=False))
        blocks: list[nn.Module] = [TransitionBlock(conv, Layer(IdentityLayer(self.stem, self.stem)))]
        width, widths = self.stem, self.cell_widths()
        for number, cell_width in enumerate(widths):
            halves = number > 0 and number % self.blocks == 0
            out = BOTTLENECK * cell_width
            halving = PoolingLayer(width, width, 2, stride=2, use_bn=False)
            blocks.append(
                ResidualTreeBlock(
                    in_bottle=Layer(ConvLayer(width, cell_width)),
                    cell=self._cell(edge, cell_width, 2 if halves else 1),
                    out_bottle=Layer(ConvLayer(cell_width, out, act_func="relu")),
                    shortcut=made(halving if halves else identity(width)),
                    channels=out,
                    drop_path=drop_path * (number + 1) / len(widths),
                )
            )
            width = out
        left = self.image_size // 2 ** (self.stages - 1)
        pool = Layer(PoolingLayer(width, width, left, stride=left, act_func="relu"))
        network = PyramidTreeNet(
            [*blocks, TransitionBlock(pool)], Linear(LinearLayer(width, self.classes, dropout_rate=dropout))
        )
        initialise(network)
        return network

    def _cell(self, edge: Edge, width: int, stride: int) -> TreeNode:
        both, branches = width * self.branches, self.branches
        conv = ConvLayer(width, both, 3, stride=stride, groups=branches, has_shuffle=True, act_func="relu")
        edges = [made(identity(width)) for _ in range(branches)]
        children = [self._node(edge, width, self.depth - 1) for _ in range(branches)]
        split = TreeNode(both, width, edges, children, split_type="split", has_branch_bn=True)
        return TreeNode(width, width, [Layer(conv)], [split], split_type=None, merge_type=None)

    def _node(self, edge: Edge, width: int, levels: int) -> TreeNode:
        edges = [edge(width) for _ in range(self.branches)]
        last = levels == 1
        children = [nn.Identity() if last else self._node(edge, width, levels - 1) for _ in range(self.branches)]
        return TreeNode(width, width, edges, children)
