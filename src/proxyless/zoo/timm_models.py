"""Networks of inverted residual blocks are timm models where timm has the same layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from proxyless.errors import ProxylessError
from proxyless.spaces import efficientnet
from proxyless.spaces.tree_layers import ConvLayer, LinearLayer
from proxyless.zoo import layers
from proxyless.zoo.inverted import OLDER, Block, Form, InvertedNetwork, MBConv, Outer

if TYPE_CHECKING:
    from timm.models.efficientnet import EfficientNet

NUMBERING = "official_blocks"
"""Attribute of a timm model: see :func:`number_blocks`."""


def number_blocks(model: nn.Module, kept: Sequence[bool], form: Form = OLDER) -> None:
    """Remember in ``model`` the form of its file, and for each block there whether the model has it.

    The removed blocks have left no trace in the model, yet they count in the names of the authors' checkpoints.
    """
    setattr(model, NUMBERING, (form, tuple(kept)))


def timm_model(network: InvertedNetwork) -> EfficientNet | None:
    """A timm model with the layers of ``network`` and fresh weights, or None where timm would make another network."""
    stages: list[list[str]] = []
    for block in network.blocks:
        spec = block.spec
        if spec is None:
            continue
        if spec.stride > 2 or spec.act_func != "relu6" or spec.use_se or spec.groups is not None:
            return None
        text = f"r1_k{spec.kernel_size}_s{spec.stride}_c{spec.out_channels}"
        text = f"ds_{text}" if spec.expand_ratio == 1 else f"ir_{text}_e{spec.middle / spec.in_channels!r}"
        text += "" if block.shortcut else "_noskip"
        if not block.shortcut or not stages:  # a stage begins with every block that has no shortcut
            stages.append([])
        stages[-1].append(text)
    first: Any
    first, mix, linear = network.outer["first_conv"], network.outer["feature_mix_layer"], network.classifier.spec
    if not stages or mix is None:
        return None
    model: Any = efficientnet.build(
        {
            "arch_def": stages,
            "num_classes": linear.out_features,
            "in_chans": first.in_channels,
            "stem_size": first.out_channels,
            "stem_stride": first.stride,
            "num_features": mix.out_channels,
            "drop_rate": linear.dropout_rate,
            "bn_eps": network.norm["eps"],
        }
    )
    layers.set_norm(model, network.norm)
    number_blocks(model, [block.spec is not None for block in network.blocks], network.form)
    # timm rounds widths, dilates late convolutions and has one kind of stem: then it is another network.
    try:
        same = str(inverted_network(model)) == str(network)
    except ProxylessError:
        return None
    return model if same else None


def inverted_network(model: nn.Module) -> InvertedNetwork:
    """The network with the layers of a timm model, without memory for its weights.

    Its state dict has the order of the model's and the names of the authors' checkpoints.

    Raises:
        ProxylessError: ``model`` is no timm model, or has layers that the authors' format does not know.
    """
    from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
    from timm.models.efficientnet import EfficientNet

    if not isinstance(model, EfficientNet) or not isinstance(model.classifier, nn.Linear):
        raise layers.unknown_to_the_format(model)
    there = [block for stage in model.blocks.children() for block in stage.children()]
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
    form, kept = getattr(model, NUMBERING, (OLDER, [True] * len(there)))
    width, left = model.conv_stem.out_channels, iter(there)
    with torch.device("meta"):
        blocks = []
        for is_there in kept:
            block: Any = next(left) if is_there else None
            spec = _mbconv(block) if is_there else None
            blocks.append(Block(form, spec, width, shortcut=spec is None or block.has_skip))
            width = blocks[-1].out_channels
        outer: Outer = {"first_conv": _outer(model.conv_stem), "feature_mix_layer": _outer(model.conv_head)}
        linear = model.classifier
        classifier = LinearLayer(linear.in_features, linear.out_features, linear.bias is not None, model.drop_rate)
        return InvertedNetwork("ProxylessNASNets", norm, outer, blocks, classifier)


def _outer(conv: nn.Conv2d) -> ConvLayer:
    """One of the convolutions around the blocks, with the norm and ReLU6 that follow."""
    size, stride = conv.kernel_size[0], conv.stride[0]
    channels = conv.in_channels, conv.out_channels
    return ConvLayer(*channels, size, stride=stride, act_func="relu6", ops_order="weight_bn_act")


def _mbconv(block: nn.Module) -> MBConv:
    *expand, depthwise, project = (conv for conv in block.modules() if isinstance(conv, nn.Conv2d))
    inputs, middle = (expand or [depthwise])[0].in_channels, depthwise.in_channels
    sizes = (inputs, project.out_channels, depthwise.kernel_size[0], depthwise.stride[0])
    ratio = middle / inputs
    if expand and ratio == 1:  # in the files an expand_ratio of 1 means that nothing expands, not even to this width
        return MBConv(*sizes, None, middle, said=("mid_channels",))
    return MBConv(*sizes, int(ratio) if ratio.is_integer() else ratio)
