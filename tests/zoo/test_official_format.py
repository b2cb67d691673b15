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
from official_files import Object, block, forward, mbconv, small, small_tree
from torch import nn
from torch.nn import functional as F
from weight_fill import GOLDEN, filled, wave_image

from proxyless import zoo
from proxyless.errors import ProxylessError
from proxyless.spaces.tree import TreeSpace

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


def test_network_that_halves_the_size_more_often_than_timm_allows_computes_what_its_file_says() -> None:
    from proxyless.files.fields import Fields
    from proxyless.zoo.official import network_from

    config = small()  # halves it twice
    config["blocks"] += [block(mbconv(24, 24, 3, 2, 6)) for _ in range(4)]
    network, plain = zoo.from_config(config), network_from(Fields(config, ""))
    state = filled(zoo.official_state_dict(plain))
    for made in (network, plain):
        zoo.load_official_state_dict(made, state)

    torch.testing.assert_close(forward(network, 128), forward(plain, 128))


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


def test_network_that_is_still_to_be_searched_is_refused() -> None:
    with pytest.raises(ProxylessError, match="a Choice has layers that the authors' format does not know"):
        zoo.official_config(TreeSpace(classes=4, image_size=8, blocks=1, stem=4, final_width=32).network())


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
