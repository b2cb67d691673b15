"""A network of inverted residual blocks with every width, activation and kernel the authors' files can ask for.

Where timm can express a network it is a timm model (see :mod:`proxyless.zoo.official_timm`); this one stands in for the
rest. Its state dict has the names of the authors' checkpoints.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from proxyless.spaces.tree_layers import Conv, Linear


@dataclass(frozen=True)
class Form:
    """How files and checkpoints spell the same blocks: as with ProxylessNAS, or as with its successor Once-for-all.

    Args:
        block: kind of a block.
        conv: what is in a block beside the shortcut, in the file and in the names of the state dict.
        layer: kind of an MBConv.
    """

    block: str
    conv: str
    layer: str


OLDER = Form("MobileInvertedResidualBlock", "mobile_inverted_conv", "MBInvertedConvLayer")
NEWER = Form("ResidualBlock", "conv", "MBConvLayer")


class SqueezeExcite(nn.Module):
    """Scales each channel by what a small network makes of the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = rounded(channels // 4)
        reduce, expand = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)
        for conv in (reduce, expand):
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
        self.fc = nn.Sequential(
            OrderedDict([("reduce", reduce), ("relu", nn.ReLU()), ("expand", expand), ("h_sigmoid", nn.Hardsigmoid())])
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width)."""
        result: Tensor = x * self.fc(x.mean(dim=(2, 3), keepdim=True))
        return result


class MBInvertedConv(nn.Module):
    """1 x 1 expansion (none where ``expand_ratio`` is 1), depthwise convolution, 1 x 1 projection.

    Args:
        expand_ratio: channels in the middle by those of the input; None where only ``mid_channels`` says how many.
        mid_channels: channels in the middle, None for those of ``expand_ratio``.
        squeeze: whether there is a :class:`SqueezeExcite` before the projection.
        groups: of the middle convolution, lowered to a divisor of its channels; None for a depthwise one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int,
        activation: Callable[[], nn.Module],
        *,
        expand_ratio: float | None,
        mid_channels: int | None = None,
        squeeze: bool = False,
        groups: int | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel, self.stride, self.activation = kernel, stride, activation
        self.expand_ratio, self.mid_channels, self.squeeze, self.groups = expand_ratio, mid_channels, squeeze, groups
        wide = middle(in_channels, expand_ratio, mid_channels)
        self.hidden = None if expand_ratio == 1 else wide
        self.inverted_bottleneck = (
            None if self.hidden is None else _conv_norm(nn.Conv2d(in_channels, wide, 1, bias=False), activation())
        )
        parts = wide if groups is None else max(n for n in range(1, min(groups, wide) + 1) if wide % n == 0)
        conv = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=parts, bias=False)
        self.depth_conv = _conv_norm(conv, activation(), SqueezeExcite(wide) if squeeze else None)
        self.point_linear = _conv_norm(nn.Conv2d(wide, out_channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_channels, height, width)."""
        if self.inverted_bottleneck is not None:
            x = self.inverted_bottleneck(x)
        result: Tensor = self.point_linear(self.depth_conv(x))
        return result


def middle(in_channels: int, expand_ratio: float | None, mid_channels: int | None) -> int:
    """Channels in the middle of an MBConv; at least one of the last two must be given."""
    if mid_channels is not None:
        return mid_channels
    assert expand_ratio is not None
    return round(in_channels * expand_ratio)


def rounded(channels: int) -> int:
    """The nearest multiple of 8, at least 8; the next one where it would be more than a tenth lower."""
    near = max(8, (channels + 4) // 8 * 8)
    return near if near >= 0.9 * channels else near + 8


def _conv_norm(conv: nn.Conv2d, activation: nn.Module | None = None, squeeze: nn.Module | None = None) -> nn.Sequential:
    layers = [("conv", conv), ("bn", nn.BatchNorm2d(conv.out_channels)), ("act", activation), ("se", squeeze)]
    return nn.Sequential(OrderedDict((name, layer) for name, layer in layers if layer is not None))


class InvertedResidualBlock(nn.Module):
    """An MBConv with or without shortcut, or nothing but the shortcut; its name in the state dict is the form's."""

    def __init__(self, form: Form, layer: MBInvertedConv | None, *, shortcut: bool) -> None:
        super().__init__()
        self._name, self.shortcut = form.conv, shortcut
        self.add_module(form.conv, layer)

    @property
    def layer(self) -> MBInvertedConv | None:
        """The MBConv."""
        found = self._modules[self._name]
        assert found is None or isinstance(found, MBInvertedConv)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width)."""
        layer = self.layer
        if layer is None:
            return x
        y: Tensor = layer(x)
        return x + y if self.shortcut else y


class InvertedNetwork(nn.Module):
    """First convolution, blocks, further layers, classifier.

    Args:
        form: how the blocks are spelt.
        final_expand_layer: after the blocks.
        feature_mix_layer: before the mean of each channel is taken, or after it with ``mixes_means`` as in MobileNetV3.
    """

    def __init__(
        self,
        form: Form,
        first_conv: Conv,
        blocks: Sequence[InvertedResidualBlock],
        final_expand_layer: Conv | None,
        feature_mix_layer: Conv | None,
        classifier: Linear,
        *,
        mixes_means: bool,
    ) -> None:
        super().__init__()
        self.form, self.mixes_means = form, mixes_means
        self.first_conv = first_conv
        self.blocks = nn.ModuleList(blocks)
        self.final_expand_layer = final_expand_layer
        self.feature_mix_layer = feature_mix_layer
        self.classifier = classifier

    def inverted_blocks(self) -> list[InvertedResidualBlock]:
        """The blocks in order."""
        return [block for block in self.blocks if isinstance(block, InvertedResidualBlock)]

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width) -> logits (batch, classes)."""
        x = self.first_conv(x)
        for block in self.blocks:
            x = block(x)
        if self.final_expand_layer is not None:
            x = self.final_expand_layer(x)
        if self.mixes_means:
            x = x.mean(dim=(2, 3), keepdim=True)
        if self.feature_mix_layer is not None:
            x = self.feature_mix_layer(x)
        logits: Tensor = self.classifier(x.flatten(1) if self.mixes_means else x.mean(dim=(2, 3)))
        return logits
