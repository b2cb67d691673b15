"""The over-parameterized network of the MobileNet space."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any

from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from timm.models._efficientnet_builder import efficientnet_init_weights
from torch import Tensor, nn

from proxyless.choice import Choice, Zero

if TYPE_CHECKING:
    from proxyless.spaces.mobilenet import MobileNetSpace


class MobileNetChoices(nn.Module):
    """The over-parameterized network of a :class:`MobileNetSpace`; choices are named ``stage1.block0`` and so on."""

    def __init__(self, space: MobileNetSpace) -> None:
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=1e-3)
        layers: dict[str, Any] = {"act_layer": nn.ReLU6, "norm_layer": norm}
        stem_stride, strides = space.strides()
        stem, width, head = space.fixed_widths()
        self.conv_stem = nn.Conv2d(space.channels, stem, 3, stem_stride, 1, bias=False)
        self.bn1 = nn.Sequential(norm(stem), nn.ReLU6(inplace=True))
        self.first = DepthwiseSeparableConv(stem, width, dw_kernel_size=3, **layers)
        assert space.depths is not None
        self.stages = tuple(f"stage{number + 1}" for number in range(len(space.depths)))
        for stage, depth, out, stride in zip(self.stages, space.depths, space.stage_widths(), strides, strict=True):
            blocks: OrderedDict[str, nn.Module] = OrderedDict()
            for block in range(depth):
                step = 1 if block else stride
                candidates: dict[str, nn.Module] = {
                    f"k{kernel}_e{expansion}": InvertedResidual(
                        width,
                        out,
                        dw_kernel_size=kernel,
                        stride=step,
                        noskip=True,
                        exp_ratio=float(expansion),
                        **layers,
                    )
                    for expansion in space.expansions
                    for kernel in space.kernels
                }
                if block:
                    candidates["skip"] = Zero()
                # timm gives a block a shortcut wherever the shapes agree; so does the choice in its place.
                shortcut = step == 1 and width == out
                blocks[f"block{block}"] = Choice(shortcut=shortcut, **candidates)
                width = out
            self.add_module(stage, nn.Sequential(blocks))
        self.conv_head = nn.Conv2d(width, head, 1, bias=False)
        self.bn2 = nn.Sequential(norm(head), nn.ReLU6(inplace=True))
        self.classifier = nn.Linear(head, space.classes)
        efficientnet_init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width) -> logits (batch, classes)."""
        x = self.first(self.bn1(self.conv_stem(x)))
        for stage in self.stages:
            x = getattr(self, stage)(x)
        x = self.bn2(self.conv_head(x))
        x = x.mean(dim=(2, 3))
        logits: Tensor = self.classifier(x)
        return logits
