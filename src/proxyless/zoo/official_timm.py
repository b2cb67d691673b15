"""Networks in the authors' format as timm models where timm has the same layers, and the names on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from proxyless.spaces import efficientnet
from proxyless.spaces.tree_layers import Conv
from proxyless.zoo.official_modules import OLDER, Form, InvertedNetwork

if TYPE_CHECKING:
    from timm.models.efficientnet import EfficientNet

KEPT = "official_kept"
"""Attribute of a timm model: for each block of the authors' numbering whether it is there, or only its shortcut.

The removed blocks have left no trace in the model, yet they count in the names of the authors' checkpoints.
"""
FORM = "official_form"
"""Attribute of a timm model: the :class:`Form` of the file it came from."""


def as_timm(network: InvertedNetwork) -> EfficientNet | None:
    """A timm model with the layers of ``network`` and fresh weights, or None where timm would make other ones."""
    definition = _definition(network)
    first, mix = network.first_conv.conv, network.feature_mix_layer
    if mix is None or network.mixes_means:
        return None
    plain = (
        definition is not None
        and _plain(network.first_conv, kernel=3)
        and _plain(mix, kernel=1)
        and first.stride in ((1, 1), (2, 2))
        and mix.conv.stride == (1, 1)
        and network.classifier.linear.bias is not None
    )
    if not plain:
        return None
    norm = network.first_conv.bn
    assert norm is not None
    model: Any = efficientnet.build(
        {
            "arch_def": definition,
            "num_classes": network.classifier.linear.out_features,
            "in_chans": first.in_channels,
            "stem_size": first.out_channels,
            "stem_stride": first.stride[0],
            "num_features": mix.out_channels,
            "drop_rate": network.classifier.dropout.p,
            "bn_eps": norm.eps,
        }
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = norm.momentum
    number_blocks(model, [block.layer is not None for block in network.inverted_blocks()], network.form)
    # timm rounds widths to multiples of 8: then it is another network.
    wanted = {name: tensor.shape for name, tensor in network.state_dict().items()}
    made = model.state_dict()
    same = {name: made[own].shape for name, own in names(model).items()} == wanted
    return cast("EfficientNet", model) if same else None


def _plain(layer: Conv, *, kernel: int) -> bool:
    conv = layer.conv
    return (
        conv.kernel_size == (kernel, kernel)
        and conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.bias is None
        and not layer.shuffle
        and layer.weights_first
        and layer.bn is not None
        and isinstance(layer.act, nn.ReLU6)
    )


def _definition(network: InvertedNetwork) -> list[list[str]] | None:
    """timm's block strings; a stage begins with every block that has no shortcut. None where timm has no such block."""
    stages: list[list[str]] = []
    for block in network.inverted_blocks():
        conv = block.layer
        if conv is None:
            continue
        if conv.activation is not nn.ReLU6 or conv.stride > 2 or conv.squeeze or conv.groups is not None:
            return None
        text = f"r1_k{conv.kernel}_s{conv.stride}_c{conv.out_channels}"
        text = f"ds_{text}" if conv.hidden is None else f"ir_{text}_e{conv.hidden / conv.in_channels!r}"
        if not block.shortcut and conv.stride == 1 and conv.in_channels == conv.out_channels:
            text += "_noskip"
        if not block.shortcut or not stages:
            stages.append([])
        stages[-1].append(text)
    return stages or None


def names(model: EfficientNet) -> dict[str, str]:
    """For each entry of the authors' state dict the entry of ``model``'s."""
    return {
        f"{official}.{entry}": f"{own}.{entry}"
        for official, own, module in _modules(model)
        for entry in module.state_dict()
    }


