"""Networks of inverted residual blocks are timm models where timm has the same layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from proxyless.errors import ProxylessError
from proxyless.spaces import efficientnet
from proxyless.spaces.tree_layers import ConvLayer, LinearLayer
from proxyless.zoo import inverted, layers
from proxyless.zoo.inverted import FORMS, OLDER, Form
from proxyless.zoo.layers import Object

if TYPE_CHECKING:
    from timm.models.efficientnet import EfficientNet

NUMBERING = "official_blocks"
"""Attribute of a timm model: the :class:`Form` of its file, and for each block there whether the model has it.

The removed blocks have left no trace in the model, yet they count in the names of the authors' checkpoints.
"""


def number_blocks(model: nn.Module, kept: Sequence[bool], form: Form = OLDER) -> None:
    """Remember in ``model`` which blocks of the authors' numbering it has (the others are removed), and its form."""
    setattr(model, NUMBERING, (form, tuple(kept)))


def _numbering(model: nn.Module) -> tuple[Form, tuple[bool, ...]]:
    """What the model remembers; of a model that remembers nothing the older form, with all blocks there."""
    found: tuple[Form, tuple[bool, ...]] | None = getattr(model, NUMBERING, None)
    return found or (OLDER, (True,) * len(_blocks(model)))


def timm_model(config: Object) -> EfficientNet | None:
    """A timm model with fresh weights, or None where timm would make another network.

    Args:
        config: the object of a network, see :func:`proxyless.zoo.inverted.read_inverted`.
    """
    form = OLDER if not config["blocks"] else FORMS[config["blocks"][0]["name"]]
    stages: list[list[str]] = []
    for block in config["blocks"]:
        conv = inverted.USUAL | block[form.conv]
        if conv["name"] == "ZeroLayer":
            continue
        if conv["stride"] > 2 or conv["act_func"] != "relu6" or conv["use_se"] or conv["groups"] is not None:
            return None
        wide, narrow, out = inverted.middle(conv), conv["in_channels"], conv["out_channels"]
        text = f"r1_k{conv['kernel_size']}_s{conv['stride']}_c{out}"
        text = f"ds_{text}" if conv["expand_ratio"] == 1 else f"ir_{text}_e{wide / narrow!r}"
        if not block["shortcut"] and conv["stride"] == 1 and narrow == out:
            text += "_noskip"
        if not block["shortcut"] or not stages:  # a stage begins with every block that has no shortcut
            stages.append([])
        stages[-1].append(text)
    if not stages or config["feature_mix_layer"] is None:
        return None
    model: Any = efficientnet.build(
        {
            "arch_def": stages,
            "num_classes": config["classifier"]["out_features"],
            "in_chans": config["first_conv"]["in_channels"],
            "stem_size": config["first_conv"]["out_channels"],
            "stem_stride": config["first_conv"]["stride"],
            "num_features": config["feature_mix_layer"]["out_channels"],
            "drop_rate": config["classifier"]["dropout_rate"],
            "bn_eps": config["bn"]["eps"],
        }
    )
    layers.set_norm(model, config["bn"])
    number_blocks(model, [block[form.conv]["name"] != "ZeroLayer" for block in config["blocks"]], form)
    # timm rounds widths, dilates late convolutions and has one kind of stem: then it is another network.
    try:
        same = _comparable(config_of(model)) == _comparable(config)
    except ProxylessError:
        return None
    return model if same else None


def _comparable(config: Object) -> Object:
    """``config`` with the channels in the middle of blocks given in one of the two ways."""
    blocks = []
    for block in config["blocks"]:
        form = FORMS[block["name"]]
        conv = inverted.USUAL | block[form.conv]
        if conv["name"] != "ZeroLayer":
            conv |= {"mid_channels": inverted.middle(conv), "expand_ratio": conv["expand_ratio"] == 1}
        blocks.append(block | {form.conv: conv})
    return config | {"blocks": blocks}


def config_of(model: nn.Module) -> Object:
    """The object of the authors' files for a timm model.

    Raises:
        ProxylessError: it is none, or has layers that the format does not know.
    """
    from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
    from timm.models.efficientnet import EfficientNet

    if not isinstance(model, EfficientNet) or not isinstance(model.classifier, nn.Linear):
        raise layers.unknown_to_the_format(model)
    there = _blocks(model)
    extras = [getattr(block, name, None) for block in there for name in ("se", "aa", "conv_s2d")]
    activations = [module for name, module in model.named_modules() if name.endswith(".act")]
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    norm = layers.norm_of(model)
    if (
        norm is None
        or any(type(block) not in (DepthwiseSeparableConv, InvertedResidual) for block in there)
        or any(extra is not None and not isinstance(extra, nn.Identity) for extra in extras)
        or any(not isinstance(activation, nn.ReLU6 | nn.Identity) for activation in activations)
        or any(type(conv) is not nn.Conv2d or conv.dilation != (1, 1) or conv.bias is not None for conv in convs)
    ):
        raise layers.unknown_to_the_format(model)
    form, kept = _numbering(model)
    blocks, width, left = [], model.conv_stem.out_channels, iter(there)
    for is_there in kept:
        block: Any = next(left) if is_there else None
        conv = _mbconv(block) if is_there else None
        blocks.append(inverted.block_object(form, conv, width if conv is None or block.has_skip else None))
        width = width if conv is None else conv["out_channels"]
    first, mix = (inverted.outer_object(form, _outer(conv)) for conv in (model.conv_stem, model.conv_head))
    linear = model.classifier
    classifier = LinearLayer(linear.in_features, linear.out_features, linear.bias is not None, model.drop_rate)
    value = inverted.network_object(form, inverted.MEANS_LAST, norm, first, blocks, classifier)
    return value | {"feature_mix_layer": mix}


def _outer(conv: nn.Conv2d) -> ConvLayer:
    """One of the convolutions around the blocks, with the norm and ReLU6 that follow."""
    size, stride = conv.kernel_size[0], conv.stride[0]
    channels = conv.in_channels, conv.out_channels
    return ConvLayer(*channels, size, stride=stride, act_func="relu6", ops_order="weight_bn_act")


def _mbconv(block: nn.Module) -> Object:
    *expand, depthwise, project = (conv for conv in block.modules() if isinstance(conv, nn.Conv2d))
    in_channels = expand[0].in_channels if expand else depthwise.in_channels
    ratio = depthwise.in_channels / in_channels
    # In the files an expand_ratio of 1 means that nothing expands, not even to the same width.
    same = bool(expand) and ratio == 1
    return {
        "in_channels": in_channels,
        "out_channels": project.out_channels,
        "kernel_size": depthwise.kernel_size[0],
        "stride": depthwise.stride[0],
        "expand_ratio": None if same else int(ratio) if ratio.is_integer() else ratio,
    } | ({"mid_channels": depthwise.in_channels} if same else {})


def _blocks(model: nn.Module) -> list[nn.Module]:
    return [block for stage in model.get_submodule("blocks").children() for block in stage.children()]


def names(model: nn.Module) -> dict[str, str]:
    """For each entry of the authors' state dict the entry of ``model``'s, a timm model: both have the same order.

    Raises:
        ProxylessError: it is none, or has layers that the format does not know.
    """
    with torch.device("meta"):
        official = inverted.InvertedNetwork(config_of(model)).state_dict()
    return dict(zip(official, model.state_dict(), strict=True))
