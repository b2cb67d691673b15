"""Tree-structured networks of the authors' files, read into modules and written again."""

from __future__ import annotations

from torch import nn

from proxyless.files.fields import Fields
from proxyless.spaces.tree_layers import Linear, PyramidTreeNet, ResidualTreeBlock, TransitionBlock, TreeNode
from proxyless.zoo.official_layers import (
    Object,
    check_width,
    norm_settings,
    read_layer,
    read_linear,
    write_layer,
    write_linear,
)


def read_tree(fields: Fields) -> PyramidTreeNet:
    """A tree-structured network with fresh weights."""
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
                made.append(read_layer(layer, width))
                width = layer.count("out_channels")
            block.finish()
            blocks.append(TransitionBlock(*made))
        elif block is not None and block.kind == "ResidualTreeBlock":
            residual, width = _read_block(block, width)
            blocks.append(residual)
        else:
            kind = "null" if block is None else block.kind
            known = "TransitionBlock, ResidualTreeBlock" + ("" if blocks else " (or a first_conv before the blocks)")
            raise fields.problem(f"blocks.{number}: unknown block kind {kind!r}: expected one of {known}")
    return PyramidTreeNet(blocks, read_linear(fields.child("classifier"), width))


def _read_block(fields: Fields, width: int | None) -> tuple[ResidualTreeBlock, int]:
    parts: dict[str, nn.Module] = {}
    reached = width
    for key in ("in_bottle", "cell", "out_bottle"):
        if key != "cell" and fields.get(key) is None:
            parts[key] = nn.Identity()
            continue
        part = fields.child(key)
        reached = part.count("in_channels") if reached is None else reached
        parts[key] = _read_node(part, reached) if key == "cell" else read_layer(part, reached)
        reached = part.count("out_channels")
    shortcut = fields.child("shortcut")
    width = shortcut.count("in_channels") if width is None else width
    made_shortcut = read_layer(shortcut, width)
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


def _read_node(fields: Fields, width: int) -> TreeNode:
    if fields.kind != "TreeNode":
        raise fields.problem(f"unknown layer kind {fields.kind!r}: expected TreeNode")
    check_width(fields, fields.count("in_channels"), width)
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
        made_edges.append(nn.Identity() if edge is None else read_layer(edge, reached))
        if edge is not None:
            reached = edge.count("out_channels")
        made_children.append(None if child is None else _read_node(child, reached))
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


def write_tree(network: PyramidTreeNet) -> Object:
    """The file's content for ``network``."""
    blocks: list[Object] = []
    width = 0
    for block in network.blocks:
        if isinstance(block, TransitionBlock):
            layers = []
            for layer in block.layers:
                layers.append(write_layer(layer, width))
                width = layers[-1]["out_channels"]
            blocks.append({"name": "TransitionBlock", "layers": layers})
        else:
            assert isinstance(block, ResidualTreeBlock)
            in_bottle = write_layer(block.in_bottle, width)
            assert isinstance(block.cell, TreeNode)
            cell = _write_node(block.cell)
            out_bottle = write_layer(block.out_bottle, cell["out_channels"])
            blocks.append(
                {
                    "name": "ResidualTreeBlock",
                    "cell_drop_rate": 0.0,
                    "final_bn": block.final_bn is not None,
                    "shortcut": write_layer(block.shortcut, width),
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
        "classifier": write_linear(classifier.linear, classifier.dropout.p, "bn_act_weight"),
    }
    norm = norm_settings(network)
    if norm is not None and norm != norm_settings(nn.BatchNorm2d(1)):
        value["bn"] = norm
    return value


def _write_node(node: TreeNode) -> Object:
    many = len(node.edges)
    inputs = node.split or [node.channels] * many
    edges: list[Object] = []
    children: list[Object | None] = []
    outputs = []
    for width, edge, child in zip(inputs, node.edges, node.child_nodes, strict=True):
        edges.append(write_layer(edge, width))
        children.append(_write_node(child) if isinstance(child, TreeNode) else None)
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
