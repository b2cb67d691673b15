"""Writes networks as the JSON of the authors' format: the inverse of :mod:`proxyless.zoo.official_reading`."""

from __future__ import annotations

from typing import Any

from torch import nn

from proxyless.errors import ProxylessError
from proxyless.spaces.tree_layers import (
    Conv,
    DepthConv,
    Layer,
    Linear,
    Pool,
    PyramidTreeNet,
    ResidualTreeBlock,
    TransitionBlock,
    TreeNode,
)
from proxyless.zoo import official_timm
from proxyless.zoo.official_modules import InvertedNetwork
from proxyless.zoo.official_reading import ACTIVATIONS

Object = dict[str, Any]


def written(network: nn.Module) -> Object:
    """The file's content for ``network``, see :func:`proxyless.zoo.official_config`."""
    if isinstance(network, PyramidTreeNet):
        return _tree(network)
    if isinstance(network, InvertedNetwork):
        return _inverted(network)
    if official_timm.is_timm(network):
        return _timm(network)
    raise refusal(network)


def refusal(network: nn.Module) -> ProxylessError:
    """The error about a network that the authors' format cannot hold."""
    return ProxylessError(
        f"a {type(network).__name__} has layers that the authors' format does not know: it holds MBConv networks with"
        " ReLU6 and tree-structured ones"
    )


# -- MBConv networks --


def _timm(model: Any) -> Object:
    blocks, made = [], iter(official_timm.blocks(model))
    width = model.conv_stem.out_channels
    for there in official_timm.kept(model):
        if not there:
            blocks.append(_block({"name": "ZeroLayer", "stride": 1}, width))
            continue
        block = model.get_submodule(next(made))
        layer = {"name": "MBInvertedConvLayer"} | official_timm.layers_of(block)
        blocks.append(_block(layer, layer["in_channels"] if block.has_skip else None))
        width = layer["out_channels"]
    return {
        "name": "ProxylessNASNets",
        "bn": {"momentum": model.bn1.momentum, "eps": model.bn1.eps},
        "first_conv": _conv_of(model.conv_stem),
        "feature_mix_layer": _conv_of(model.conv_head),
        "classifier": _linear(model.classifier, model.drop_rate, "weight_bn_act"),
        "blocks": blocks,
    }


def _inverted(network: InvertedNetwork) -> Object:
    blocks, width = [], network.first_conv.out_channels
    for block in network.inverted_blocks():
        conv = block.mobile_inverted_conv
        if conv is None:
            blocks.append(_block({"name": "ZeroLayer", "stride": 1}, width))
            continue
        layer = {
            "name": "MBInvertedConvLayer",
            "in_channels": conv.in_channels,
            "out_channels": conv.out_channels,
            "kernel_size": conv.kernel,
            "stride": conv.stride,
            "expand_ratio": 1 if conv.hidden is None else conv.hidden / conv.in_channels,
            "mid_channels": conv.hidden,
            "act_func": _activation(conv.activation()),
        }
        blocks.append(_block(layer, width if block.shortcut else None))
        width = conv.out_channels
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    return {
        "name": "ProxylessNASNets",
        "bn": {"momentum": norm.momentum, "eps": norm.eps},
        "first_conv": _layer(network.first_conv, 0),
        "feature_mix_layer": _layer(network.feature_mix_layer, 0),
        "classifier": _linear(network.classifier.linear, network.classifier.dropout.p, "weight_bn_act"),
        "blocks": blocks,
    }


def _block(conv: Object, shortcut: int | None) -> Object:
    return {
        "name": "MobileInvertedResidualBlock",
        "mobile_inverted_conv": conv,
        "shortcut": None if shortcut is None else _identity(shortcut, "weight_bn_act"),
    }


def _conv_of(conv: nn.Conv2d) -> Object:
    """A convolution of a timm model, which norm and ReLU6 follow."""
    layer = Conv(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size[0],
        stride=conv.stride[0],
        activation=nn.ReLU6(),
        weights_first=True,
    )
    return _layer(layer, 0)


# -- tree-structured networks --


