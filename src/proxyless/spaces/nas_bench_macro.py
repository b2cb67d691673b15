"""The space of NAS-Bench-Macro (Su et al., CVPR 2021): 3^8 chains of MobileNetV2 blocks, all trained by its authors.

Its published table gives the CIFAR-10 accuracy of every network, so that a search can be judged without training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from proxyless.architecture import Architecture, indices
from proxyless.choice import Choice, Zero
from proxyless.configuration import argument
from proxyless.errors import ProxylessError
from proxyless.spaces import ImageSpace, register_space
from proxyless.spaces.space import LARGEST_IMAGE, MOST_CLASSES

STEM, HEAD = 32, 1280
STAGES = ((64, 2), (128, 3), (256, 3))
"""(width, layers) of each stage; its first layer has stride 2."""

IDENTITY = "identity"
MBCONVS = {"k3_e3": (3, 3), "k5_e6": (5, 6)}
"""(kernel, expansion) of the MBConv candidates by name."""

CANDIDATES = (IDENTITY, *MBCONVS)
"""Candidates by their digit in the names of the benchmark, 0 to 2."""


@dataclass(frozen=True)
class Layer:
    """Where one searchable layer stands: its widths, stride, and height of the square feature maps in and out."""

    name: str
    inputs: int
    outputs: int
    stride: int
    height_in: int
    height_out: int


@register_space("nas-bench-macro")
@dataclass(frozen=True)
class NasBenchMacroSpace(ImageSpace):
    """The networks of NAS-Bench-Macro, all trained on CIFAR-10 by its authors; the defaults are those of their table.

    Args:
        classes: number of classes.
        channels: of the images, 1 or 3.
        image_size: height and width in pixels, at least 8.

    Raises:
        ProxylessError: an argument out of range.
    """

    classes: int = argument(10, least=1, most=MOST_CLASSES)
    image_size: int = argument(32, least=8, most=LARGEST_IMAGE)

    def layers(self) -> list[Layer]:
        """The eight searchable layers in order."""
        widths = [STEM] + [width for width, depth in STAGES for _ in range(depth)]
        strides = [1 if position else 2 for _, depth in STAGES for position in range(depth)]
        heights = [self.image_size]
        for stride in strides:
            heights.append(-(-heights[-1] // stride))
        shapes = zip(pairwise(widths), strides, pairwise(heights), strict=True)
        return [Layer(f"layer{i}", c, o, stride, h, h2) for i, ((c, o), stride, (h, h2)) in enumerate(shapes)]

    def network(self) -> nn.Module:
        """A fresh over-parameterized network, (batch, channels, height, width) -> (batch, classes)."""
        return NasBenchMacroChoices(self)

    def describe(self, architecture: Architecture) -> str:
        """One readable line: the benchmark's digits, stage by stage."""
        digits = self.encode(architecture.choices)
        ends = [sum(depth for _, depth in STAGES[: stage + 1]) for stage in range(len(STAGES))]
        return " | ".join(
            f"{width}: {digits[end - depth : end]}" for (width, depth), end in zip(STAGES, ends, strict=True)
        )

    # -- the benchmark's names of networks --

    def encode(self, choices: Mapping[str, str]) -> str:
        """The network's name in the benchmark, eight digits.

        Raises:
            ProxylessError: the choices are not those of this space.
        """
        candidates = {layer.name: CANDIDATES for layer in self.layers()}
        return "".join(map(str, indices(choices, candidates)))

    def decode(self, digits: str) -> dict[str, str]:
        """Candidate by choice of the network named ``digits``.

        Raises:
            ProxylessError: not eight digits from 0 to 2.
        """
        layers = self.layers()
        if len(digits) != len(layers) or not set(digits) <= set("012"):
            raise ProxylessError(f"space {self.name}: a network is {len(layers)} digits from 0 to 2, got {digits!r}")
        return {layer.name: CANDIDATES[int(digit)] for layer, digit in zip(layers, digits, strict=True)}

    # -- costs in closed form --

    def fixed_macs(self) -> int:
        """MACs of stem, head and classifier."""
        pixels = self.layers()[-1].height_out ** 2
        stem = 9 * self.channels * STEM * self.image_size**2
        return stem + STAGES[-1][0] * HEAD * pixels + HEAD * self.classes

    def layer_macs(self) -> dict[str, dict[str, int]]:
        """MACs of each candidate by choice: convolutions only, no norms."""
        return {layer.name: {name: _macs(layer, name) for name in CANDIDATES} for layer in self.layers()}

    def macs(self, digits: str) -> int:
        """MACs of the network named ``digits``: convolutions and linear layers, no norms, no biases."""
        rows = self.layer_macs()
        return self.fixed_macs() + sum(rows[layer][name] for layer, name in self.decode(digits).items())

    def parameters(self, digits: str) -> int:
        """Parameters of the network named ``digits``, norms and biases included."""
        width = STAGES[-1][0]
        fixed = 9 * self.channels * STEM + 2 * STEM + width * HEAD + 2 * HEAD + HEAD * self.classes + self.classes
        names = self.decode(digits).values()
        return fixed + sum(_parameters(layer, name) for layer, name in zip(self.layers(), names, strict=True))


def _macs(layer: Layer, candidate: str) -> int:
    c, o, pixels = layer.inputs, layer.outputs, layer.height_out**2
    if candidate == IDENTITY:
        return 0 if layer.stride == 1 else c * o * pixels
    kernel, expansion = MBCONVS[candidate]
    middle = expansion * c
    return c * middle * layer.height_in**2 + middle * kernel**2 * pixels + middle * o * pixels


def _parameters(layer: Layer, candidate: str) -> int:
    c, o = layer.inputs, layer.outputs
    if candidate == IDENTITY:
        return 0 if layer.stride == 1 else c * o + 2 * o
    kernel, expansion = MBCONVS[candidate]
    middle = expansion * c
    return (c * middle + 2 * middle) + (middle * kernel**2 + 2 * middle) + (middle * o + 2 * o)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]


def _candidate(layer: Layer, name: str) -> nn.Module:
    c, o, stride = layer.inputs, layer.outputs, layer.stride
    if name == IDENTITY:
        # Beside a shortcut the identity adds nothing.
        return Zero() if stride == 1 else nn.Sequential(*_conv(c, o, 1, stride))
    kernel, expansion = MBCONVS[name]
    middle = expansion * c
    expand, depthwise = _conv(c, middle, 1), _conv(middle, middle, kernel, stride, groups=middle)
    return nn.Sequential(*expand, nn.ReLU(), *depthwise, nn.ReLU(), *_conv(middle, o, 1))


class NasBenchMacroChoices(nn.Module):
    """The over-parameterized network of a :class:`NasBenchMacroSpace`; its choices are ``layer0`` to ``layer7``."""

    def __init__(self, space: NasBenchMacroSpace) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv(space.channels, STEM, 3), nn.ReLU())
        self.layers = [layer.name for layer in space.layers()]
        for layer in space.layers():
            candidates = {name: _candidate(layer, name) for name in CANDIDATES}
            self.add_module(layer.name, Choice(shortcut=layer.stride == 1, **candidates))
        self.head = nn.Sequential(*_conv(STAGES[-1][0], HEAD, 1), nn.ReLU())
        self.classifier = nn.Linear(HEAD, space.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width) -> logits (batch, classes)."""
        x = self.stem(x)
        for layer in self.layers:
            x = getattr(self, layer)(x)
        logits: Tensor = self.classifier(self.head(x).mean(dim=(2, 3)))
        return logits
