"""Networks of inverted residual blocks in the authors' files, read into modules and written again.

The files of ProxylessNAS and those of its successor Once-for-all differ in the names of blocks and MBConvs, and the
latter also describe networks after MobileNetV3. Both are read, and a network is written in the form it was read in.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from proxyless.files.fields import LARGEST, WINDOW, Fields
from proxyless.spaces.tree_layers import Conv
from proxyless.zoo import official_timm
from proxyless.zoo.official_layers import (
    ACTIVATIONS,
    Object,
    activation_name,
    check_width,
    norm_settings,
    odd,
    of_kind,
    read_conv,
    read_layer,
    read_linear,
    write_identity,
    write_layer,
    write_linear,
)
from proxyless.zoo.official_modules import (
    NEWER,
    OLDER,
    Form,
    InvertedNetwork,
    InvertedResidualBlock,
    MBInvertedConv,
    middle,
)

MEANS_FIRST, MEANS_LAST = "MobileNetV3", "ProxylessNASNets"
"""Kinds of networks: the mean of each channel is taken before or after the ``feature_mix_layer``."""

# -- reading --


def read_inverted(fields: Fields) -> InvertedNetwork:
    """A network of MBConvs with fresh weights."""
    mixes_means = fields.one_of("name", (None, MEANS_LAST, "MobileNetV2", MEANS_FIRST)) == MEANS_FIRST
    first = _outer(fields.child("first_conv"), None)
    described = fields.children("blocks")
    there = [block for block in described if block is not None]
    newer = any(NEWER.conv in block or block.get("name") == NEWER.block for block in there)
    form = NEWER if newer else OLDER
    blocks, width = [], first.out_channels
    for number, block in enumerate(described):
        if block is None or block.kind not in (OLDER.block, NEWER.block):
            kind = "null" if block is None else block.kind
            raise fields.problem(
                f"blocks.{number}: unknown block kind {kind!r}: expected {OLDER.block} or {NEWER.block}"
            )
        made, width = _read_block(block, width, form)
        blocks.append(made)
    expand = mix = None
    if mixes_means and fields.get("final_expand_layer") is not None:
        expand = _outer(fields.child("final_expand_layer"), width)
        width = expand.out_channels
    if "feature_mix_layer" not in fields or fields.get("feature_mix_layer") is not None:
        mix = _outer(fields.child("feature_mix_layer"), width)
        width = mix.out_channels
    classifier = read_linear(fields.child("classifier"), width)
    return InvertedNetwork(form, first, blocks, expand, mix, classifier, mixes_means=mixes_means)


def usual_eps(network: InvertedNetwork) -> float:
    """The eps of batch norm where a file does not say it."""
    return 1e-5 if network.form == NEWER and network.mixes_means else 1e-3


def _outer(fields: Fields, width: int | None) -> Conv:
    """One of the convolutions around the blocks, reached by ``width`` channels."""
    conv = read_conv(of_kind(fields, "ConvLayer"))
    check_width(fields, conv.in_channels, width)
    fields.finish()
    return conv


def _read_block(fields: Fields, width: int, form: Form) -> tuple[InvertedResidualBlock, int]:
    own, other = (NEWER.conv, OLDER.conv) if fields.kind == NEWER.block else (OLDER.conv, NEWER.conv)
    key = other if other in fields and own not in fields else own
    conv = None if key in fields and fields.get(key) is None else fields.child(key)
    shortcut = _read_shortcut(fields, width)
    fields.finish()
    if conv is None or conv.kind == "ZeroLayer":
        if not shortcut or (conv is not None and conv.count("stride", 1, most=WINDOW) != 1):
            place = fields if conv is None else conv
            raise place.problem("a ZeroLayer needs stride 1 and a shortcut: without, the block returns nothing")
        if conv is not None:
            conv.finish()
        return InvertedResidualBlock(form, None, shortcut=True), width
    made = _read_mbconv(conv, width)
    out = made.out_channels
    if shortcut and (out != width or made.stride != 1):
        raise fields.problem(f"a shortcut needs stride 1 and as many channels out as in, got {width} in and {out} out")
    return InvertedResidualBlock(form, made, shortcut=shortcut), out


def _read_shortcut(fields: Fields, width: int) -> bool:
    if fields.get("shortcut") is None:
        return False
    shortcut = fields.child("shortcut")
    if shortcut.kind == "ZeroLayer":  # adds nothing
        shortcut.get("stride")
        shortcut.finish()
        return False
    if not isinstance(read_layer(shortcut, width), nn.Identity):
        raise fields.problem("only an IdentityLayer without norm and activation is supported as shortcut")
    return True


def _read_mbconv(fields: Fields, width: int) -> MBInvertedConv:
    if fields.kind not in (OLDER.layer, NEWER.layer):
        known = f"{OLDER.layer}, {NEWER.layer} or ZeroLayer"
        raise fields.problem(f"unknown layer kind {fields.kind!r}: expected {known}")
    in_channels, out_channels = fields.count("in_channels"), fields.count("out_channels")
    check_width(fields, in_channels, width)
    expand_ratio = None if fields.get("expand_ratio", 6) is None else fields.number("expand_ratio", 6)
    mid_channels = None if fields.get("mid_channels") is None else fields.count("mid_channels")
    if expand_ratio is None and mid_channels is None:
        raise fields.problem("it needs an expand_ratio or mid_channels")
    wide = middle(in_channels, expand_ratio, mid_channels)
    if not 1 <= wide <= LARGEST or (expand_ratio == 1 and wide != in_channels):
        raise fields.problem(f"expand_ratio {expand_ratio} does not go with {wide} channels in the middle")
    activation = ACTIVATIONS[fields.one_of("act_func", list(ACTIVATIONS)) if "act_func" in fields else "relu6"]
    if activation is None:
        raise fields.problem("an MBConv without act_func is not supported")
    made = MBInvertedConv(
        in_channels,
        out_channels,
        odd(fields, fields.count("kernel_size", most=WINDOW)),
        fields.count("stride", 1, most=WINDOW),
        activation,
        expand_ratio=expand_ratio,
        mid_channels=mid_channels,
        squeeze=fields.flag("use_se"),
        groups=None if fields.get("groups") is None else fields.count("groups"),
    )
    fields.finish()
    return made


# -- writing --


def write_inverted(network: InvertedNetwork) -> Object:
    """The file's content for ``network``."""
    form, blocks, width = network.form, [], network.first_conv.out_channels
    for block in network.inverted_blocks():
        conv = block.layer
        if conv is None:
            blocks.append(_removed(form, width))
            continue
        layer = {
            "name": form.layer,
            "in_channels": conv.in_channels,
            "out_channels": conv.out_channels,
            "kernel_size": conv.kernel,
            "stride": conv.stride,
            "expand_ratio": conv.expand_ratio,
            "mid_channels": conv.mid_channels,
            "act_func": activation_name(conv.activation()),
            "use_se": conv.squeeze,
        }
        if form == NEWER or conv.groups is not None:
            layer["groups"] = conv.groups
        blocks.append(_block(form, layer, width if block.shortcut else None))
        width = conv.out_channels
    mix, expand = network.feature_mix_layer, network.final_expand_layer
    value = {
        "name": MEANS_FIRST if network.mixes_means else MEANS_LAST,
        "first_conv": _written_outer(form, network.first_conv),
        "feature_mix_layer": None if mix is None else _written_outer(form, mix),
        "classifier": write_linear(network.classifier.linear, network.classifier.dropout.p, "weight_bn_act"),
        "blocks": blocks,
    }
    if network.mixes_means:
        value["final_expand_layer"] = None if expand is None else _written_outer(form, expand)
    return value | _written_norm(form, network)


