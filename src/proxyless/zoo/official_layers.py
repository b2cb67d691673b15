"""Single layers of the authors' files, read into modules and written again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from proxyless.files.fields import WINDOW, Fields
from proxyless.spaces.tree_layers import Conv, DepthConv, Layer, Linear, Pool

Object = dict[str, Any]

ACTIVATIONS: dict[str | None, Callable[[], nn.Module] | None] = {
    None: None,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "h_swish": nn.Hardswish,
    "h_sigmoid": nn.Hardsigmoid,
}
"""Activations by the name they have in the files."""


# -- reading --


def read_layer(fields: Fields, width: int) -> nn.Module:
    """A layer that keeps to (batch, channels, height, width) and is reached by ``width`` channels."""
    kind = fields.kind
    if kind == "ConvLayer":
        layer: Layer = read_conv(fields)
    elif kind == "DepthConvLayer":
        kernel = odd(fields, fields.count("kernel_size", most=WINDOW))
        if fields.count("groups", 1) != 1:
            raise fields.problem("groups in a DepthConvLayer are not supported")
        layer = DepthConv(
            fields.count("in_channels"),
            fields.count("out_channels"),
            kernel,
            stride=fields.count("stride", 1, most=WINDOW),
            dilation=fields.count("dilation", 1, most=WINDOW),
            norm=fields.flag("use_bn"),
            activation=_activation(fields),
            weights_first=_weights_first(fields),
        )
    elif kind == "PoolingLayer":
        stride, kernel = fields.count("stride", 1, most=WINDOW), fields.count("kernel_size", most=WINDOW)
        layer = Pool(
            fields.count("in_channels"),
            odd(fields, kernel) if stride == 1 else kernel,
            stride=stride,
            average=fields.one_of("pool_type", ("avg", "max")) == "avg",
            norm=fields.flag("use_bn"),
            activation=_activation(fields),
            weights_first=_weights_first(fields),
        )
    elif kind == "IdentityLayer":
        norm, activation = fields.flag("use_bn"), _activation(fields)
        layer = Layer(
            fields.count("in_channels"),
            fields.count("in_channels"),
            norm=norm,
            activation=activation,
            weights_first=_weights_first(fields),
        )
    else:
        known = "ConvLayer, DepthConvLayer, PoolingLayer, IdentityLayer"
        raise fields.problem(f"unknown layer kind {kind!r}: expected one of {known}")
    if layer.out_channels != fields.count("out_channels"):
        raise fields.problem(f"a {kind} returns as many channels as it gets, got other out_channels")
    check_width(fields, layer.in_channels, width)
    fields.finish()
    plain = kind == "IdentityLayer" and layer.bn is None and layer.act is None
    return nn.Identity() if plain else layer


def read_conv(fields: Fields) -> Conv:
    """A convolution with what belongs to it; the caller finishes its fields."""
    in_channels, out_channels = fields.count("in_channels"), fields.count("out_channels")
    groups = fields.count("groups", 1)
    if in_channels % groups or out_channels % groups:
        raise fields.problem(f"{in_channels} and {out_channels} channels do not divide into {groups} groups")
    return Conv(
        in_channels,
        out_channels,
        odd(fields, fields.count("kernel_size", most=WINDOW)),
        stride=fields.count("stride", 1, most=WINDOW),
        dilation=fields.count("dilation", 1, most=WINDOW),
        groups=groups,
        bias=fields.flag("bias"),
        shuffle=fields.flag("has_shuffle"),
        norm=fields.flag("use_bn", True),
        activation=_activation(fields),
        weights_first=_weights_first(fields),
    )


def read_linear(fields: Fields, width: int | None) -> Linear:
    """The classifier; ``width`` is what reaches it, None where it does not matter."""
    of_kind(fields, "LinearLayer")
    in_features = fields.count("in_features")
    check_width(fields, in_features, width)
    dropout = fields.number("dropout_rate", 0)
    if dropout >= 1:
        raise fields.problem(f"dropout_rate must be below 1, got {dropout}")
    _weights_first(fields)  # without norm and activation the order does not matter
    layer = Linear(in_features, fields.count("out_features"), bias=fields.flag("bias", True), dropout=dropout)
    fields.finish()
    return layer


def of_kind(fields: Fields, kind: str) -> Fields:
    """``fields``, which must be of a layer of this kind."""
    if fields.kind != kind:
        raise fields.problem(f"unknown layer kind {fields.kind!r}: expected {kind}")
    return fields


def check_width(fields: Fields, got: int, width: int | None) -> None:
    """Make sure that a layer takes as many channels as reach it."""
    if width is not None and got != width:
        raise fields.problem(f"it takes {got} channels, but what comes before it returns {width}")


def odd(fields: Fields, kernel: int) -> int:
    """``kernel``, which must be odd, so that padding keeps the size."""
    if kernel % 2 == 0:
        raise fields.problem(f"kernel_size must be odd, got {kernel}")
    return kernel


def _activation(fields: Fields) -> nn.Module | None:
    make = ACTIVATIONS[fields.one_of("act_func", list(ACTIVATIONS))]
    return None if make is None else make()


def _weights_first(fields: Fields) -> bool:
    return fields.one_of("ops_order", (None, "weight_bn_act", "bn_act_weight")) != "bn_act_weight"


# -- writing --


def write_layer(layer: nn.Module, width: int) -> Object:
    """A layer; ``width`` is what reaches it, for an identity, which does not know."""
    if isinstance(layer, nn.Identity):
        return write_identity(width, "bn_act_weight")
    assert isinstance(layer, Layer)
    common = {
        "in_channels": layer.in_channels,
        "out_channels": layer.out_channels,
        "use_bn": layer.bn is not None,
        "act_func": activation_name(layer.act),
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


def write_identity(width: int, order: str) -> Object:
    """An identity layer of so many channels."""
    return {
        "name": "IdentityLayer",
        "in_channels": width,
        "out_channels": width,
        "use_bn": False,
        "act_func": None,
        "dropout_rate": 0,
        "ops_order": order,
    }


def write_linear(linear: nn.Linear, dropout: float, order: str) -> Object:
    """The classifier."""
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


def activation_name(module: nn.Module | None) -> str | None:
    """The name of an activation in the files."""
    return next(name for name, make in ACTIVATIONS.items() if (type(module) if module else None) == make)


def norm_settings(network: nn.Module) -> Object | None:
    """Momentum and eps of the first batch norm, as the files give them for all; None without any."""
    norm = next((module for module in network.modules() if isinstance(module, nn.BatchNorm2d)), None)
    return None if norm is None else {"momentum": norm.momentum, "eps": norm.eps}
