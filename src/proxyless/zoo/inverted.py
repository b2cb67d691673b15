"""Networks of inverted residual blocks in the authors' files, as modules that are named as in their checkpoints.

The files of ProxylessNAS and those of its successor Once-for-all differ in the names of blocks and MBConvs, and the
latter also describe networks after MobileNetV3. Both are read, and written in the form in which they were read.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from proxyless.files.fields import LARGEST, WINDOW, Fields
from proxyless.spaces.tree_layers import ConvLayer, IdentityLayer, Layer, Linear, LinearLayer, identity, initialise
from proxyless.zoo import layers
from proxyless.zoo.layers import Object

Outer = dict[str, IdentityLayer | None]
"""The convolutions around the blocks by name, None where there is none."""

MOBILENET_V3 = "MobileNetV3"
PARTS = {
    "ProxylessNASNets": ("first_conv", "blocks", "feature_mix_layer", "means", "flatten", "classifier"),
    MOBILENET_V3: ("first_conv", "blocks", "final_expand_layer", "means", "feature_mix_layer", "flatten", "classifier"),
}
"""The parts of each kind of network in their order; the layers may be missing."""


@dataclass(frozen=True)
class Form:
    """How files and checkpoints spell the same blocks."""

    block: str  # kind of a block
    conv: str  # what is in a block beside the shortcut, in files and in the names of state dicts
    layer: str  # kind of an MBConv


OLDER = Form("MobileInvertedResidualBlock", "mobile_inverted_conv", "MBInvertedConvLayer")
NEWER = Form("ResidualBlock", "conv", "MBConvLayer")


@dataclass(frozen=True)
class MBConv:
    """What an MBConv is made of, in the words of the files; nothing expands where ``expand_ratio`` is 1."""

    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int = 1
    expand_ratio: float | None = 6
    mid_channels: int | None = None  # None for what follows from expand_ratio
    act_func: str | None = "relu6"
    use_se: bool = False
    groups: int | None = None  # of the depthwise convolution at most, None for one for each channel
    said: tuple[str, ...] = ()  # those of FURTHER that the file gave

    @property
    def middle(self) -> int:
        """Channels in the middle."""
        return round(self.in_channels * (self.expand_ratio or 0)) if self.mid_channels is None else self.mid_channels


FURTHER = ("mid_channels", "act_func", "use_se", "groups")
"""Fields of an MBConv that the first files of the older form do not have."""

# -- reading --


def read_inverted(file: Fields) -> InvertedNetwork:
    """Read the object of a network, with fresh weights.

    Raises:
        ProxylessError: naming the first place that is not supported.
    """
    kinds = (None, "ProxylessNASNets", "MobileNetV2", MOBILENET_V3)
    name = MOBILENET_V3 if file.one_of("name", kinds) == MOBILENET_V3 else "ProxylessNASNets"
    first = layers.read_layer(file.child("first_conv"), None, "ConvLayer")
    described = file.objects("blocks")
    form = NEWER if any(block.kind == NEWER.block or NEWER.conv in block for block in described) else OLDER
    blocks, width = [], first.out_channels
    for inner in described:
        blocks.append(_read_block(inner, form, width))
        width = blocks[-1].out_channels
    outer: Outer = {"first_conv": first}
    for key in [part for part in PARTS[name] if part in ("final_expand_layer", "feature_mix_layer")]:
        conv = file.optional(key, missing=key == "final_expand_layer")
        spec = outer[key] = None if conv is None else layers.read_layer(conv, width, "ConvLayer")
        width = width if spec is None else spec.out_channels
    classifier = layers.read_classifier(file, width)
    norm = layers.read_norm(file, 1e-5 if form == NEWER and name == MOBILENET_V3 else 1e-3)
    file.finish()
    return InvertedNetwork(name, norm, outer, blocks, classifier)


def _read_block(file: Fields, form: Form, width: int) -> Block:
    kind = file.kind_among("block", (OLDER.block, NEWER.block))
    own, other = (NEWER.conv, OLDER.conv) if kind == NEWER.block else (OLDER.conv, NEWER.conv)
    inner = file.optional(other if other in file and own not in file else own, missing=False)
    shortcut = _read_shortcut(file.optional("shortcut"), width)
    file.finish()
    if inner is None or inner.kind == "ZeroLayer":
        place = inner or file
        if not shortcut or place.count("stride", 1, most=WINDOW) != 1:
            raise place.problem("a ZeroLayer needs stride 1 and a shortcut: without, the block returns nothing")
        place.finish()
        return Block(form, None, width, shortcut=True)
    spec = _read_mbconv(inner, width)
    out = spec.out_channels
    if shortcut and (out != width or spec.stride != 1):
        raise file.problem(f"a shortcut needs stride 1 and as many channels out as in, got {width} in and {out} out")
    return Block(form, spec, width, shortcut=shortcut)


def _read_shortcut(file: Fields | None, width: int) -> bool:
    if file is None:
        return False
    if file.kind == "ZeroLayer":  # adds nothing
        file.get("stride")
        file.finish()
        return False
    spec = layers.read_layer(file, width)
    if spec != identity(width, spec.ops_order):
        raise file.problem("only an IdentityLayer without norm and activation is supported as shortcut")
    return True


def _read_mbconv(file: Fields, width: int) -> MBConv:
    file.kind_among("layer", (OLDER.layer, NEWER.layer, "ZeroLayer"))
    spec = layers.read_spec(file, MBConv, width, said=tuple(key for key in FURTHER if key in file))
    if spec.expand_ratio is None and spec.mid_channels is None:
        raise file.problem("it needs an expand_ratio or mid_channels")
    if not 1 <= spec.middle <= LARGEST or (spec.expand_ratio == 1 and spec.middle != width):
        raise file.problem(f"expand_ratio {spec.expand_ratio} does not go with {spec.middle} channels in the middle")
    if spec.act_func is None:
        raise file.problem("an MBConv without act_func is not supported")
    return spec


# -- writing --


def write_inverted(network: InvertedNetwork) -> Object:
    """The object of the files for ``network``."""
    newer = network.form == NEWER
    classifier = dataclasses.replace(network.classifier.spec, ops_order="weight_bn_act")
    return {
        "name": network.name,
        "bn": network.norm | ({"ws_eps": None} if newer else {}),
        "blocks": [_write_block(block) for block in network.blocks],
        "classifier": layers.write_layer(classifier),
    } | {
        key: None if spec is None else layers.write_layer(spec) | ({"use_se": False} if newer else {})
        for key, spec in network.outer.items()
    }


def _write_block(block: Block) -> Object:
    form, spec = block.form, block.spec
    if spec is None:
        conv = {"name": "ZeroLayer"} | ({"stride": 1} if form == OLDER else {})
    else:
        left_out = {"said"} if form == NEWER else {"said", *FURTHER} - set(spec.said)
        fields = dataclasses.asdict(spec).items()
        conv = {"name": form.layer} | {key: value for key, value in fields if key not in left_out}
    shortcut = layers.write_layer(identity(block.in_channels, "weight_bn_act")) if block.shortcut else None
    return {"name": form.block, form.conv: conv, "shortcut": shortcut}


# -- modules --


class InvertedNetwork(nn.Sequential):
    """A network with any width, activation and kernel that files can ask for, named as in the authors' checkpoints.

    (batch, channels, height, width) -> logits (batch, classes); weights are fresh.

    Args:
        name: its kind, one of :data:`PARTS`.
        norm: momentum and eps of all batch norms.
        outer, blocks, classifier: its layers.
    """

    blocks: Sequence[Block]
    classifier: Linear

    def __init__(self, name: str, norm: Object, outer: Outer, blocks: list[Block], classifier: LinearLayer) -> None:
        parts: dict[str, nn.Module] = {key: Layer(spec) for key, spec in outer.items() if spec is not None}
        parts |= {"blocks": nn.Sequential(*blocks), "means": nn.AdaptiveAvgPool2d(1)}
        parts |= {"flatten": nn.Flatten(), "classifier": Linear(classifier)}
        super().__init__(OrderedDict((part, parts[part]) for part in PARTS[name] if part in parts))
        self.name, self.norm, self.outer = name, norm, outer
        self.form = blocks[0].form if blocks else OLDER
        initialise(self)
        layers.set_norm(self, norm)


class Block(nn.Sequential):
    """An MBConv to whose output its input is added where there is a shortcut; one that was removed changes nothing."""

    def __init__(self, form: Form, spec: MBConv | None, in_channels: int, *, shortcut: bool) -> None:
        super().__init__(OrderedDict({} if spec is None else {form.conv: _mbconv(spec)}))
        self.form, self.spec, self.in_channels, self.shortcut = form, spec, in_channels, shortcut
        self.out_channels = in_channels if spec is None else spec.out_channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x)
        return x + y if self.shortcut and self.spec is not None else y

    def extra_repr(self) -> str:
        return f"shortcut={self.shortcut}"


def _mbconv(spec: MBConv) -> nn.Sequential:
    wide, most = spec.middle, spec.groups
    groups = wide if most is None else max(n for n in range(1, min(most, wide) + 1) if wide % n == 0)
    layer = partial(ConvLayer, act_func=spec.act_func, ops_order="weight_bn_act")
    parts: dict[str, nn.Module] = {}
    if spec.expand_ratio != 1:
        parts["inverted_bottleneck"] = Layer(layer(spec.in_channels, wide))
    parts["depth_conv"] = Layer(layer(wide, wide, spec.kernel_size, stride=spec.stride, groups=groups))
    if spec.use_se:
        parts["depth_conv"].add_module("se", SqueezeExcite(wide))
    parts["point_linear"] = Layer(layer(wide, spec.out_channels, act_func=None))
    return nn.Sequential(OrderedDict(parts))


class SqueezeExcite(nn.Sequential):
    """Modules in sequence, by whose output their input is multiplied: a small network on the means of all channels."""

    def __init__(self, channels: int) -> None:
        from timm.layers import make_divisible

        inner = make_divisible(channels // 4, 8)
        parts = {"means": nn.AdaptiveAvgPool2d(1), "reduce": nn.Conv2d(channels, inner, 1), "relu": nn.ReLU()}
        parts |= {"expand": nn.Conv2d(inner, channels, 1), "h_sigmoid": nn.Hardsigmoid()}
        super().__init__(OrderedDict(fc=nn.Sequential(OrderedDict(parts))))
        for name in ("fc.reduce.bias", "fc.expand.bias"):
            nn.init.zeros_(self.get_parameter(name))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x * super().forward(x)
        return result