def _modules(model: EfficientNet) -> Iterator[tuple[str, str, nn.Module]]:
    def pair(official: str, own: str) -> tuple[str, str, nn.Module]:
        return official, own, model.get_submodule(own)

    yield pair("first_conv.conv", "conv_stem")
    yield pair("first_conv.bn", "bn1")
    for number, own in zip(_positions(model), blocks(model), strict=True):
        official = f"blocks.{number}.{form_of(model).conv}"
        block = model.get_submodule(own)
        expanded = hasattr(block, "conv_pwl")
        layers = ["inverted_bottleneck"] * expanded + ["depth_conv", "point_linear"]
        convs = ["conv_pw", "conv_dw", "conv_pwl"] if expanded else ["conv_dw", "conv_pw"]
        for count, (layer, conv) in enumerate(zip(layers, convs, strict=True), start=1):
            yield pair(f"{official}.{layer}.conv", f"{own}.{conv}")
            yield pair(f"{official}.{layer}.bn", f"{own}.bn{count}")
    yield pair("feature_mix_layer.conv", "conv_head")
    yield pair("feature_mix_layer.bn", "bn2")
    yield pair("classifier.linear", "classifier")


def blocks(model: EfficientNet) -> list[str]:
    """Names of the blocks of ``model`` in order."""
    stages = model.blocks.named_children()
    return [f"blocks.{stage}.{block}" for stage, made in stages for block, _ in made.named_children()]


def number_blocks(model: nn.Module, kept: Sequence[bool], form: Form = OLDER) -> None:
    """Remember in ``model`` which blocks of the authors' numbering it has (the others are removed), and its form."""
    setattr(model, KEPT, tuple(kept))
    setattr(model, FORM, form)


def form_of(model: nn.Module) -> Form:
    """How the authors' files and checkpoints spell the blocks of ``model``; in the older form if it does not say."""
    found: Form = getattr(model, FORM, OLDER)
    return found


def kept(model: EfficientNet) -> tuple[bool, ...]:
    """For each block of the authors' numbering whether it is there; all are in a model that did not say."""
    found: tuple[bool, ...] = getattr(model, KEPT, None) or (True,) * len(blocks(model))
    return found


def _positions(model: EfficientNet) -> list[int]:
    return [number for number, there in enumerate(kept(model)) if there]


def is_timm(network: nn.Module) -> bool:
    """Whether it is a timm model with no other layers than the authors' format knows."""
    from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
    from timm.models.efficientnet import EfficientNet

    if not isinstance(network, EfficientNet):
        return False
    made = [network.get_submodule(name) for name in blocks(network)]
    extras = [getattr(block, name, None) for block in made for name in ("se", "aa", "conv_s2d")]
    activations = [module for name, module in network.named_modules() if name.endswith(".act")]
    return (
        all(type(block) in (DepthwiseSeparableConv, InvertedResidual) for block in made)
        and all(extra is None or isinstance(extra, nn.Identity) for extra in extras)
        and all(isinstance(activation, nn.ReLU6 | nn.Identity) for activation in activations)
        and all(type(module) is nn.Conv2d for module in network.modules() if isinstance(module, nn.Conv2d))
    )


def layers_of(block: nn.Module) -> dict[str, Any]:
    """Kernel, stride, channels and expansion of one of ``model``'s blocks, by the names of the authors' format."""
    depthwise = block.get_submodule("conv_dw")
    expanded = hasattr(block, "conv_pwl")
    project = block.get_submodule("conv_pwl" if expanded else "conv_pw")
    assert isinstance(depthwise, nn.Conv2d)
    assert isinstance(project, nn.Conv2d)
    entry = block.get_submodule("conv_pw") if expanded else depthwise
    assert isinstance(entry, nn.Conv2d)
    ratio = depthwise.in_channels / entry.in_channels
    # In the files an expand_ratio of 1 means that nothing expands, not even to the same width.
    same = expanded and ratio == 1
    return {
        "in_channels": entry.in_channels,
        "out_channels": project.out_channels,
        "kernel_size": depthwise.kernel_size[0],
        "stride": depthwise.stride[0],
        "expand_ratio": None if same else int(ratio) if ratio.is_integer() else ratio,
    } | ({"mid_channels": depthwise.in_channels} if same else {})
