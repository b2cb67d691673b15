"""Network files and checkpoints in the form of Once-for-all, which the authors of ProxylessNAS wrote after it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from official_files import Object, changed, conv, forward, identity, linear, small, small_tree
from torch import Tensor, nn
from torch.nn import functional as F
from weight_fill import filled, wave_image

from proxyless import zoo
from proxyless.errors import ProxylessError


def layer(*sizes: int, ratio: float | None, **fields: Any) -> Object:
    """An MBConv of channels in, channels out, kernel and stride."""
    keys = ("in_channels", "out_channels", "kernel_size", "stride")
    usual = {"mid_channels": None, "act_func": "relu6", "use_se": False, "groups": None}
    return {"name": "MBConvLayer", "expand_ratio": ratio} | usual | dict(zip(keys, sizes, strict=True)) | fields


def block(mbconv: Object | None, shortcut: int | None = None) -> Object:
    return {"name": "ResidualBlock", "conv": mbconv, "shortcut": identity(shortcut) if shortcut else None}


def outer(inputs: int, outputs: int, **fields: Any) -> Object:
    return conv(in_channels=inputs, out_channels=outputs, use_se=False, **fields)


def mobilenet_v3() -> Object:
    """Four MBConvs: without expansion, plain, with squeeze-and-excitation, and with that and a width of its own."""
    return {
        "name": "MobileNetV3",
        "bn": {"momentum": 0.1, "eps": 1e-5, "ws_eps": None},
        "first_conv": outer(3, 16, kernel_size=3, stride=2, act_func="h_swish"),
        "blocks": [
            block(layer(16, 16, 3, 1, ratio=1, mid_channels=16, act_func="relu"), shortcut=16),
            block(layer(16, 24, 5, 2, ratio=None, mid_channels=72)),
            block(layer(24, 24, 3, 1, ratio=3, act_func="h_swish", use_se=True), shortcut=24),
            block(layer(24, 40, 7, 2, ratio=4, mid_channels=120, act_func="relu", use_se=True)),
        ],
        "final_expand_layer": outer(40, 48, act_func="h_swish"),
        "feature_mix_layer": outer(48, 32, use_bn=False, act_func="h_swish"),
        "classifier": linear(32, 5) | {"dropout_rate": 0.2},
    }


def proxyless_nas() -> Object:
    """The network of ``small`` in the newer form."""
    return small() | {
        "bn": {"momentum": 0.2, "eps": 0.001, "ws_eps": None},
        "first_conv": outer(3, 16, kernel_size=3, stride=2),
        "feature_mix_layer": outer(24, 32),
        "blocks": [
            block(layer(16, 8, 3, 1, ratio=1)),
            block(layer(8, 8, 5, 1, ratio=3), shortcut=8),
            block({"name": "ZeroLayer"}, shortcut=8),
            block(layer(8, 24, 7, 2, ratio=6)),
        ],
    }


def older(config: Object) -> Object:
    """The same network as it was written before the newer names."""
    text = json.dumps(config).replace('"ResidualBlock"', '"MobileInvertedResidualBlock"')
    value = json.loads(text.replace('"conv"', '"mobile_inverted_conv"').replace("MBConvLayer", "MBInvertedConvLayer"))
    del value["bn"]["ws_eps"]
    for described in value["blocks"]:
        described["mobile_inverted_conv"].pop("groups", None)
    for key in ("first_conv", "final_expand_layer", "feature_mix_layer"):
        value.get(key, {}).pop("use_se", None)
    return value


def loaded(config: Object) -> tuple[nn.Module, dict[str, Tensor]]:
    """The network with made-up weights, and these by their official names."""
    network = zoo.from_config(config)
    state = filled(zoo.official_state_dict(network))
    zoo.load_official_state_dict(network, state)
    return network, state


# -- an independent computation --

ACT: Mapping[str | None, Callable[[Tensor], Tensor]] = {
    None: lambda x: x,
    "relu": lambda x: x.clamp(min=0),
    "relu6": lambda x: x.clamp(0, 6),
    "h_swish": lambda x: x * (x + 3).clamp(0, 6) / 6,
}


def convolved(x: Tensor, state: Mapping[str, Tensor], name: str, act: str | None, stride: int = 1) -> Tensor:
    weight = state[f"{name}.conv.weight"]
    x = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=x.shape[1] // weight.shape[1])
    if f"{name}.bn.weight" in state:
        norm = [state[f"{name}.bn.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *norm, eps=1e-5)
    return ACT[act](x)


def mbconv(x: Tensor, state: Mapping[str, Tensor], name: str, act: str, stride: int = 1) -> Tensor:
    if f"{name}.inverted_bottleneck.conv.weight" in state:
        x = convolved(x, state, f"{name}.inverted_bottleneck", act)
    x = convolved(x, state, f"{name}.depth_conv", act, stride)
    se = f"{name}.depth_conv.se.fc"
    if f"{se}.reduce.weight" in state:
        y = F.adaptive_avg_pool2d(x, 1)
        y = F.relu(F.conv2d(y, state[f"{se}.reduce.weight"], state[f"{se}.reduce.bias"]))
        x = x * (F.conv2d(y, state[f"{se}.expand.weight"], state[f"{se}.expand.bias"]) + 3).clamp(0, 6) / 6
    return convolved(x, state, f"{name}.point_linear", None)


def blocks_of_mobilenet_v3(state: Mapping[str, Tensor]) -> Tensor:
    x = convolved(wave_image(32), state, "first_conv", "h_swish", 2)
    x = x + mbconv(x, state, "blocks.0.conv", "relu")
    x = mbconv(x, state, "blocks.1.conv", "relu6", 2)
    x = x + mbconv(x, state, "blocks.2.conv", "h_swish")
    return mbconv(x, state, "blocks.3.conv", "relu", 2)


def test_mobilenet_v3_computes_what_its_file_says() -> None:
    network, state = loaded(mobilenet_v3())
    x = convolved(blocks_of_mobilenet_v3(state), state, "final_expand_layer", "h_swish")
    x = convolved(F.adaptive_avg_pool2d(x, 1), state, "feature_mix_layer", "h_swish").flatten(1)
    expected = F.linear(x, state["classifier.linear.weight"], state["classifier.linear.bias"])

    torch.testing.assert_close(forward(network), expected, rtol=1e-4, atol=1e-5)


def test_mobilenet_v3_has_the_entries_of_the_authors_checkpoints() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in zoo.official_state_dict(loaded(mobilenet_v3())[0]).items()}
    norms = {name.rpartition(".")[0] for name in shapes if name.endswith("running_var")}

    assert {name: shape for name, shape in shapes.items() if name.rpartition(".")[0] not in norms} == {
        "first_conv.conv.weight": (16, 3, 3, 3),
        "blocks.0.conv.depth_conv.conv.weight": (16, 1, 3, 3),
        "blocks.0.conv.point_linear.conv.weight": (16, 16, 1, 1),
        "blocks.1.conv.inverted_bottleneck.conv.weight": (72, 16, 1, 1),
        "blocks.1.conv.depth_conv.conv.weight": (72, 1, 5, 5),
        "blocks.1.conv.point_linear.conv.weight": (24, 72, 1, 1),
        "blocks.2.conv.inverted_bottleneck.conv.weight": (72, 24, 1, 1),
        "blocks.2.conv.depth_conv.conv.weight": (72, 1, 3, 3),
        "blocks.2.conv.depth_conv.se.fc.reduce.weight": (24, 72, 1, 1),
        "blocks.2.conv.depth_conv.se.fc.reduce.bias": (24,),
        "blocks.2.conv.depth_conv.se.fc.expand.weight": (72, 24, 1, 1),
        "blocks.2.conv.depth_conv.se.fc.expand.bias": (72,),
        "blocks.2.conv.point_linear.conv.weight": (24, 72, 1, 1),
        "blocks.3.conv.inverted_bottleneck.conv.weight": (120, 24, 1, 1),
        "blocks.3.conv.depth_conv.conv.weight": (120, 1, 7, 7),
        "blocks.3.conv.depth_conv.se.fc.reduce.weight": (32, 120, 1, 1),
        "blocks.3.conv.depth_conv.se.fc.reduce.bias": (32,),
        "blocks.3.conv.depth_conv.se.fc.expand.weight": (120, 32, 1, 1),
        "blocks.3.conv.depth_conv.se.fc.expand.bias": (120,),
        "blocks.3.conv.point_linear.conv.weight": (40, 120, 1, 1),
        "final_expand_layer.conv.weight": (48, 40, 1, 1),
        "feature_mix_layer.conv.weight": (32, 48, 1, 1),
        "classifier.linear.weight": (5, 32),
        "classifier.linear.bias": (5,),
    }
    assert len(norms) == 1 + 2 + 3 + 3 + 3 + 1


def test_mobilenet_v3_large_is_the_one_of_torchvision() -> None:
    from torchvision.models import mobilenet_v3_large

    rows = [
        (3, 16, 16, False, "relu", 1),
        (3, 64, 24, False, "relu", 2),
        (3, 72, 24, False, "relu", 1),
        (5, 72, 40, True, "relu", 2),
        (5, 120, 40, True, "relu", 1),
        (5, 120, 40, True, "relu", 1),
        (3, 240, 80, False, "h_swish", 2),
        (3, 200, 80, False, "h_swish", 1),
        (3, 184, 80, False, "h_swish", 1),
        (3, 184, 80, False, "h_swish", 1),
        (3, 480, 112, True, "h_swish", 1),
        (3, 672, 112, True, "h_swish", 1),
        (5, 672, 160, True, "h_swish", 2),
        (5, 960, 160, True, "h_swish", 1),
        (5, 960, 160, True, "h_swish", 1),
    ]
    config, width, blocks = mobilenet_v3(), 16, []
    for kernel, middle, out, squeeze, act, stride in rows:
        ratio = 1 if middle == width else None
        made = layer(width, out, kernel, stride, ratio=ratio, mid_channels=middle, act_func=act, use_se=squeeze)
        blocks.append(block(made, shortcut=width if stride == 1 and out == width else None))
        width = out
    config["bn"]["eps"] = 1e-3
    config |= {
        "blocks": blocks,
        "final_expand_layer": outer(160, 960, act_func="h_swish"),
        "feature_mix_layer": outer(960, 1280, use_bn=False, act_func="h_swish"),
        "classifier": linear(1280, 1000),
    }
    network, state = loaded(config)
    theirs = mobilenet_v3_large(weights=None).eval()
    # Their norms, and their other layers, come in the same order; they alone have a bias in the feature mix layer.
    is_norm = {name for name, module in theirs.named_modules() if isinstance(module, nn.BatchNorm2d)}
    norms = iter([tensor for name, tensor in state.items() if ".bn." in name])
    others = iter([tensor for name, tensor in state.items() if ".bn." not in name])
    for name, tensor in theirs.state_dict().items():
        own = norms if name.rpartition(".")[0] in is_norm else others
        tensor.copy_(torch.zeros(1280) if name == "classifier.0.bias" else next(own).view(tensor.shape))

    assert not [*norms, *others]
    with torch.no_grad():
        torch.testing.assert_close(forward(network, 64), theirs(wave_image(64)), rtol=1e-3, atol=1e-4)


def test_network_of_the_newer_form_is_a_timm_model_where_timm_has_its_layers() -> None:
    from timm.models.efficientnet import EfficientNet

    network, state = loaded(proxyless_nas())
    before, same = loaded(small())
    zoo.load_official_state_dict(before, dict(zip(same, state.values(), strict=True)))

    assert isinstance(network, EfficientNet)
    assert [name.replace(".mobile_inverted_conv.", ".conv.") for name in same] == list(state)
    torch.testing.assert_close(forward(network), forward(before), rtol=0, atol=0)


def test_network_without_feature_mix_layer_classifies_the_means_of_the_last_block() -> None:
    config = mobilenet_v3() | {"name": "ProxylessNASNets", "feature_mix_layer": None, "classifier": linear(40, 5)}
    del config["final_expand_layer"]
    network, state = loaded(config)
    means = blocks_of_mobilenet_v3(state).mean(dim=(2, 3))
    expected = F.linear(means, state["classifier.linear.weight"], state["classifier.linear.bias"])

    torch.testing.assert_close(forward(network), expected, rtol=1e-4, atol=1e-5)
    assert zoo.official_config(network) == config


@pytest.mark.parametrize(("groups", "inputs"), [(None, 1), (1, 72), (4, 18), (5, 18), (100, 1)])
def test_groups_of_an_mbconv_are_lowered_to_a_divisor_of_its_channels(groups: int | None, inputs: int) -> None:
    config = mobilenet_v3()
    config["blocks"][2]["conv"]["groups"] = groups
    network, state = loaded(config)

    assert state["blocks.2.conv.depth_conv.conv.weight"].shape == (72, inputs, 3, 3)
    assert zoo.official_config(network) == config
    assert forward(network).shape == (1, 5)


@pytest.mark.parametrize(
    ("config", "eps"),
    [
        (small(), 1e-3),
        (proxyless_nas(), 1e-3),
        (mobilenet_v3(), 1e-5),
        (older(mobilenet_v3()), 1e-3),
        (small_tree(), 1e-5),
    ],
)
def test_file_without_batch_norm_settings_has_those_of_the_authors_program(config: Object, eps: float) -> None:
    config.pop("bn", None)
    norms = [module for module in zoo.from_config(config).modules() if isinstance(module, nn.BatchNorm2d)]

    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.1, eps)}


# -- round trips --


@pytest.mark.parametrize(
    "config", [mobilenet_v3(), proxyless_nas(), older(mobilenet_v3())], ids=["mobilenet v3", "timm", "older names"]
)
def test_file_is_written_as_it_was_read(config: Object) -> None:
    network = zoo.from_config(json.loads(json.dumps(config)))

    assert zoo.official_config(network) == config


def test_expansion_to_the_same_width_is_kept() -> None:
    config = proxyless_nas()
    config["blocks"][1]["conv"] |= {"expand_ratio": None, "mid_channels": 8}
    network, state = loaded(config)

    assert state["blocks.1.conv.inverted_bottleneck.conv.weight"].shape == (8, 8, 1, 1)
    assert zoo.official_config(network) == config


@pytest.mark.parametrize("empty", [None, {"name": "ZeroLayer"}])
def test_block_with_nothing_beside_its_shortcut_changes_nothing(empty: Object | None) -> None:
    config = mobilenet_v3()
    config["blocks"].append(block(empty, shortcut=40))
    network, state = loaded(config)
    without, same = loaded(mobilenet_v3())

    assert list(state) == list(same)
    torch.testing.assert_close(forward(network), forward(without), rtol=0, atol=0)
    assert zoo.official_config(network)["blocks"][-1] == block({"name": "ZeroLayer"}, shortcut=40)


def test_zero_layer_as_shortcut_adds_nothing() -> None:
    config = mobilenet_v3()
    config["blocks"][2]["shortcut"] = None
    zero = mobilenet_v3()
    zero["blocks"][2]["shortcut"] = {"name": "ZeroLayer"}

    torch.testing.assert_close(forward(loaded(zero)[0]), forward(loaded(config)[0]), rtol=0, atol=0)
    assert zoo.official_config(zoo.from_config(zero)) == config


# -- checkpoints --


@pytest.mark.parametrize("config", [mobilenet_v3(), proxyless_nas()], ids=["plain", "timm"])
@pytest.mark.parametrize("written", ["older", "newer"])
def test_checkpoint_with_either_names_is_loaded_into_either_form(
    config: Object, written: str, saved: Callable[[Any], Path], tmp_path: Path
) -> None:
    forms = {"older": older(config), "newer": config}
    source, state = loaded(forms.pop(written))
    torch.save({"state_dict": state}, tmp_path / "weights.pth")
    for read in (*forms.values(), config):
        network = zoo.load_official(saved(read), tmp_path / "weights.pth")

        torch.testing.assert_close(forward(network), forward(source), rtol=0, atol=0)
        names = list(zoo.official_state_dict(network))
        assert any(name.startswith("blocks.0.conv.") for name in names) == (read is config)


def test_checkpoint_that_names_a_block_twice_is_refused() -> None:
    network, state = loaded(mobilenet_v3())
    name = "blocks.0.conv.point_linear.bn.bias"
    twice = state | {name.replace(".conv.", ".mobile_inverted_conv.", 1): state[name]}

    with pytest.raises(ProxylessError, match=r"unknown 'blocks\.0\.mobile_inverted_conv\.point_linear\.bn\.bias'"):
        zoo.load_official_state_dict(network, twice)


# -- what is not supported --

ZERO = {"name": "ZeroLayer"}


@pytest.mark.parametrize(
    ("make", "path", "value", "message"),
    [
        (mobilenet_v3, "name", "ResNets", "name must be one of None, ProxylessNASNets, MobileNetV2, MobileNetV3, got"),
        (mobilenet_v3, "blocks.1.conv.name", "DynamicMBConvLayer", "blocks.1.conv: unknown layer kind 'DynamicMBConv"),
        (mobilenet_v3, "blocks.1.name", "ResNetBottleneckBlock", "blocks.1: unknown block kind 'ResNetBottleneck"),
        (mobilenet_v3, "blocks.1.conv", ..., "blocks.1: 'conv' is missing"),
        (mobilenet_v3, "blocks.1.conv", ZERO, "blocks.1.conv: a ZeroLayer needs"),
        (mobilenet_v3, "blocks.1.conv", None, "blocks.1: a ZeroLayer needs"),
        (mobilenet_v3, "blocks.1.mobile_inverted_conv", ZERO, "blocks.1: mobile_inverted_conv = .* is not supported"),
        (mobilenet_v3, "blocks.1.conv.mid_channels", None, "blocks.1.conv: it needs an expand_ratio or mid_channels"),
        (mobilenet_v3, "blocks.0.conv.mid_channels", 24, "blocks.0.conv: expand_ratio 1 does not go with 24 channels"),
        (mobilenet_v3, "blocks.2.conv.expand_ratio", 9000, "expand_ratio 9000 does not go with 216000 channels"),
        (mobilenet_v3, "blocks.2.conv.groups", 0, "blocks.2.conv: groups must be a whole number"),
        (mobilenet_v3, "blocks.2.conv.use_se", 1, "blocks.2.conv: use_se must be true or false"),
        (mobilenet_v3, "blocks.2.conv.act_func", "swish", "blocks.2.conv: act_func must be one of"),
        (mobilenet_v3, "blocks.1.shortcut", identity(16), "blocks.1: a shortcut needs stride 1"),
        (mobilenet_v3, "final_expand_layer.in_channels", 41, "final_expand_layer: it takes 41 channels"),
        (mobilenet_v3, "final_expand_layer.use_se", True, "final_expand_layer: use_se = True is not supported"),
        (mobilenet_v3, "feature_mix_layer.in_channels", 40, "feature_mix_layer: it takes 40 channels"),
        (mobilenet_v3, "feature_mix_layer", ..., "'feature_mix_layer' is missing"),
        (mobilenet_v3, "classifier.name", "MultiHeadLinearLayer", "classifier: unknown layer kind"),
        (mobilenet_v3, "bn.ws_eps", 1e-5, "bn: ws_eps = 1e-05 is not supported"),
        (mobilenet_v3, "bn.gn_channel_per_group", 8, "bn: gn_channel_per_group = 8 is not supported"),
        (proxyless_nas, "final_expand_layer", outer(24, 48), "final_expand_layer = .* is not supported"),
    ],
)
def test_what_is_not_supported_is_named_with_its_place(
    make: Callable[[], Object], path: str, value: Any, message: str, saved: Callable[[Any], Path]
) -> None:
    with pytest.raises(ProxylessError, match=message) as caught:
        zoo.load_official(saved(changed(make, path, value)))
    assert str(caught.value).count("net.config") == 1
    assert "\n" not in str(caught.value)
