"""Layers of tree-structured networks, in the order batch norm, activation, weights (paper, section 4.1).

The attributes are named as in the checkpoints of the published CIFAR-10 network, so that a state dict of these modules
has the published names.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Layer(nn.Module):
    """Weights with an optional batch norm and activation before them, or after them with ``weights_first``.

    Args:
        in_channels: of the input (batch, in_channels, height, width).
        out_channels: of the output (batch, out_channels, height, width).
        norm: whether there is a batch norm.
        activation: None for none.
        weights_first: weights, batch norm, activation in place of batch norm, activation, weights.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        norm: bool = True,
        activation: nn.Module | None = None,
        weights_first: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.bn = nn.BatchNorm2d(out_channels if weights_first else in_channels) if norm else None
        self.act = activation
        self.weights_first = weights_first

    def weigh(self, x: Tensor) -> Tensor:
        """What the layer computes apart from norm and activation; nothing here, thus an identity layer."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width)."""
        if self.weights_first:
            x = self.weigh(x)
        if self.bn is not None:
            x = self.bn(x)
        if self.act is not None:
            x = self.act(x)
        return x if self.weights_first else self.weigh(x)


class Conv(Layer):
    """Convolution, padded to keep the size at stride 1; ``shuffle`` mixes the channels of its groups after it."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        shuffle: bool = False,
        norm: bool = True,
        activation: nn.Module | None = None,
        weights_first: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, norm=norm, activation=activation, weights_first=weights_first)
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, groups, bias)
        self.shuffle = shuffle

    def weigh(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return shuffled(x, self.conv.groups) if self.shuffle else x


class DepthConv(Layer):
    """Depthwise-separable convolution: depthwise, then 1 x 1, with nothing between."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        norm: bool = True,
        activation: nn.Module | None = None,
        weights_first: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, norm=norm, activation=activation, weights_first=weights_first)
        padding = dilation * (kernel // 2)
        self.depth_conv = nn.Conv2d(
            in_channels, in_channels, kernel, stride, padding, dilation, groups=in_channels, bias=False
        )
        self.point_conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def weigh(self, x: Tensor) -> Tensor:
        result: Tensor = self.point_conv(self.depth_conv(x))
        return result


class Pool(Layer):
    """Average or maximum pooling; at stride 1 it keeps the size, and padding does not count in the average."""

    def __init__(
        self,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        average: bool,
        norm: bool = False,
        activation: nn.Module | None = None,
        weights_first: bool = False,
    ) -> None:
        super().__init__(channels, channels, norm=norm, activation=activation, weights_first=weights_first)
        padding = kernel // 2 if stride == 1 else 0
        self.pool: nn.AvgPool2d | nn.MaxPool2d = (
            nn.AvgPool2d(kernel, stride, padding, count_include_pad=False)
            if average
            else nn.MaxPool2d(kernel, stride, padding)
        )

    def weigh(self, x: Tensor) -> Tensor:
        result: Tensor = self.pool(x)
        return result


class Linear(nn.Module):
    """The classifier, (batch, in_features) -> (batch, out_features), with dropout before it."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(in_features, out_features, bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.dropout(x))
        return logits


class TreeNode(nn.Module):
    """A node of a tree cell: child i computes ``child_i(edge_i(input_i))``, and the node joins what they return.

    Args:
        channels: of the input.
        edges: one for each child, any modules.
        children: nodes, or None where an edge ends.
        split: channels given to each child; None gives every child the whole input.
        concat: join by concatenation in place of a sum.
        branch_norms: channels of a batch norm on what each child returns, to which the child's input is added again;
            None for neither.
    """

    def __init__(
        self,
        channels: int,
        edges: Sequence[nn.Module],
        children: Sequence[nn.Module | None],
        *,
        split: Sequence[int] | None = None,
        concat: bool = False,
        branch_norms: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.edges = nn.ModuleList(edges)
        self.child_nodes = nn.ModuleList(nn.Identity() if child is None else child for child in children)
        self.split = None if split is None else list(split)
        self.concat = concat
        self.branch_bns = None if branch_norms is None else nn.ModuleList(nn.BatchNorm2d(c) for c in branch_norms)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width)."""
        inputs = [x] * len(self.edges) if self.split is None else x.split(self.split, dim=1)
        reached = [edge(part) for edge, part in zip(self.edges, inputs, strict=True)]
        outputs = [child(part) for child, part in zip(self.child_nodes, reached, strict=True)]
        if self.branch_bns is not None:
            branches = zip(self.branch_bns, outputs, reached, strict=True)
            outputs = [norm(output) + part for norm, output, part in branches]
        if self.concat:
            return torch.cat(outputs, dim=1)
        total = outputs[0]
        for output in outputs[1:]:
            total = total + output
        return total


class DropPath(nn.Module):
    """While training, sets whole images to zero with probability ``rate`` and scales the others up in turn."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, ...)."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.full((len(x),) + (1,) * (x.dim() - 1), 1 - self.rate, dtype=x.dtype, device=x.device)
        return x * kept.bernoulli() / (1 - self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class ResidualTreeBlock(nn.Module):
    """``shortcut(x) + final_bn(out_bottle(cell(in_bottle(x))))``; channels the shortcut lacks are zeros.

    Args:
        in_bottle, cell, out_bottle: applied one after the other.
        channels: that ``out_bottle`` returns, at least as many as ``shortcut``.
        drop_path: probability of leaving out everything but the shortcut for an image, while training.
    """

    def __init__(
        self,
        in_bottle: nn.Module,
        cell: nn.Module,
        out_bottle: nn.Module,
        shortcut: nn.Module,
        *,
        channels: int,
        final_norm: bool = True,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_bottle, self.cell, self.out_bottle, self.shortcut = in_bottle, cell, out_bottle, shortcut
        self.final_bn = nn.BatchNorm2d(channels) if final_norm else None
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width)."""
        residual = self.out_bottle(self.cell(self.in_bottle(x)))
        if self.final_bn is not None:
            residual = self.final_bn(residual)
        shortcut = self.shortcut(x)
        missing = residual.shape[1] - shortcut.shape[1]
        if missing:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, missing))
        result: Tensor = shortcut + self.drop_path(residual)
        return result


class TransitionBlock(nn.Module):
    """Layers in sequence."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class PyramidTreeNet(nn.Module):
    """Blocks in sequence and a classifier on the mean of each channel."""

    def __init__(self, blocks: Sequence[nn.Module], classifier: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width) -> logits (batch, classes)."""
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


def shuffled(x: Tensor, groups: int) -> Tensor:
    """Channels of ``groups`` groups interleaved: the first of every group, then the second of every group, ..."""
    batch, channels, height, width = x.shape
    return x.view(batch, groups, channels // groups, height, width).transpose(1, 2).reshape(x.shape)


def initialise(network: nn.Module) -> None:
    """He initialisation by fan-out of convolutions (authors' default); classifiers small, norms as identities."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels / module.groups
            nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