def write_timm(model: Any) -> Object:
    """The file's content for a timm model with layers that the format knows."""
    form = official_timm.form_of(model)
    further = {"mid_channels": None, "act_func": "relu6", "use_se": False, "groups": None} if form == NEWER else {}
    blocks, made = [], iter(official_timm.blocks(model))
    width = model.conv_stem.out_channels
    for there in official_timm.kept(model):
        if not there:
            blocks.append(_removed(form, width))
            continue
        block = model.get_submodule(next(made))
        layer = {"name": form.layer} | further | official_timm.layers_of(block)
        blocks.append(_block(form, layer, layer["in_channels"] if block.has_skip else None))
        width = layer["out_channels"]
    value = {
        "name": MEANS_LAST,
        "first_conv": _conv_of(form, model.conv_stem),
        "feature_mix_layer": _conv_of(form, model.conv_head),
        "classifier": write_linear(model.classifier, model.drop_rate, "weight_bn_act"),
        "blocks": blocks,
    }
    return value | _written_norm(form, model)


def _block(form: Form, conv: Object, shortcut: int | None) -> Object:
    identity = None if shortcut is None else write_identity(shortcut, "weight_bn_act")
    return {"name": form.block, form.conv: conv, "shortcut": identity}


def _removed(form: Form, width: int) -> Object:
    zero: Object = {"name": "ZeroLayer"}
    return _block(form, zero if form == NEWER else zero | {"stride": 1}, width)


def _written_outer(form: Form, conv: Conv) -> Object:
    return write_layer(conv, 0) | ({"use_se": False} if form == NEWER else {})


def _written_norm(form: Form, network: nn.Module) -> Object:
    settings = norm_settings(network)
    if settings is None:
        return {}
    return {"bn": settings | ({"ws_eps": None} if form == NEWER else {})}


def _conv_of(form: Form, conv: nn.Conv2d) -> Object:
    """A convolution of a timm model, which norm and ReLU6 follow."""
    layer = Conv(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size[0],
        stride=conv.stride[0],
        activation=nn.ReLU6(),
        weights_first=True,
    )
    return _written_outer(form, layer)
