"""Tree-structured networks of the authors' files are read into modules and written again."""

from __future__ import annotations

from torch import nn

from proxyless.files.fields import Fields
from proxyless.spaces.tree_layers import (
    Layer,
    Linear,
    PyramidTreeNet,
    ResidualTreeBlock,
    TransitionBlock,
    TreeNode,
    Unchanged,
    identity,
    initialise,
    made,
    shares,
)
from proxyless.zoo import layers
from proxyless.zoo.layers import Object, read_layer

USUAL_NORM = {"momentum": 0.1, "eps": 1e-5}
"""The batch norm of a network whose file does not say it."""


def read_tree(file: Fields) -> PyramidTreeNet:
    """Read a tree-structured network, with fresh weights."""
    blocks: list[nn.Module] = []
    width = None
    file.get("cell_drop_scheme")  # says how cell_drop_rate grows, which must be 0
    hint = " (or a first_conv before the blocks)"
    for block in layers.blocks_of(file, "TransitionBlock", "ResidualTreeBlock", hint=hint):
        if block.kind == "ResidualTreeBlock":
            residual, width = _read_block(block, width)
            blocks.append(residual)
            continue
        sequence = []
        for layer in block.objects("layers"):
            sequence.append(read_layer(layer, width))
            width = sequence[-1].out_channels
        block.finish()
        blocks.append(TransitionBlock(*map(made, sequence)))
    network = PyramidTreeNet(blocks, Linear(layers.read_linear(file.child("classifier"), width)))
    initialise(network)
    layers.set_norm(network, layers.read_norm(file, USUAL_NORM["eps"]))
    file.finish()
    return network


def _read_block(file: Fields, width: int | None) -> tuple[ResidualTreeBlock, int]:
    shortcut = read_layer(file.child("shortcut"), width)
    in_bottle, reached = _read_optional(file, "in_bottle", shortcut.in_channels)
    cell = _read_node(file.child("cell"), reached)
    out_bottle, reached = _read_optional(file, "out_bottle", cell.out_channels)
    if shortcut.out_channels > reached:
        raise file.problem("its shortcut has more channels than what is added to it")
    norm = file.flag("final_bn", True)
    block = ResidualTreeBlock(in_bottle, cell, out_bottle, made(shortcut), channels=reached, final_norm=norm)
    file.finish()
    return block, reached


def _read_optional(file: Fields, key: str, width: int) -> tuple[nn.Module, int]:
    inner = file.optional(key)
    spec = identity(width) if inner is None else read_layer(inner, width)
    return made(spec), spec.out_channels


def _read_node(file: Fields, width: int) -> TreeNode:
    file.kind_among("layer", ("TreeNode",))
    layers.check_width(file, file.count("in_channels"), width)
    out_channels = file.count("out_channels")
    edges, children = file.children("edges"), file.children("child_nodes")
    many = len(edges)
    if not many or len(children) != many:
        raise file.problem(f"a node needs as many child_nodes as edges, got {len(children)} and {many}")
    split = file.one_of("split_type", (None, "copy", "split"))
    merge = file.one_of("merge_type", (None, "add", "concat"))
    if many > 1 and (split is None or merge is None):
        raise file.problem("a node with several edges needs a split_type and a merge_type")
    given = shares(width, many) if split == "split" else [width] * many
    wanted = shares(out_channels, many) if merge == "concat" else [out_channels] * many
    specs = [identity(c) if edge is None else read_layer(edge, c) for c, edge in zip(given, edges, strict=True)]
    nodes = [
        nn.Identity() if child is None else _read_node(child, spec.out_channels)
        for spec, child in zip(specs, children, strict=True)
    ]
    for spec, node, channels in zip(specs, nodes, wanted, strict=True):
        reached = node.out_channels if isinstance(node, TreeNode) else spec.out_channels
        if reached != channels:
            raise file.problem(f"a branch returns {reached} channels where out_channels asks for {channels}")
    node = TreeNode(
        width,
        out_channels,
        list(map(made, specs)),
        nodes,
        split_type=split,
        merge_type=merge,
        has_branch_bn=file.flag("has_branch_bn"),
    )
    file.finish()
    return node


def write_tree(network: PyramidTreeNet) -> Object:
    """The object of the files for ``network``."""
    norm = layers.norm_of(network)
    return {
        "name": "PyramidTreeNet",
        "blocks": [_write_block(block) for block in network.blocks],
        "classifier": layers.write_layer(network.classifier.spec),
    } | ({} if norm in (None, USUAL_NORM) else {"bn": norm})


def _write_block(block: nn.Module) -> Object:
    if isinstance(block, TransitionBlock):
        return {"name": "TransitionBlock", "layers": [_write_part(layer) for layer in block.layers]}
    assert isinstance(block, ResidualTreeBlock)
    parts = {key: _write_part(getattr(block, key)) for key in ("shortcut", "in_bottle", "out_bottle", "cell")}
    return {"name": "ResidualTreeBlock", "cell_drop_rate": 0.0, "final_bn": block.final_bn is not None} | parts


def _write_part(part: nn.Module) -> Object | None:
    if isinstance(part, TreeNode):
        keys = ("in_channels", "out_channels", "split_type", "merge_type", "has_branch_bn")
        return {"name": "TreeNode", "path_drop_rate": 0} | {
            **{key: getattr(part, key) for key in keys},
            "edges": [_write_part(edge) for edge in part.edges],
            "child_nodes": [_write_part(child) for child in part.child_nodes],
        }
    if isinstance(part, Layer | Unchanged):
        return layers.write_layer(part.spec)
    if type(part) is nn.Identity:
        return None
    raise layers.unknown_to_the_format(part)
