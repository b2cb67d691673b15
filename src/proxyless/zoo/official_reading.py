"""Builds the network that a file in the authors' format describes, layer by layer, and checks that the layers fit."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

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
    initialise,
)
from proxyless.zoo.official_fields import Fields
from proxyless.zoo.official_modules import InvertedNetwork, MBInvertedConv, MobileInvertedResidualBlock

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


def network_from(fields: Fields) -> InvertedNetwork | PyramidTreeNet:
    """The network a file describes, with fresh weights.

    Raises:
        ProxylessError: a layer of an unknown kind, a missing, malformed or unsupported field, or channels that do not
            fit together; names its place in the file.
    """
    network = _inverted(fields) if "first_conv" in fields else _tree(fields)
    initialise(network)
    if fields.get("bn") is not None:
        norm = fields.child("bn")
        momentum, eps = norm.number("momentum", 0.1), norm.number("eps", 1e-5)
        norm.finish()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum, module.eps = momentum, eps
    fields.finish()
    return network


def _inverted(fields: Fields) -> InvertedNetwork:
    first_fields = _of_kind(fields.child("first_conv"), "ConvLayer")
    first = _conv(first_fields)
    first_fields.finish()
    blocks, width = [], first.out_channels
    for number, block in enumerate(fields.children("blocks")):
        if block is None or block.kind != "MobileInvertedResidualBlock":
            kind = "null" if block is None else block.kind
            raise fields.problem(f"blocks.{number}: unknown block kind {kind!r}: expected MobileInvertedResidualBlock")
        made, width = _mobile_block(block, width)
        blocks.append(made)
    mix_fields = _of_kind(fields.child("feature_mix_layer"), "ConvLayer")
    mix = _conv(mix_fields)
    _check_width(mix_fields, mix.in_channels, width)
    mix_fields.finish()
    return InvertedNetwork(first, blocks, mix, _linear(fields.child("classifier"), mix.out_channels))


def _mobile_block(fields: Fields, width: int) -> tuple[MobileInvertedResidualBlock, int]:
    conv = fields.child("mobile_inverted_conv")
    shortcut = None
    if fields.get("shortcut") is not None:
        shortcut = _layer(fields.child("shortcut"), width)
        if not isinstance(shortcut, nn.Identity):
            raise fields.problem("only an IdentityLayer without norm and activation is supported as shortcut")
    fields.finish()
    if conv.kind == "ZeroLayer":
        if shortcut is None or conv.count("stride", 1) != 1:
            raise conv.problem("a ZeroLayer needs stride 1 and a shortcut: without, the block returns nothing")
        conv.finish()
        return MobileInvertedResidualBlock(None, shortcut=True), width
    made = _inverted_conv(_of_kind(conv, "MBInvertedConvLayer"), width)
    out = made.out_channels
    if shortcut is not None and (out != width or made.stride != 1):
        raise fields.problem(f"a shortcut needs stride 1 and as many channels out as in, got {width} in and {out} out")
    return MobileInvertedResidualBlock(made, shortcut=shortcut is not None), out


def _inverted_conv(fields: Fields, width: int) -> MBInvertedConv:
    in_channels, out_channels = fields.count("in_channels"), fields.count("out_channels")
    _check_width(fields, in_channels, width)
    expansion = fields.number("expand_ratio", 6)
    middle = fields.count("mid_channels") if fields.get("mid_channels") else round(in_channels * expansion)
    activation = ACTIVATIONS[fields.one_of("act_func", list(ACTIVATIONS)) if "act_func" in fields else "relu6"]
    if activation is None:
        raise fields.problem("an MBConv without act_func is not supported")
    if middle < 1 or (expansion == 1) != (middle == in_channels):
        raise fields.problem(f"expand_ratio {expansion} does not go with {middle} channels in the middle")
    made = MBInvertedConv(
        in_channels,
        out_channels,
        _odd(fields, fields.count("kernel_size")),
        fields.count("stride", 1),
        None if expansion == 1 else middle,
        activation,
    )
    fields.finish()
    return made


def _tree(fields: Fields) -> PyramidTreeNet:
    blocks: list[nn.Module] = []
    width = None
    fields.get("cell_drop_scheme")  # says how cell_drop_rate grows, which must be 0
    for number, block in enumerate(fields.children("blocks")):
        if block is not None and block.kind == "TransitionBlock":
            made: list[nn.Module] = []
            for layer in block.children("layers"):
                if layer is None:
                    raise block.problem("layers must not hold null")
                width = layer.count("in_channels") if width is None else width
                made.append(_layer(layer, width))
                width = layer.count("out_channels")
            block.finish()
            blocks.append(TransitionBlock(*made))
        elif block is not None and block.kind == "ResidualTreeBlock":
            residual, width = _residual_tree(block, width)
            blocks.append(residual)
        else:
            kind = "null" if block is None else block.kind
            known = "TransitionBlock, ResidualTreeBlock" + ("" if blocks else " (or a first_conv before the blocks)")
            raise fields.problem(f"blocks.{number}: unknown block kind {kind!r}: expected one of {known}")
    return PyramidTreeNet(blocks, _linear(fields.child("classifier"), width))


def _residual_tree(fields: Fields, width: int | None) -> tuple[ResidualTreeBlock, int]:
    parts: dict[str, nn.Module] = {}
    reached = width
    for key in ("in_bottle", "cell", "out_bottle"):
        if key != "cell" and fields.get(key) is None:
            parts[key] = nn.Identity()
            continue
        part = fields.child(key)
        reached = part.count("in_channels") if reached is None else reached
        parts[key] = _node(part, reached) if key == "cell" else _layer(part, reached)
        reached = part.count("out_channels")
    shortcut = fields.child("shortcut")
    width = shortcut.count("in_channels") if width is None else width
    made_shortcut = _layer(shortcut, width)
    if reached is None or shortcut.count("out_channels") > reached:
        raise fields.problem("its shortcut has more channels than what is added to it")
    block = ResidualTreeBlock(
        parts["in_bottle"],
        parts["cell"],
        parts["out_bottle"],
        made_shortcut,
        channels=reached,
        final_norm=fields.flag("final_bn", True),
    )
    fields.finish()
    return block, reached


def _node(fields: Fields, width: int) -> TreeNode:
    if fields.kind != "TreeNode":
        raise fields.problem(f"unknown layer kind {fields.kind!r}: expected TreeNode")
    _check_width(fields, fields.count("in_channels"), width)
    out_channels = fields.count("out_channels")
    edges, children = fields.children("edges"), fields.children("child_nodes")
    many = len(edges)
    if not many or len(children) != many:
        raise fields.problem(f"a node needs as many child_nodes as edges, got {len(children)} and {many}")
    split = fields.one_of("split_type", (None, "copy", "split"))
    merge = fields.one_of("merge_type", (None, "add", "concat"))
    if many > 1 and (split is None or merge is None):
        raise fields.problem("a node with several edges needs a split_type and a merge_type")
    inputs = shares(width, many) if split == "split" else [width] * many
    outputs = shares(out_channels, many) if merge == "concat" else [out_channels] * many
    made_edges: list[nn.Module] = []
    made_children: list[nn.Module | None] = []
    for given, wanted, edge, child in zip(inputs, outputs, edges, children, strict=True):
        reached = given
        made_edges.append(nn.Identity() if edge is None else _layer(edge, reached))
        if edge is not None:
            reached = edge.count("out_channels")
        made_children.append(None if child is None else _node(child, reached))
        if child is not None:
            reached = child.count("out_channels")
        if reached != wanted:
            raise fields.problem(f"a branch returns {reached} channels where out_channels asks for {wanted}")
    node = TreeNode(
        width,
        made_edges,
        made_children,
        split=inputs if split == "split" else None,
        concat=merge == "concat",
        branch_norms=outputs if fields.flag("has_branch_bn") else None,
    )
    fields.finish()
    return node


def shares(channels: int, parts: int) -> list[int]:
    """``channels`` in ``parts`` parts; where they do not divide evenly the first parts have one more."""
    return [channels // parts + (number < channels % parts) for number in range(parts)]


def _layer(fields: Fields, width: int) -> nn.Module:
    kind = fields.kind
    if kind == "ConvLayer":
        layer: Layer = _conv(fields)
    elif kind == "DepthConvLayer":
        kernel = _odd(fields, fields.count("kernel_size"))
        if fields.count("groups", 1) != 1:
            raise fields.problem("groups in a DepthConvLayer are not supported")
        layer = DepthConv(
            fields.count("in_channels"),
            fields.count("out_channels"),
            kernel,
            stride=fields.count("stride", 1),
            dilation=fields.count("dilation", 1),
            norm=fields.flag("use_bn"),
            activation=_activation(fields),
            weights_first=_weights_first(fields),
        )
    elif kind == "PoolingLayer":
        stride, kernel = fields.count("stride", 1), fields.count("kernel_size")
        layer = Pool(
            fields.count("in_channels"),
            _odd(fields, kernel) if stride == 1 else kernel,
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
    _check_width(fields, layer.in_channels, width)
    fields.finish()
    plain = kind == "IdentityLayer" and layer.bn is None and layer.act is None
    return nn.Identity() if plain else layer


def _conv(fields: Fields) -> Conv:
    in_channels, out_channels = fields.count("in_channels"), fields.count("out_channels")
    groups = fields.count("groups", 1)
    if in_channels % groups or out_channels % groups:
        raise fields.problem(f"{in_channels} and {out_channels} channels do not divide into {groups} groups")
    return Conv(
        in_channels,
        out_channels,
        _odd(fields, fields.count("kernel_size")),
        stride=fields.count("stride", 1),
        dilation=fields.count("dilation", 1),
        groups=groups,
        bias=fields.flag("bias"),
        shuffle=fields.flag("has_shuffle"),
        norm=fields.flag("use_bn", True),
        activation=_activation(fields),
        weights_first=_weights_first(fields),
    )


def _linear(fields: Fields, width: int | None) -> Linear:
    _of_kind(fields, "LinearLayer")
    in_features = fields.count("in_features")
    _check_width(fields, in_features, width)
    dropout = fields.number("dropout_rate", 0)
    if dropout >= 1:
        raise fields.problem(f"dropout_rate must be below 1, got {dropout}")
    _weights_first(fields)  # without norm and activation the order does not matter
    layer = Linear(in_features, fields.count("out_features"), bias=fields.flag("bias", True), dropout=dropout)
    fields.finish()
    return layer


def _of_kind(fields: Fields, kind: str) -> Fields:
    if fields.kind != kind:
        raise fields.problem(f"unknown layer kind {fields.kind!r}: expected {kind}")
    return fields


def _check_width(fields: Fields, got: int, width: int | None) -> None:
    if width is not None and got != width:
        raise fields.problem(f"it takes {got} channels, but what comes before it returns {width}")


def _activation(fields: Fields) -> nn.Module | None:
    make = ACTIVATIONS[fields.one_of("act_func", list(ACTIVATIONS))]
    return None if make is None else make()


def _weights_first(fields: Fields) -> bool:
    return fields.one_of("ops_order", (None, "weight_bn_act", "bn_act_weight")) != "bn_act_weight"


def _odd(fields: Fields, kernel: int) -> int:
    if kernel % 2 == 0:
        raise fields.problem(f"kernel_size must be odd, got {kernel}")
    return kernel
