"""Networks of inverted residual blocks in the authors' files are checked, completed and built.

The files of ProxylessNAS and those of its successor Once-for-all differ in the names of blocks and MBConvs, and the
latter also describe networks after MobileNetV3. Both are read. What a network is made of stays the object of its file,
in the form it was read in, with all that the file left out.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from proxyless.files.fields import LARGEST, WINDOW, Fields
from proxyless.spaces.tree_layers import ConvLayer, IdentityLayer, Layer, Linear, LinearLayer, identity, initialise
from proxyless.zoo import layers
from proxyless.zoo.layers import READERS, Object

MEANS_FIRST, MEANS_LAST = "MobileNetV3", "ProxylessNASNets"
"""Kinds of networks: the mean of each channel is taken before or after the ``feature_mix_layer``."""

NEEDED = ("in_channels", "out_channels", "kernel_size", "stride", "expand_ratio")
"""The fields of an MBConv in every form of the files."""

USUAL = {"mid_channels": None, "act_func": "relu6", "use_se": False, "groups": None}
"""Further fields of an MBConv, which may be missing, with their usual values."""


@dataclass(frozen=True)
class Form:
    """How files and checkpoints spell the same blocks.

    Args:
        block: kind of a block.
        conv: what is in a block beside the shortcut, in the file and in the names of the state dict.
        layer: kind of an MBConv.
        zero: what stands in the place of an MBConv that was removed.
        said: what an MBConv says though it need not.
    """

    block: str
    conv: str
    layer: str
    zero: Object
    said: Object


ZERO: Object = {"name": "ZeroLayer"}
OLDER = Form("MobileInvertedResidualBlock", "mobile_inverted_conv", "MBInvertedConvLayer", ZERO | {"stride": 1}, {})
NEWER = Form("ResidualBlock", "conv", "MBConvLayer", ZERO, USUAL)
FORMS = {form.block: form for form in (OLDER, NEWER)}

# -- the object of a file --


def read_inverted(file: Fields) -> Object:
    """Read the object of a network, and complete what its file left out.

    Raises:
        ProxylessError: naming the first place that is not supported.
    """
    mixes_means = file.one_of("name", (None, MEANS_LAST, "MobileNetV2", MEANS_FIRST)) == MEANS_FIRST
    first = layers.read_layer(file.child("first_conv"), None, "ConvLayer")
    described = list(layers.blocks_of(file, *FORMS))
    form = NEWER if any(block.kind == NEWER.block or NEWER.conv in block for block in described) else OLDER
    blocks, width = [], first.out_channels
    for block in described:
        conv, shortcut = _read_block(block, width)
        blocks.append(block_object(form, conv, width if shortcut else None))
        width = width if conv is None else conv["out_channels"]
    ends = {}
    for key in ("final_expand_layer", "feature_mix_layer") if mixes_means else ("feature_mix_layer",):
        inner = file.optional(key, missing=key == "final_expand_layer")
        spec = None if inner is None else layers.read_layer(inner, width, "ConvLayer")
        width = width if spec is None else spec.out_channels
        ends[key] = None if spec is None else outer_object(form, spec)
    classifier = layers.read_linear(file.child("classifier"), width)
    norm = layers.read_norm(file, 1e-5 if form == NEWER and mixes_means else 1e-3)
    file.finish()
    name = MEANS_FIRST if mixes_means else MEANS_LAST
    return network_object(form, name, norm, outer_object(form, first), blocks, classifier) | ends


def _read_block(file: Fields, width: int) -> tuple[Object | None, bool]:
    """The MBConv of a block, None where it was removed, and whether there is a shortcut."""
    own, other = (NEWER.conv, OLDER.conv) if file.kind == NEWER.block else (OLDER.conv, NEWER.conv)
    inner = file.optional(other if other in file and own not in file else own, missing=False)
    shortcut = _read_shortcut(file.optional("shortcut"), width)
    file.finish()
    if inner is None or inner.kind == "ZeroLayer":
        place = file if inner is None else inner
        if not shortcut or place.count("stride", 1, most=WINDOW) != 1:
            raise place.problem("a ZeroLayer needs stride 1 and a shortcut: without, the block returns nothing")
        place.finish()
        return None, shortcut
    conv = _read_mbconv(inner, width)
    out = conv["out_channels"]
    if shortcut and (out != width or conv["stride"] != 1):
        raise file.problem(f"a shortcut needs stride 1 and as many channels out as in, got {width} in and {out} out")
    return conv, shortcut


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


def _read_mbconv(file: Fields, width: int) -> Object:
    file.kind_among("layer", (OLDER.layer, NEWER.layer, "ZeroLayer"))
    said = [key for key in USUAL if key in file]
    conv = {key: READERS[key](file, key) for key in (*NEEDED, *said)}
    layers.check_width(file, conv["in_channels"], width)
    ratio = conv["expand_ratio"]
    if ratio is None and conv.get("mid_channels") is None:
        raise file.problem("it needs an expand_ratio or mid_channels")
    wide = middle(conv)
    if not 1 <= wide <= LARGEST or (ratio == 1 and wide != width):
        raise file.problem(f"expand_ratio {ratio} does not go with {wide} channels in the middle")
    if conv.get("act_func", "relu6") is None:
        raise file.problem("an MBConv without act_func is not supported")
    file.finish()
    return conv


def middle(conv: Object) -> int:
    """Channels in the middle of an MBConv."""
    given: int | None = conv.get("mid_channels")
    return round(conv["in_channels"] * conv["expand_ratio"]) if given is None else given


def network_object(
    form: Form, name: str, norm: Object, first: Object, blocks: list[Object], classifier: LinearLayer
) -> Object:
    """The object of a network without what is between the blocks and the classifier."""
    last = layers.write_layer(dataclasses.replace(classifier, ops_order="weight_bn_act"))
    norm = norm | ({"ws_eps": None} if form == NEWER else {})
    return {"name": name, "bn": norm, "first_conv": first, "blocks": blocks, "classifier": last}


def block_object(form: Form, conv: Object | None, shortcut: int | None) -> Object:
    """The object of a block: its MBConv, None where it was removed, and the channels of its shortcut, None for none."""
    inner = form.zero if conv is None else {"name": form.layer} | form.said | conv
    identical = None if shortcut is None else layers.write_layer(identity(shortcut, "weight_bn_act"))
    return {"name": form.block, form.conv: inner, "shortcut": identical}


def outer_object(form: Form, spec: IdentityLayer) -> Object:
    """The object of one of the convolutions around the blocks."""
    return layers.write_layer(spec) | ({"use_se": False} if form == NEWER else {})


# -- modules --


class InvertedNetwork(nn.Sequential):
    """A network with any width, activation and kernel that files can ask for, named as in the authors' checkpoints.

    (batch, channels, height, width) -> logits (batch, classes); weights are fresh.

    Args:
        config: see :func:`read_inverted`.
    """

    classifier: Linear

    def __init__(self, config: Object) -> None:
        ends = [("feature_mix_layer", _outer(config["feature_mix_layer"])), ("means", Means())]
        parts = [
            ("first_conv", _outer(config["first_conv"])),
            ("blocks", nn.Sequential(*map(_block, config["blocks"]))),
            ("final_expand_layer", _outer(config.get("final_expand_layer"))),
            *(reversed(ends) if config["name"] == MEANS_FIRST else ends),
            ("flatten", nn.Flatten()),
            ("classifier", Linear(layers.spec_of(config["classifier"], LinearLayer))),
        ]
        super().__init__(OrderedDict((name, part) for name, part in parts if part is not None))
        self._config = config
        initialise(self)
        layers.set_norm(self, config["bn"])

    @property
    def config(self) -> Object:
        """The object of the file; the classifier may have been replaced."""
        return self._config | {"classifier": layers.write_layer(self.classifier.spec)}


class Means(nn.Module):
    """The mean of each channel, (batch, channels, height, width) -> (batch, channels, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3), keepdim=True)


