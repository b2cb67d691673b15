"""The tree space: a PyramidNet for small images whose residual blocks hold tree cells (paper, section 4.1).

Every residual block is a bottleneck around a cell. The cell's root doubles the channels in a group convolution and
splits them between two branches; from there on every node hands its whole input to two children and adds what they
return. Each of these edges is a choice: 12 in a block, 648 in the published CIFAR-10 network, which is a member of the
space with all arguments at their defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxyless.configuration import argument, setting
from proxyless.errors import ProxylessError
from proxyless.spaces import ImageSpace, register_space
from proxyless.spaces.space import LARGEST_IMAGE, MOST_CLASSES

if TYPE_CHECKING:
    from torch import nn

    from proxyless.architecture import Architecture

OPERATIONS = ("sep3", "sep5", "sep7", "dil3", "identity", "avg3", "max3")
"""What may stand on an edge of a cell; :mod:`proxyless.spaces.tree_network` makes the modules."""


@register_space("tree")
@dataclass(frozen=True)
class TreeSpace(ImageSpace):
    """PyramidNets for small images whose residual blocks hold tree cells, as the CIFAR-10 networks of the paper do.

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

    classes: int = argument(10, least=1, most=MOST_CLASSES)
    image_size: int = argument(32, least=1, most=LARGEST_IMAGE)
    stages: int = argument(3, least=1, most=8)
    blocks: int = setting(18, "Residual blocks of each stage.", least=1, most=1000)
    stem: int = setting(16, "Channels of the first convolution.", least=1, most=4096)
    final_width: int = setting(400, "Channels of the last block.", least=1, most=65_536)
    depth: int = argument(3, least=2, most=12)
    branches: int = argument(2, least=2, most=16)
    operations: tuple[str, ...] = argument(OPERATIONS)
    dropout: float = argument(0.0, least=0, most=0.99)
    drop_path: float = argument(0.0, least=0, most=0.99)

    regularisation = ("dropout", "drop_path")
    bottleneck = 4
    """Channels of a residual block's output for one of its cell."""

    def __post_init__(self) -> None:
        super().__post_init__()
        reduction = 2 ** (self.stages - 1)
        if self.image_size < reduction or self.image_size % reduction:
            raise ProxylessError(
                f"space tree: image_size must be a multiple of {reduction} px for {self.stages} stages,"
                f" got {self.image_size}"
            )
        if self.stem < self.branches or self.final_width < self.bottleneck * self.stem:
            raise ProxylessError(
                f"space tree: stem must be at least branches ({self.branches}) and final_width at least"
                f" {self.bottleneck} times stem, got stem {self.stem} and final_width {self.final_width}"
            )
        unknown = [name for name in self.operations if name not in OPERATIONS]
        if unknown or len(set(self.operations)) != len(self.operations) or len(self.operations) < 2:
            raise ProxylessError(
                f"space tree: operations must be two or more different ones of {', '.join(OPERATIONS)},"
                f" got {', '.join(map(str, self.operations)) or 'none'}"
            )
        edges = sum(self.branches ** (level + 1) for level in range(1, self.depth))  # of a cell
        candidates = edges * len(self.operations)
        self.check_size(self.stages * self.blocks * candidates, 0)
        # Of an edge with channels w at the most: 7 x 7 depthwise and 1 x 1; around the cell, bottles of 4 w channels.
        of_cells = sum((candidates + 17) * width * (width + 49) for width in self.cell_widths())
        self.check_size(0, of_cells + self.final_width * self.classes)

    def cell_widths(self) -> tuple[int, ...]:
        """Channels of the cell of each residual block; its block returns four times as many."""
        count, last = self.stages * self.blocks, self.final_width / self.bottleneck
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
        from proxyless.spaces.tree_network import with_choices

        return with_choices(self)

    def build(self, architecture: Architecture) -> nn.Module:
        """The compact network of ``architecture`` with fresh weights.

        Raises:
            ProxylessError: the architecture is not of this space.
        """
        from proxyless.architecture import indices
        from proxyless.spaces.tree_network import of_operations

        indices(architecture.choices, self.choices())
        return of_operations(self, [architecture.choices[name] for name in self.choices()])

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
