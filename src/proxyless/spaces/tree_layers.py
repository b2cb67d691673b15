"""Layers of tree-structured networks, in the order batch norm, activation, weights (paper, section 4.1).

What a layer is made of is data, in the words of the authors' network files; modules are named as in the checkpoints of
the published CIFAR-10 network, so that a state dict has the published names.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: dict[str | None, type[nn.Module]] = {
    None: nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "h_swish": nn.Hardswish,
    "h_sigmoid": nn.Hardsigmoid,
}
"""Activations by name."""

ORDERS = ("bn_act_weight", "weight_bn_act")
"""Batch norm and activation come before the weights of a layer, or after them."""


@dataclass(frozen=True)
class IdentityLayer:
    """A layer without weights: an optional batch norm and an optional activation.

    Args:
        in_channels: of the input (batch, in_channels, height, width).
        out_channels: of the output (batch, out_channels, height, width).
        use_bn: whether there is a batch norm.
        act_func: name of the activation, None for none.
        ops_order: one of :data:`ORDERS`.
    """

    in_channels: int
    out_channels: int
    _: KW_ONLY
    use_bn: bool = True
    act_func: str | None = None
    ops_order: str = ORDERS[0]

    def weights(self) -> dict[str, nn.Module]:
        """The modules between which there is neither norm nor activation, by name, in order."""
        return {}


@dataclass(frozen=True)
class ConvLayer(IdentityLayer):
    """A convolution, padded to keep the size at stride 1; ``has_shuffle`` mixes the channels of its groups after it."""

    kernel_size: int = 1
    _: KW_ONLY
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    bias: bool = False
    has_shuffle: bool = False

    def weights(self) -> dict[str, nn.Module]:
        size = (self.kernel_size, self.stride, self.dilation * (self.kernel_size // 2), self.dilation)
        conv = nn.Conv2d(self.in_channels, self.out_channels, *size, groups=self.groups, bias=self.bias)
        return {"conv": conv} | ({"shuffle": Shuffle(self.groups)} if self.has_shuffle else {})


@dataclass(frozen=True)
class DepthConvLayer(IdentityLayer):
    """A depthwise-separable convolution: depthwise, then 1 x 1, with nothing between."""

    kernel_size: int = 1
    _: KW_ONLY
    stride: int = 1
    dilation: int = 1

    def weights(self) -> dict[str, nn.Module]:
        size = (self.kernel_size, self.stride, self.dilation * (self.kernel_size // 2), self.dilation)
        depth = nn.Conv2d(self.in_channels, self.in_channels, *size, groups=self.in_channels, bias=False)
        return {"depth_conv": depth, "point_conv": nn.Conv2d(self.in_channels, self.out_channels, 1, bias=False)}


@dataclass(frozen=True)
class PoolingLayer(IdentityLayer):
    """Average or maximum pooling; at stride 1 it keeps the size, and padding does not count in the average.

    Args:
        pool_type: "avg" or "max".
    """

    kernel_size: int = 1
    _: KW_ONLY
    stride: int = 1
    pool_type: str = "avg"

    def weights(self) -> dict[str, nn.Module]:
        padding = self.kernel_size // 2 if self.stride == 1 else 0
        if self.pool_type == "avg":
            return {"pool": nn.AvgPool2d(self.kernel_size, self.stride, padding, count_include_pad=False)}
        return {"pool": nn.MaxPool2d(self.kernel_size, self.stride, padding)}


class Layer(nn.Sequential):
    """The modules of a layer in their order; ``spec`` says what it is made of."""

    def __init__(self, spec: IdentityLayer) -> None:
        around = dict[str, nn.Module]()
        weights_first = spec.ops_order == ORDERS[1]
        if spec.use_bn:
            around["bn"] = nn.BatchNorm2d(spec.out_channels if weights_first else spec.in_channels)
        if spec.act_func is not None:
            around["act"] = ACTIVATIONS[spec.act_func]()
        weights = spec.weights()
        super().__init__(OrderedDict(weights | around if weights_first else around | weights))
        self.spec = spec


class Unchanged(nn.Identity):
    """A layer that returns what it is given; ``spec`` says of how many channels."""

    def __init__(self, spec: IdentityLayer) -> None:
        super().__init__()
        self.spec = spec


def made(spec: IdentityLayer) -> Layer | Unchanged:
    """The layer with fresh weights."""
    layer = Layer(spec)
    return layer if len(layer) else Unchanged(spec)


def identity(channels: int, ops_order: str = ORDERS[0]) -> IdentityLayer:
    """What a layer is made of that returns what it is given."""
    return IdentityLayer(channels, channels, use_bn=False, ops_order=ops_order)


class Shuffle(nn.Module):
    """Interleaves the channels of ``groups`` groups: the first of every group, then the second of every group, ..."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width)."""
        batch, channels, height, width = x.shape
        return x.view(batch, self.groups, channels // self.groups, height, width).transpose(1, 2).reshape(x.shape)


@dataclass(frozen=True)
class LinearLayer:
    """A classifier with dropout before it; the order makes no difference without batch norm and activation."""

    in_features: int
    out_features: int
    bias: bool = True
    dropout_rate: float = 0.0
    ops_order: str = field(default=ORDERS[0], compare=False)


class Linear(nn.Sequential):
    """The classifier, (batch, in_features) -> (batch, out_features)."""

    dropout: nn.Dropout
    linear: nn.Linear

    def __init__(self, spec: LinearLayer) -> None:
        linear = nn.Linear(spec.in_features, spec.out_features, spec.bias)
        super().__init__(OrderedDict(dropout=nn.Dropout(spec.dropout_rate), linear=linear))
        self.ops_order = spec.ops_order

    @property
    def spec(self) -> LinearLayer:
        """What it is made of, also where another linear layer has been put into it."""
        linear = self.linear
        features = linear.in_features, linear.out_features
        return LinearLayer(*features, linear.bias is not None, self.dropout.p, self.ops_order)


class TreeNode(nn.Module):
    """A node of a tree cell: child i computes ``child_i(edge_i(input_i))``, and the node joins what they return.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        edges: one for each child, any modules.
        child_nodes: nodes, or ``nn.Identity`` where an edge ends.
        split_type: "split" divides the channels among the children; "copy" gives each the whole input.
        merge_type: "add" or "concat".
        has_branch_bn: a batch norm on what each child returns, to which the child's input is added again.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        edges: Sequence[nn.Module],
        child_nodes: Sequence[nn.Module],
        *,
        split_type: str | None = "copy",
        merge_type: str | None = "add",
        has_branch_bn: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.has_branch_bn = in_channels, out_channels, has_branch_bn
        self.split_type, self.merge_type = split_type, merge_type
        self.edges, self.child_nodes = nn.ModuleList(edges), nn.ModuleList(child_nodes)
        returned = shares(out_channels, len(edges)) if merge_type == "concat" else [out_channels] * len(edges)
        self.branch_bns = nn.ModuleList(map(nn.BatchNorm2d, returned)) if has_branch_bn else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width)."""
        many = len(self.edges)
        inputs = x.split(shares(self.in_channels, many), dim=1) if self.split_type == "split" else [x] * many
        reached = [edge(part) for edge, part in zip(self.edges, inputs, strict=True)]
        outputs = [child(part) for child, part in zip(self.child_nodes, reached, strict=True)]
        if self.branch_bns is not None:
            branches = zip(self.branch_bns, outputs, reached, strict=True)
            outputs = [norm(output) + part for norm, output, part in branches]
        if self.merge_type == "concat":
            return torch.cat(outputs, dim=1)
        total = outputs[0]
        for output in outputs[1:]:
            total = total + output
        return total


def shares(channels: int, parts: int) -> list[int]:
    """``channels`` in ``parts`` parts; where they do not divide evenly the first parts have one more."""
    return [channels // parts + (number < channels % parts) for number in range(parts)]


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
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


class PyramidTreeNet(nn.Module):
    """Blocks in sequence and a classifier on the mean of each channel."""

    def __init__(self, blocks: Sequence[nn.Module], classifier: Linear) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width) -> logits (batch, classes)."""
        logits: Tensor = self.classifier(self.blocks(x).mean(dim=(2, 3)))
        return logits


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
