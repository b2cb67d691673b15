"""Network files and checkpoints in the authors' format."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from weight_fill import GOLDEN, filled, wave_image

from proxyless import zoo
from proxyless.errors import ProxylessError
from proxyless.spaces.tree import TreeSpace

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


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Any], Path]:
    def save(config: Any) -> Path:
        path = tmp_path / "net.config"
        path.write_text(json.dumps(config))
        return path

    return save


def forward(network: nn.Module, size: int = 32) -> torch.Tensor:
    with torch.no_grad():
        return network.eval()(wave_image(size))


# -- networks --


def test_mbconv_file_becomes_a_timm_model_with_the_authors_names(saved: Callable[[Any], Path]) -> None:
    from timm.models.efficientnet import EfficientNet

    network = zoo.load_official(saved(small()))
    layers = [
        key.removesuffix(".conv.weight") for key in zoo.official_state_dict(network) if key.endswith("conv.weight")
    ]

    assert isinstance(network, EfficientNet)
    assert not network.training
    assert layers == [
        "first_conv",
        "blocks.0.mobile_inverted_conv.depth_conv",
        "blocks.0.mobile_inverted_conv.point_linear",
        "blocks.1.mobile_inverted_conv.inverted_bottleneck",
        "blocks.1.mobile_inverted_conv.depth_conv",
        "blocks.1.mobile_inverted_conv.point_linear",
        "blocks.3.mobile_inverted_conv.inverted_bottleneck",
        "blocks.3.mobile_inverted_conv.depth_conv",
        "blocks.3.mobile_inverted_conv.point_linear",
        "feature_mix_layer",
    ]


def test_mbconv_network_computes_what_its_file_says() -> None:
    network = zoo.from_config(small())
    state = filled(zoo.official_state_dict(network))
    zoo.load_official_state_dict(network, state)

    def layer(x: torch.Tensor, name: str, stride: int = 1, *, act: bool = True) -> torch.Tensor:
        weight = state[f"{name}.conv.weight"]
        groups = len(weight) if weight.shape[1] == 1 else 1
        x = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=groups)
        norm = [state[f"{name}.bn.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *norm, eps=1e-3)
        return x.clamp(0, 6) if act else x

    def mb(x: torch.Tensor, number: int, stride: int = 1) -> torch.Tensor:
        name = f"blocks.{number}.mobile_inverted_conv"
        if f"{name}.inverted_bottleneck.conv.weight" in state:
            x = layer(x, f"{name}.inverted_bottleneck")
        return layer(layer(x, f"{name}.depth_conv", stride), f"{name}.point_linear", act=False)

    x = mb(layer(wave_image(32), "first_conv", 2), 0)
    x = x + mb(x, 1)
    x = layer(mb(x, 3, stride=2), "feature_mix_layer").mean(dim=(2, 3))
    expected = x @ state["classifier.linear.weight"].T + state["classifier.linear.bias"]

    torch.testing.assert_close(forward(network), expected, rtol=1e-4, atol=1e-5)


def test_batch_norm_settings_of_the_file_reach_every_layer() -> None:
    norms = [module for module in zoo.from_config(small()).modules() if isinstance(module, nn.BatchNorm2d)]

    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.2, 0.001)}


@pytest.mark.parametrize(
    ("change", "timm_like"),
    [
        ({"act_func": "h_swish"}, False),
        ({"act_func": "relu"}, False),
        ({"mid_channels": 20}, False),  # timm would round it to 24
        ({"mid_channels": None, "use_se": False, "act_func": "relu6"}, True),
    ],
)
def test_blocks_of_later_files_are_read_where_they_are_plain(change: Object, timm_like: bool) -> None:
    from timm.models.efficientnet import EfficientNet

    config = small()
    config["blocks"][1]["mobile_inverted_conv"] |= change
    network = zoo.from_config(config)
    width = zoo.official_state_dict(network)["blocks.1.mobile_inverted_conv.depth_conv.conv.weight"].shape[0]

    assert isinstance(network, EfficientNet) == timm_like
    assert width == (change.get("mid_channels") or 24)
    assert forward(network).shape == (1, 5)
    again = zoo.from_config(zoo.official_config(network))
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(forward(again), forward(network))


def test_block_without_shortcut_has_none_though_the_shapes_agree() -> None:
    config = small()
    config["blocks"][1]["shortcut"] = None
    with_shortcut, without = zoo.from_config(small()), zoo.from_config(config)
    without.load_state_dict(dict(zip(without.state_dict(), with_shortcut.state_dict().values(), strict=True)))

    assert zoo.official_config(without) == config
    assert not torch.allclose(forward(with_shortcut), forward(without))


def test_uneven_split_gives_the_first_branch_one_channel_more_and_missing_channels_of_the_shortcut_are_zero() -> None:
    network = zoo.from_config(small_tree())
    state = filled(zoo.official_state_dict(network))
    zoo.load_official_state_dict(network, state)

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.batch_norm(x, *[state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")])

    x = F.conv2d(wave_image(8), state["blocks.0.layers.0.conv.weight"], padding=1)
    y = F.conv2d(norm(x, "blocks.1.in_bottle.bn"), state["blocks.1.in_bottle.conv.weight"])
    edge = "blocks.1.cell.edges.0"
    left = F.conv2d(norm(y[:, :3], f"{edge}.bn").relu(), state[f"{edge}.depth_conv.weight"], padding=1, groups=3)
    y = torch.cat([F.conv2d(left, state[f"{edge}.point_conv.weight"]), y[:, 3:]], dim=1)
    y = F.conv2d(norm(y, "blocks.1.out_bottle.bn").relu(), state["blocks.1.out_bottle.conv.weight"])
    y = norm(y, "blocks.1.final_bn")
    y[:, :4] += x
    expected = y.mean(dim=(2, 3)) @ state["classifier.linear.weight"].T + state["classifier.linear.bias"]

    torch.testing.assert_close(forward(network, 8), expected, rtol=1e-4, atol=1e-5)


# -- round trips --


@pytest.mark.parametrize("name", ["proxyless_cpu", "proxyless_mobile_14"])
def test_written_network_is_read_as_the_same_network(name: str) -> None:
    network = zoo.build(name)
    config = zoo.official_config(network)
    again = zoo.from_config(json.loads(json.dumps(config)))

    assert zoo.official_config(again) == config
    assert list(zoo.official_state_dict(again)) == list(zoo.official_state_dict(network))
    zoo.load_official_state_dict(again, filled(zoo.official_state_dict(network)))
    zoo.load_official_state_dict(network, filled(zoo.official_state_dict(network)))
    torch.testing.assert_close(forward(again, 64), forward(network, 64), rtol=0, atol=0)


def test_written_files_equal_the_ones_that_were_read() -> None:
    tree = small_tree()
    del tree["classifier"]["ops_order"]
    written = zoo.official_config(zoo.from_config(tree))
    del written["classifier"]["ops_order"]

    assert written == tree
    assert zoo.official_config(zoo.from_config(small())) == small()


def test_network_of_the_tree_space_is_written_and_read_again() -> None:
    space = TreeSpace(classes=4, image_size=8, blocks=1, stem=4, final_width=32)
    choices = {name: taken[i % len(taken)] for i, (name, taken) in enumerate(space.choices().items())}
    network = space.build(space.architecture(choices))
    again = zoo.from_config(zoo.official_config(network))
    again.load_state_dict(network.state_dict())

    torch.testing.assert_close(forward(again, 8), forward(network, 8), rtol=0, atol=0)


@pytest.mark.parametrize("network", [nn.Linear(2, 2), "mobilenetv3_small_050"])
def test_network_the_format_does_not_know_is_refused(network: Any) -> None:
    if isinstance(network, str):
        import timm

        network = timm.create_model(network, num_classes=2)
    for write in (zoo.official_config, zoo.official_state_dict):
        with pytest.raises(ProxylessError, match="the authors' format does not know"):
            write(network)


# -- checkpoints --


@pytest.mark.parametrize("make", [small, small_tree])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {name: tensor for name, tensor in state.items() if "num_batches" not in name},
    ],
    ids=["bare", "nested", "module prefix", "without counters"],
)
def test_checkpoint_is_loaded(
    make: Callable[[], Object], wrap: Any, saved: Callable[[Any], Path], tmp_path: Path
) -> None:
    source = zoo.from_config(make())
    zoo.load_official_state_dict(source, filled(zoo.official_state_dict(source)))
    torch.save(wrap(zoo.official_state_dict(source)), tmp_path / "weights.pth")

    loaded = zoo.load_official(saved(make()), tmp_path / "weights.pth")

    torch.testing.assert_close(forward(loaded), forward(source), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: s.pop("first_conv.bn.bias"), "lacks 'first_conv.bn.bias'"),
        (lambda s: s.update({"extra.weight": torch.ones(1)}), "unknown 'extra.weight'"),
        (lambda s: s.update({"classifier.linear.bias": torch.ones(6)}), r"'classifier.linear.bias' has shape \(6,\)"),
        (lambda s: s.update({"classifier.linear.bias": [1.0] * 5}), "'classifier.linear.bias' is no tensor"),
    ],
)
def test_checkpoint_of_another_network_is_refused_and_nothing_is_loaded(
    damage: Callable[[Object], Any], message: str, saved: Callable[[Any], Path], tmp_path: Path
) -> None:
    network = zoo.from_config(small())
    before = copy.deepcopy(network.state_dict())
    state: Object = dict(filled(zoo.official_state_dict(network)))
    damage(state)
    torch.save(state, tmp_path / "weights.pth")

    with pytest.raises(ProxylessError, match=message) as caught:
        zoo.load_official(saved(small()), tmp_path / "weights.pth")
    assert "weights.pth" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ProxylessError, match=message):
        zoo.load_official_state_dict(network, state)
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())


class Trap:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


def test_code_in_a_checkpoint_is_not_run(saved: Callable[[Any], Path], tmp_path: Path) -> None:
    torch.save({"state_dict": Trap(tmp_path / "sprung")}, tmp_path / "weights.pth")

    with pytest.raises(ProxylessError, match=r"weights\.pth: not a checkpoint of plain tensors"):
        zoo.load_official(saved(small()), tmp_path / "weights.pth")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_file_that_is_no_checkpoint_is_one_clear_error(
    content: bytes, saved: Callable[[Any], Path], tmp_path: Path
) -> None:
    (tmp_path / "weights.pth").write_bytes(content)

    with pytest.raises(ProxylessError, match=r"weights\.pth: not a checkpoint") as caught:
        zoo.load_official(saved(small()), tmp_path / "weights.pth")
    assert "\n" not in str(caught.value)


# -- files that cannot be read --


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


@pytest.mark.parametrize(
    ("make", "path", "value", "message"),
    [
        (small, "blocks.1.mobile_inverted_conv.name", "FooLayer", "blocks.1.mobile_inverted_conv: unknown layer kind"),
        (small, "blocks.1.name", "FooBlock", "blocks.1: unknown block kind 'FooBlock'"),
        (
            small,
            "blocks.1.mobile_inverted_conv.kernel_size",
            4,
            "blocks.1.mobile_inverted_conv: kernel_size must be odd",
        ),
        (small, "blocks.1.mobile_inverted_conv.kernel_size", ..., "'kernel_size' is missing"),
        (small, "blocks.1.mobile_inverted_conv.use_se", True, "use_se = True is not supported"),
        (
            small,
            "blocks.1.mobile_inverted_conv.in_channels",
            16,
            "it takes 16 channels, but what comes before it returns 8",
        ),
        (small, "blocks.2.shortcut", None, "blocks.2.mobile_inverted_conv: a ZeroLayer needs"),
        (small, "blocks.3.shortcut", identity(8), "blocks.3: a shortcut needs stride 1"),
        (small, "blocks.0", None, "blocks.0: unknown block kind 'null'"),
        (small, "blocks", 3, "blocks must be a list"),
        (small, "first_conv.dropout_rate", 0.5, "first_conv: dropout_rate = 0.5 is not supported"),
        (small, "first_conv.act_func", "gelu", "first_conv: act_func must be one of"),
        (small, "first_conv.out_channels", 10**12, "first_conv: out_channels must be a whole number from 1"),
        (small, "first_conv.out_channels", "16", "first_conv: out_channels must be a whole number"),
        (small, "classifier.in_features", 31, "classifier: it takes 31 channels"),
        (small, "final_expand_layer", conv(), "final_expand_layer = .* is not supported"),
        (small_tree, "blocks.1.cell.merge_type", "max", "blocks.1.cell: merge_type must be one of"),
        (small_tree, "blocks.1.cell.split_type", None, "blocks.1.cell: a node with several edges needs a split_type"),
        (small_tree, "blocks.1.cell.child_nodes", [None], "blocks.1.cell: a node needs as many child_nodes as edges"),
        (small_tree, "blocks.1.cell.out_channels", 6, "blocks.1.cell: a branch returns 2 channels where"),
        (small_tree, "blocks.1.cell.path_drop_rate", 0.1, "path_drop_rate = 0.1 is not supported"),
        (small_tree, "blocks.1.cell.edges.0.name", "FooLayer", "blocks.1.cell.edges.0: unknown layer kind 'FooLayer'"),
        (small_tree, "blocks.1.cell_drop_rate", 0.2, "blocks.1: cell_drop_rate = 0.2 is not supported"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_place(
    make: Callable[[], Object], path: str, value: Any, message: str, saved: Callable[[Any], Path]
) -> None:
    with pytest.raises(ProxylessError, match=message) as caught:
        zoo.load_official(saved(changed(make, path, value)))
    assert str(caught.value).count("net.config") == 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[]", '"text"', "[" * 100_000, "\x00\xff"])
def test_file_that_is_no_network_is_one_clear_error(content: str, tmp_path: Path) -> None:
    path = tmp_path / "net.config"
    path.write_text(content, encoding="latin-1")

    with pytest.raises(ProxylessError, match=r"net\.config"):
        zoo.load_official(path)


def test_missing_files_are_named(saved: Callable[[Any], Path], tmp_path: Path) -> None:
    with pytest.raises(ProxylessError, match=r"absent\.config: no such file"):
        zoo.load_official(tmp_path / "absent.config")
    with pytest.raises(ProxylessError, match=r"absent\.pth: no such file"):
        zoo.load_official(saved(small()), tmp_path / "absent.pth")


# -- the authors' own files --


@pytest.mark.skipif(
    "PROXYLESS_REFERENCE" not in os.environ, reason="PROXYLESS_REFERENCE names no folder of their files"
)
@pytest.mark.parametrize("name", GOLDEN)
def test_published_file_is_the_network_of_the_zoo(name: str) -> None:
    path = Path(os.environ["PROXYLESS_REFERENCE"]) / f"{name}.config"
    loaded, built = zoo.load_official(path), zoo.build(name)

    assert zoo.official_config(loaded) == zoo.official_config(built) == json.loads(path.read_text())
    assert list(loaded.state_dict()) == list(built.state_dict())
    assert len(zoo.official_state_dict(loaded)) == GOLDEN[name]["n_tensors"]
