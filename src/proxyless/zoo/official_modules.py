"""A network of inverted residual blocks with every width, activation and kernel the authors' files can ask for.

Where timm can express a network it is a timm model (see :mod:`proxyless.zoo.official_timm`); this one stands in for the
rest. Its state dict has the names of the authors' checkpoints.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from proxyless.spaces.tree_layers import Conv, Linear


class MBInvertedConv(nn.Module):
    """1 x 1 expansion (none where ``hidden`` is None), depthwise convolution, 1 x 1 projection."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int,
        hidden: int | None,
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.hidden = in_channels, out_channels, hidden
        self.kernel, self.stride, self.activation = kernel, stride, activation
        wide = hidden or in_channels
        self.inverted_bottleneck = (
            None if hidden is None else _conv_norm(nn.Conv2d(in_channels, hidden, 1, bias=False), activation())
        )
        depthwise = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False)
        self.depth_conv = _conv_norm(depthwise, activation())
        self.point_linear = _conv_norm(nn.Conv2d(wide, out_channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width)."""
        if self.inverted_bottleneck is not None:
            x = self.inverted_bottleneck(x)
        result: Tensor = self.point_linear(self.depth_conv(x))
        return result


def _conv_norm(conv: nn.Conv2d, activation: nn.Module | None = None) -> nn.Sequential:
    layers: list[tuple[str, nn.Module]] = [("conv", conv), ("bn", nn.BatchNorm2d(conv.out_channels))]
    return nn.Sequential(OrderedDict([*layers, ("act", activation)] if activation else layers))


class MobileInvertedResidualBlock(nn.Module):
    """An MBConv with or without shortcut, or nothing but the shortcut."""

    def __init__(self, conv: MBInvertedConv | None, *, shortcut: bool) -> None:
        super().__init__()
        self.mobile_inverted_conv = conv
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width)."""
        if self.mobile_inverted_conv is None:
            return x
        y: Tensor = self.mobile_inverted_conv(x)
        return x + y if self.shortcut else y


class InvertedNetwork(nn.Module):
    """First convolution, blocks, convolution to the features, mean of each channel, classifier."""

    def __init__(
        self,
        first_conv: Conv,
        blocks: Sequence[MobileInvertedResidualBlock],
        feature_mix_layer: Conv,
        classifier: Linear,
    ) -> None:
        super().__init__()
        self.first_conv = first_conv
        self.blocks = nn.ModuleList(blocks)
        self.feature_mix_layer = feature_mix_layer
        self.classifier = classifier

    def inverted_blocks(self) -> list[MobileInvertedResidualBlock]:
        """The blocks in order."""
        return [block for block in self.blocks if isinstance(block, MobileInvertedResidualBlock)]

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width) -> logits (batch, classes)."""
        x = self.first_conv(x)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.classifier(self.feature_mix_layer(x).mean(dim=(2, 3)))
        return logits
