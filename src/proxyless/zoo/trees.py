"""Tree-structured networks of the authors' files are read into modules and written again."""

from __future__ import annotations

from torch import nn

from proxyless.files.fields import Fields
from proxyless.spaces import tree_layers
from proxyless.spaces.tree_layers import PyramidTreeNet, ResidualTreeBlock, TransitionBlock, TreeNode, identity, made
from proxyless.zoo import layers
from proxyless.zoo.layers import Object, read_layer

USUAL_NORM = {"momentum": 0.1, "eps": 1e-5}
"""The batch norm of a network whose file does not say it."""


def read_tree(file: Fields) -> PyramidTreeNet:
    """Read a tree-structured network, with fresh weights."""
    blocks: list[nn.Module] = []
    width = None
    file.get("cell_drop_scheme")  # says how cell_drop_rate grows, which must be 0
    for block in file.objects("blocks"):
        if block.kind_among("block", ("TransitionBlock", "ResidualTreeBlock")) == "ResidualTreeBlock":
            residual, width = _read_block(block, width)
            blocks.append(residual)
            continue
        sequence = []
        for layer in block.objects("layers"):
            sequence.append(read_layer(layer, width))
            width = sequence[-1].out_channels
        block.finish()
        blocks.append(TransitionBlock(*map(made, sequence)))
    network = PyramidTreeNet(blocks, tree_layers.Linear(layers.read_classifier(file, width)))
    tree_layers.initialise(network)
    layers.set_norm(network, layers.read_norm(file, USUAL_NORM["eps"]))
    file.finish()
    return network


def _read_block(file: Fields, width: int | None) -> tuple[ResidualTreeBlock, int]:
    shortcut = read_layer(file.child("shortcut"), width)
    in_bottle, reached = _read_optional(file.optional("in_bottle"), shortcut.in_channels)
    cell = _read_node(file.child("cell"), reached)
    out_bottle, reached = _read_optional(file.optional("out_bottle"), cell.out_channels)
    if shortcut.out_channels > reached:
        raise file.problem("its shortcut has more channels than what is added to it")
    norm = file.flag("final_bn", True)
    file.finish()
    return ResidualTreeBlock(in_bottle, cell, out_bottle, made(shortcut), channels=reached, final_norm=norm), reached


def _read_optional(file: Fields | None, width: int) -> tuple[nn.Module, int]:
    """A layer, one that changes nothing where there is none, and the channels that it returns."""
    spec = identity(width) if file is None else read_layer(file, width)
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
    norms = file.flag("has_branch_bn")
    file.finish()
    given = tree_layers.shares(width, many) if split == "split" else [width] * many
    wanted = tree_layers.shares(out_channels, many) if merge == "concat" else [out_channels] * many
    modules: list[nn.Module] = []
    nodes: list[nn.Module] = []
    for edge, child, channels, asked in zip(edges, children, given, wanted, strict=True):
        module, reached = _read_optional(edge, channels)
        node = nn.Identity() if child is None else _read_node(child, reached)
        reached = node.out_channels if isinstance(node, TreeNode) else reached
        if reached != asked:
            raise file.problem(f"a branch returns {reached} channels where out_channels asks for {asked}")
        modules.append(module)
        nodes.append(node)
    return TreeNode(width, out_channels, modules, nodes, split_type=split, merge_type=merge, has_branch_bn=norms)


def write_tree(network: PyramidTreeNet) -> Object:
    """The object of the files for ``network``."""
    norm = layers.norm_of(network)
    return {
        "name": "PyramidTreeNet",
        "blocks": [_write_part(block) for block in network.blocks],
        "classifier": layers.write_layer(network.classifier.spec),
    } | ({} if norm in (None, USUAL_NORM) else {"bn": norm})


def _write_part(part: nn.Module) -> Object | None:
    if isinstance(part, TransitionBlock):
        return {"name": "TransitionBlock", "layers": [_write_part(layer) for layer in part.layers]}
    if isinstance(part, ResidualTreeBlock):
        parts = {key: _write_part(getattr(part, key)) for key in ("shortcut", "in_bottle", "out_bottle", "cell")}
        return {"name": "ResidualTreeBlock", "cell_drop_rate": 0.0, "final_bn": part.final_bn is not None} | parts
    if isinstance(part, TreeNode):
        keys = ("in_channels", "out_channels", "split_type", "merge_type", "has_branch_bn")
        return {"name": "TreeNode", "path_drop_rate": 0} | {
            **{key: getattr(part, key) for key in keys},
            "edges": [_write_part(edge) for edge in part.edges],
            "child_nodes": [_write_part(child) for child in part.child_nodes],
        }
    if isinstance(part, tree_layers.Layer | tree_layers.Unchanged):
        return layers.write_layer(part.spec)
    if type(part) is nn.Identity:
        return None
    raise layers.unknown_to_the_format(part)
