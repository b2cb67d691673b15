"""The MobileNet search space: MBConv blocks of every kernel and expansion, and whether a block is there at all.

At 224 px it is the paper's ImageNet space (section 4.2 there): 21 searchable blocks, about 2.2e17 networks. For smaller
images it is the same family with fewer strides and blocks, so that the last feature map keeps at least 3 x 3 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxyless.configuration import argument, setting
from proxyless.errors import ProxylessError, short
from proxyless.spaces import ImageSpace, PlacedOperator, register_space

if TYPE_CHECKING:
    from torch import nn

    from proxyless.architecture import Architecture
    from proxyless.supernet import SharedStart, Supernet

STEM, FIRST, HEAD = 32, 16, 1280
WIDTHS = (24, 40, 80, 96, 192, 320)
# The layers with stride 2 at 224 px, in the order in which they keep it when the image has room for fewer: the stages
# first, so that the costly expanded blocks run at low resolution; the stem, which sees the finest detail, last.
STRIDE_ORDER = (0, 1, 2, 4, "stem")


@register_space("mobilenet")
@dataclass(frozen=True)
class MobileNetSpace(ImageSpace):
    """Chains of MBConv blocks of every kernel and expansion, for the ImageNet networks of the paper and smaller images.

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

    width: float | None = setting(
        None, "Multiplier of the channels of all layers. Default: 1.0 from 96 px on, 0.5 below.", least=0.1, most=8
    )
    depths: tuple[int, ...] | None = setting(
        None, "Most blocks of each of the six stages. Default: from the image size.", least=1, most=100
    )
    first_width: int = setting(24, "Channels of the first stage before the multiplier.", least=8, most=1024)
    widths: tuple[int, ...] | None = argument(None, least=8, most=8192)
    kernels: tuple[int, ...] = setting((3, 5, 7), "Kernel sizes of the candidates.", least=1, most=31)
    expansions: tuple[int, ...] = setting((3, 6), "Expansion factors of the candidates.", least=1, most=32)
    dropout: float = argument(0.0, least=0, most=0.99)

    regularisation = ("dropout",)

    def __post_init__(self) -> None:
        super().__post_init__()
        small = self.image_size < 96
        if self.width is None:
            object.__setattr__(self, "width", 0.5 if small else 1.0)
        if self.depths is None:
            object.__setattr__(self, "depths", (3, 3, 3, 3, 3, 1) if small else (4, 4, 4, 4, 4, 1))
        for field in ("depths", "widths"):
            found = getattr(self, field)
            if found is not None and len(found) != len(WIDTHS):
                raise ProxylessError(f"space mobilenet: {field} must be {len(WIDTHS)} numbers, got {short(found)}")
        if any(width % 8 for width in self.widths or ()):
            raise ProxylessError(f"space mobilenet: widths must be multiples of 8, got {short(self.widths)}")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise ProxylessError(f"space mobilenet: kernels must be odd, got {short(self.kernels)}")
        for field in ("kernels", "expansions"):
            if len(set(getattr(self, field))) < len(getattr(self, field)):
                raise ProxylessError(f"space mobilenet: {field} must differ, got {short(getattr(self, field))}")
        if len(self.kernels) * len(self.expansions) < 2:
            raise ProxylessError("space mobilenet: kernels and expansions must give at least two candidates")
        assert self.depths is not None
        self.check_size(sum(self.depths) * len(self.kernels) * len(self.expansions), self._parameters())

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
        from proxyless.spaces.mobilenet_network import MobileNetChoices

        return MobileNetChoices(self)

    def quick_start(self, supernet: Supernet) -> SharedStart:
        """See :mod:`proxyless.spaces.mobilenet_start`."""
        from proxyless.spaces.mobilenet_start import MobileNetStart

        return MobileNetStart(supernet)

    def arch_def(self, architecture: Architecture) -> list[list[str]]:
        """The architecture as timm's block strings, one list a stage, channels final.

        Raises:
            ProxylessError: the architecture is not of this space.
        """
        from proxyless.architecture import indices

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

    def operators(self) -> list[PlacedOperator]:
        """All operators in network order, for published latency tables."""
        stem, first, head = self.fixed_widths()
        stem_stride, strides = self.strides()
        size, width = -(-self.image_size // stem_stride), first
        at = _shape(size, stem)
        found = [
            PlacedOperator("stem", _shape(self.image_size, self.channels), at),
            PlacedOperator("first", at, _shape(size, first)),
        ]
        assert self.depths is not None
        choices = iter(self.choices().items())
        for depth, out, first_stride in zip(self.depths, self.stage_widths(), strides, strict=True):
            for block in range(depth):
                before = _shape(size, width)
                size, width = -(-size // (1 if block else first_stride)), out
                place, candidates = next(choices)
                found.append(PlacedOperator(place, before, _shape(size, width), tuple(candidates)))
        found.append(PlacedOperator("head", _shape(size, width), _shape(size, head)))
        found.append(PlacedOperator("classifier", _shape(size, head), str(self.classes)))
        return found

    def describe(self, architecture: Architecture) -> str:
        """One readable line: the stages with kernel and expansion of their blocks."""
        stages: dict[str, list[str]] = {}
        for name, taken in architecture.choices.items():
            stages.setdefault(name.split(".")[0], []).append("-" if taken == "skip" else taken.replace("_", ""))
        return " | ".join(
            f"{width}: {' '.join(taken)}" for width, taken in zip(self.stage_widths(), stages.values(), strict=True)
        )


def _shape(size: int, channels: int) -> str:
    return f"{size}x{size}x{channels}"
