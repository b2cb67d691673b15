"""Small networks in the authors' format, and their layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from weight_fill import wave_image

Object = dict[str, Any]


def conv(name: str = "ConvLayer", **fields: Any) -> Object:
    usual = {"kernel_size": 1, "stride": 1, "dilation": 1, "groups": 1, "bias": False, "has_shuffle": False}
    last = {"use_bn": True, "act_func": "relu6", "dropout_rate": 0, "ops_order": "weight_bn_act"}
    return {"name": name} | usual | last | fields


def identity(channels: int, order: str = "weight_bn_act") -> Object:
    channels_ = {"in_channels": channels, "out_channels": channels}
    return {
        "name": "IdentityLayer",
        "use_bn": False,
        "act_func": None,
        "dropout_rate": 0,
        "ops_order": order,
    } | channels_


def linear(inputs: int, outputs: int) -> Object:
    fields = {"bias": True, "use_bn": False, "act_func": None, "dropout_rate": 0, "ops_order": "weight_bn_act"}
    return {"name": "LinearLayer", "in_features": inputs, "out_features": outputs} | fields


def mbconv(inputs: int, outputs: int, kernel: int, stride: int, expansion: float, **fields: Any) -> Object:
    channels = {"in_channels": inputs, "out_channels": outputs}
    return (
        {"name": "MBInvertedConvLayer", "kernel_size": kernel, "stride": stride, "expand_ratio": expansion}
        | channels
        | fields
    )


def block(layer: Object, shortcut: int | None = None) -> Object:
    kind = "MobileInvertedResidualBlock"
    return {"name": kind, "mobile_inverted_conv": layer, "shortcut": identity(shortcut) if shortcut else None}


def small() -> Object:
    """Three MBConvs, one of them beside a shortcut, and a removed block before the last."""
    return {
        "name": "ProxylessNASNets",
        "bn": {"momentum": 0.2, "eps": 0.001},
        "first_conv": conv(kernel_size=3, stride=2, in_channels=3, out_channels=16),
        "feature_mix_layer": conv(in_channels=24, out_channels=32),
        "classifier": linear(32, 5),
        "blocks": [
            block(mbconv(16, 8, 3, 1, 1)),
            block(mbconv(8, 8, 5, 1, 3), shortcut=8),
            block({"name": "ZeroLayer", "stride": 1}, shortcut=8),
            block(mbconv(8, 24, 7, 2, 6)),
        ],
    }


def tree_edge(name: str, channels: int, out: int, **fields: Any) -> Object:
    kernel = {"kernel_size": 3, "in_channels": channels, "out_channels": out}
    return conv(name, **(kernel | {"act_func": "relu", "ops_order": "bn_act_weight"} | fields))


def small_tree() -> Object:
    """One cell that splits 5 channels unevenly into two branches and concatenates what they return."""
    cell = {
        "name": "TreeNode",
        "in_channels": 5,
        "out_channels": 5,
        "split_type": "split",
        "merge_type": "concat",
        "has_branch_bn": False,
        "path_drop_rate": 0,
        "edges": [tree_edge("DepthConvLayer", 3, 3), identity(2, "bn_act_weight")],
        "child_nodes": [None, None],
    }
    stem = conv(kernel_size=3, in_channels=3, out_channels=4, use_bn=False, act_func=None, ops_order="bn_act_weight")
    bottle = {"use_bn": True, "ops_order": "bn_act_weight"}
    return {
        "name": "PyramidTreeNet",
        "blocks": [
            {"name": "TransitionBlock", "layers": [stem]},
            {
                "name": "ResidualTreeBlock",
                "cell_drop_rate": 0.0,
                "final_bn": True,
                "shortcut": identity(4, "bn_act_weight"),
                "in_bottle": conv(in_channels=4, out_channels=5, act_func=None, **bottle),
                "out_bottle": conv(in_channels=5, out_channels=6, act_func="relu", **bottle),
                "cell": cell,
            },
        ],
        "classifier": linear(6, 3),
    }


def changed(make: Callable[[], Object], path: str, value: Any) -> Object:
    config = make()
    *parts, last = path.split(".")
    target: Any = config
    for part in parts:
        target = target[int(part)] if isinstance(target, list) else target[part]
    if value is ...:
        del target[last]
    else:
        target[int(last) if isinstance(target, list) else last] = value
    return config


def forward(network: nn.Module, size: int = 32) -> torch.Tensor:
    with torch.no_grad():
        return network.eval()(wave_image(size))