class Residual(nn.Sequential):
    """Modules in sequence, to whose output their input is added."""

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + super().forward(x)
        return result


class SqueezeExcite(nn.Sequential):
    """Modules in sequence, by whose output their input is multiplied: a small network on the means of all channels."""

    def __init__(self, channels: int) -> None:
        inner = max(8, (channels // 4 + 4) // 8 * 8)  # the nearest multiple of 8, or the next
        inner += 8 if inner < 0.9 * (channels // 4) else 0
        parts = {"means": Means(), "reduce": nn.Conv2d(channels, inner, 1), "relu": nn.ReLU()}
        parts |= {"expand": nn.Conv2d(inner, channels, 1), "h_sigmoid": nn.Hardsigmoid()}
        super().__init__(OrderedDict(fc=nn.Sequential(OrderedDict(parts))))
        for name in ("fc.reduce.bias", "fc.expand.bias"):
            nn.init.zeros_(self.get_parameter(name))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x * super().forward(x)
        return result


def _outer(config: Object | None) -> nn.Module | None:
    return None if config is None else Layer(layers.spec_of(config, ConvLayer))


def _block(config: Object) -> nn.Module:
    form = FORMS[config["name"]]
    conv = config[form.conv]
    if conv["name"] == "ZeroLayer":
        return nn.Sequential()
    wide, groups = middle(conv), conv.get("groups")
    groups = wide if groups is None else max(n for n in range(1, min(groups, wide) + 1) if wide % n == 0)
    after = partial(ConvLayer, act_func=conv.get("act_func", "relu6"), ops_order="weight_bn_act")
    parts: dict[str, nn.Module] = {}
    if conv["expand_ratio"] != 1:
        parts["inverted_bottleneck"] = Layer(after(conv["in_channels"], wide))
    parts["depth_conv"] = Layer(after(wide, wide, conv["kernel_size"], stride=conv["stride"], groups=groups))
    if conv.get("use_se"):
        parts["depth_conv"].add_module("se", SqueezeExcite(wide))
    parts["point_linear"] = Layer(after(wide, conv["out_channels"], act_func=None))
    kind = Residual if config["shortcut"] else nn.Sequential
    return kind(OrderedDict({form.conv: nn.Sequential(OrderedDict(parts))}))
