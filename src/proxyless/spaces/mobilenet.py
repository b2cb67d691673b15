"""The MobileNet search space: MBConv blocks of every kernel and expansion, and whether a block is there at all.

At 224 px it is the paper's ImageNet space (section 4.2 there): 21 searchable blocks, about 2.2e17 networks. For smaller
images it is the same family with fewer strides and blocks, so that the last feature map keeps at least 3 x 3 pixels.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from proxyless.architecture import Architecture, indices
from proxyless.choice import Choice, Zero
from proxyless.errors import ProxylessError, short
from proxyless.spaces.arguments import (
    COMMON,
    all_whole,
    as_tuple,
    check_number,
    check_rate,
    check_size,
    check_whole,
)

STEM, FIRST, HEAD = 32, 16, 1280
WIDTHS = (24, 40, 80, 96, 192, 320)
# The layers with stride 2 at 224 px, in the order in which they keep it when the image has room for fewer: the stages
# first, so that the costly expanded blocks run at low resolution; the stem, which sees the finest detail, last.
STRIDE_ORDER = (0, 1, 2, 4, "stem")


@dataclass(frozen=True)
class MobileNetSpace:
    """All networks of the family for one image size; its fields are the ``arguments`` of an architecture.

    Args:
        classes: number of classes.
        channels: of the images, 1 or 3.
        image_size: height and width in pixels, at least 8.
        width: multiplier of all widths, rounded to multiples of 8; None for 1.0 from 96 px on and 0.5 below.
        depths: blocks of each of the six stages; None for what follows from the image size.
        first_width: width of the first stage before the multiplier: 24, or 32 as in the published mobile network.
        widths: output channels of the six stages as they are, for networks whose widths no multiplier gives; None for
            what follows from ``width`` and ``first_width``.
        kernels: depthwise kernel sizes of the candidates.
        expansions: expansion factors of the candidates.
        dropout: before the classifier, in the derived network.

    Raises:
        ProxylessError: an argument out of range.
    """

    classes: int = 1000
    channels: int = 3
    image_size: int = 224
    width: float | None = None
    depths: tuple[int, ...] | None = None
    first_width: int = 24
    widths: tuple[int, ...] | None = None
    kernels: tuple[int, ...] = (3, 5, 7)
    expansions: tuple[int, ...] = (3, 6)
    dropout: float = 0.0

    name = "mobilenet"

    def __post_init__(self) -> None:
        check_whole(self, COMMON | {"first_width": (8, 1024)})
        check_rate(self, "dropout")
        small = self.image_size < 96
        if self.width is None:
            object.__setattr__(self, "width", 0.5 if small else 1.0)
        if self.depths is None:
            object.__setattr__(self, "depths", (3, 3, 3, 3, 3, 1) if small else (4, 4, 4, 4, 4, 1))
        for field in ("depths", "kernels", "expansions", "widths"):
            if getattr(self, field) is not None:
                as_tuple(self, field)
        assert self.depths is not None
        check_number(self, "width", 0.1, 8)
        if len(self.depths) != len(WIDTHS) or not all_whole(self.depths, 1, 100):
            raise ProxylessError(
                f"space mobilenet: depths must be {len(WIDTHS)} numbers of at least 1 and at most 100,"
                f" got {short(self.depths)}"
            )
        if self.widths is not None and (
            len(self.widths) != len(WIDTHS) or not all_whole(self.widths, 8, 8192) or any(w % 8 for w in self.widths)
        ):
            raise ProxylessError(
                f"space mobilenet: widths must be {len(WIDTHS)} multiples of 8 up to 8192, got {short(self.widths)}"
            )
        if not self.kernels or not all_whole(self.kernels, 1, 31) or any(k % 2 == 0 for k in self.kernels):
            raise ProxylessError(f"space mobilenet: kernels must be odd and at most 31, got {short(self.kernels)}")
        if not self.expansions or not all_whole(self.expansions, 1, 32):
            raise ProxylessError(
                f"space mobilenet: expansions must be whole numbers from 1 to 32, got {short(self.expansions)}"
            )
        for field in ("kernels", "expansions"):
            if len(set(getattr(self, field))) < len(getattr(self, field)):
                raise ProxylessError(f"space mobilenet: {field} must differ, got {short(getattr(self, field))}")
        if len(self.kernels) * len(self.expansions) < 2:
            raise ProxylessError("space mobilenet: kernels and expansions must give at least two candidates")
        check_size(self, sum(self.depths) * len(self.kernels) * len(self.expansions), self._parameters())

    def _parameters(self) -> int:
        """Parameters of all candidates' convolutions and of the classifier."""
        assert self.depths is not None
        _, width, head = self.fixed_widths()
        total = head * self.classes
        for depth, out in zip(self.depths, self.stage_widths(), strict=True):
            for inputs, blocks in ((width, 1), (out, depth - 1)):
                for expansion in self.expansions:
                    middle = inputs * expansion
                    total += blocks * middle * sum(inputs + kernel**2 + out for kernel in self.kernels)
            width = out
        return total

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.channels, self.image_size, self.image_size

    def strides(self) -> tuple[int, tuple[int, ...]]:
        """Strides of the stem and of the first block of each stage."""
        reductions = max(1, min(5, (self.image_size // 3).bit_length() - 1))
        strided = STRIDE_ORDER[:reductions]
        return 2 if "stem" in strided else 1, tuple(2 if i in strided else 1 for i in range(len(WIDTHS)))

    def _channels(self, base: int) -> int:
        from timm.models._efficientnet_builder import round_channels

        return int(round_channels(base, self.width))

    def stage_widths(self) -> tuple[int, ...]:
        """Output channels of the six stages."""
        return self.widths or tuple(self._channels(base) for base in (self.first_width, *WIDTHS[1:]))

    def fixed_widths(self) -> tuple[int, int, int]:
        """Output channels of what every network of the space contains: stem, first block, head."""
        return self._channels(STEM), self._channels(FIRST), self._channels(HEAD)

    def candidates(self) -> list[str]:
        """Names of the MBConv candidates, such as ``k5_e6``."""
        return [f"k{kernel}_e{expansion}" for expansion in self.expansions for kernel in self.kernels]

    def choices(self) -> dict[str, list[str]]:
        """Candidates by choice: six MBConvs, and ``skip`` where stride and width stay the same."""
        assert self.depths is not None
        return {
            f"stage{stage + 1}.block{block}": self.candidates() + (["skip"] if block else [])
            for stage, depth in enumerate(self.depths)
            for block in range(depth)
        }

    def network(self) -> nn.Module:
        """A fresh over-parameterized network, (batch, channels, height, width) -> (batch, classes)."""
        return MobileNetChoices(self)

    def arch_def(self, architecture: Architecture) -> list[list[str]]:
        """The architecture as timm's block strings, one list a stage, channels final.

        Raises:
            ProxylessError: the architecture is not of this space.
        """
        indices(architecture.choices, self.choices())
        assert self.depths is not None
        _, strides = self.strides()
        definition = [[f"ds_r1_k3_s1_c{self.fixed_widths()[1]}"]]
        for stage, (depth, width, stride) in enumerate(zip(self.depths, self.stage_widths(), strides, strict=True)):
            blocks = []
            for block in range(depth):
                taken = architecture.choices[f"stage{stage + 1}.block{block}"]
                if taken != "skip":
                    kernel, expansion = taken.split("_")
                    blocks.append(f"ir_r1_{kernel}_s{1 if block else stride}_{expansion}_c{width}")
            definition.append(blocks)
        return definition

    def timm_arguments(self, architecture: Architecture) -> dict[str, Any]:
        """What :func:`~proxyless.spaces.efficientnet.build` needs to rebuild the network with timm alone, as data."""
        stem, _, head = self.fixed_widths()
        return {
            "arch_def": self.arch_def(architecture),
            "num_classes": self.classes,
            "in_chans": self.channels,
            "stem_size": stem,
            "stem_stride": self.strides()[0],
            "num_features": head,
            "drop_rate": self.dropout,
            "bn_eps": 1e-3,
        }

    def build(self, architecture: Architecture) -> nn.Module:
        """The compact network of ``architecture`` with fresh weights: a ``timm`` EfficientNet."""
        from proxyless.spaces.efficientnet import build

        return build(self.timm_arguments(architecture))

    def architecture(self, choices: dict[str, str]) -> Architecture:
        """``choices`` as an architecture of this space."""
        arguments = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return Architecture(choices, self.name, arguments)

    def describe(self, architecture: Architecture) -> str:
        """One readable line: the stages with kernel and expansion of their blocks."""
        stages: dict[str, list[str]] = {}
        for name, taken in architecture.choices.items():
            stages.setdefault(name.split(".")[0], []).append("-" if taken == "skip" else taken.replace("_", ""))
        return " | ".join(
            f"{width}: {' '.join(taken)}" for width, taken in zip(self.stage_widths(), stages.values(), strict=True)
        )


class MobileNetChoices(nn.Module):
    """The over-parameterized network of a :class:`MobileNetSpace`; choices are named ``stage1.block0`` and so on."""

    def __init__(self, space: MobileNetSpace) -> None:
        super().__init__()
        from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
        from timm.models._efficientnet_builder import efficientnet_init_weights

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