def _tree(network: PyramidTreeNet) -> Object:
    blocks: list[Object] = []
    width = 0
    for block in network.blocks:
        if isinstance(block, TransitionBlock):
            layers = []
            for layer in block.layers:
                layers.append(_layer(layer, width))
                width = layers[-1]["out_channels"]
            blocks.append({"name": "TransitionBlock", "layers": layers})
        else:
            assert isinstance(block, ResidualTreeBlock)
            in_bottle = _layer(block.in_bottle, width)
            assert isinstance(block.cell, TreeNode)
            cell = _node(block.cell)
            out_bottle = _layer(block.out_bottle, cell["out_channels"])
            blocks.append(
                {
                    "name": "ResidualTreeBlock",
                    "cell_drop_rate": 0.0,
                    "final_bn": block.final_bn is not None,
                    "shortcut": _layer(block.shortcut, width),
                    "in_bottle": in_bottle,
                    "out_bottle": out_bottle,
                    "cell": cell,
                }
            )
            width = out_bottle["out_channels"]
    classifier = network.classifier
    assert isinstance(classifier, Linear)
    value = {
        "name": "PyramidTreeNet",
        "blocks": blocks,
        "classifier": _linear(classifier.linear, classifier.dropout.p, "bn_act_weight"),
    }
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    usual = nn.BatchNorm2d(1)
    if (norm.momentum, norm.eps) != (usual.momentum, usual.eps):
        value["bn"] = {"momentum": norm.momentum, "eps": norm.eps}
    return value


def _node(node: TreeNode) -> Object:
    many = len(node.edges)
    inputs = node.split or [node.channels] * many
    edges: list[Object] = []
    children: list[Object | None] = []
    outputs = []
    for width, edge, child in zip(inputs, node.edges, node.child_nodes, strict=True):
        edges.append(_layer(edge, width))
        children.append(_node(child) if isinstance(child, TreeNode) else None)
        outputs.append((children[-1] or edges[-1])["out_channels"])
    return {
        "name": "TreeNode",
        "in_channels": node.channels,
        "out_channels": sum(outputs) if node.concat else outputs[0],
        "split_type": None if many == 1 else "copy" if node.split is None else "split",
        "merge_type": None if many == 1 else "concat" if node.concat else "add",
        "has_branch_bn": node.branch_bns is not None,
        "path_drop_rate": 0,
        "edges": edges,
        "child_nodes": children,
    }


# -- layers --


def _layer(layer: nn.Module, width: int) -> Object:
    """A layer; ``width`` is what reaches it, for an identity, which does not know."""
    if isinstance(layer, nn.Identity):
        return _identity(width, "bn_act_weight")
    assert isinstance(layer, Layer)
    common = {
        "in_channels": layer.in_channels,
        "out_channels": layer.out_channels,
        "use_bn": layer.bn is not None,
        "act_func": _activation(layer.act),
        "dropout_rate": 0,
        "ops_order": "weight_bn_act" if layer.weights_first else "bn_act_weight",
    }
    if isinstance(layer, Conv | DepthConv):
        depthwise = isinstance(layer, DepthConv)
        conv = layer.depth_conv if isinstance(layer, DepthConv) else layer.conv
        return common | {
            "name": "DepthConvLayer" if depthwise else "ConvLayer",
            "kernel_size": conv.kernel_size[0],
            "stride": conv.stride[0],
            "dilation": conv.dilation[0],
            "groups": 1 if depthwise else conv.groups,
            "bias": conv.bias is not None,
            "has_shuffle": isinstance(layer, Conv) and layer.shuffle,
        }
    if isinstance(layer, Pool):
        return common | {
            "name": "PoolingLayer",
            "pool_type": "avg" if isinstance(layer.pool, nn.AvgPool2d) else "max",
            "kernel_size": layer.pool.kernel_size,
            "stride": layer.pool.stride,
        }
    return common | {"name": "IdentityLayer"}


def _identity(width: int, order: str) -> Object:
    return {
        "name": "IdentityLayer",
        "in_channels": width,
        "out_channels": width,
        "use_bn": False,
        "act_func": None,
        "dropout_rate": 0,
        "ops_order": order,
    }


def _linear(linear: nn.Linear, dropout: float, order: str) -> Object:
    return {
        "name": "LinearLayer",
        "in_features": linear.in_features,
        "out_features": linear.out_features,
        "bias": linear.bias is not None,
        "use_bn": False,
        "act_func": None,
        "dropout_rate": dropout,
        "ops_order": order,
    }


def _activation(module: nn.Module | None) -> str | None:
    return next(name for name, make in ACTIVATIONS.items() if (type(module) if module else None) == make)
