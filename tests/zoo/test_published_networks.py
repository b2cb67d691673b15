"""The published networks: what they compute and cost, and that they are ordinary members of the search spaces."""

from __future__ import annotations

import pytest
import torch
from weight_fill import GOLDEN, filled, wave_image

from proxyless import zoo
from proxyless.choice import Choice
from proxyless.errors import ProxylessError
from proxyless.modules.operators import count_macs, count_parameters
from proxyless.spaces.mobilenet import MobileNetSpace
from proxyless.spaces.tree import TreeSpace

NETWORKS = {network.name: network for network in zoo.catalogue()}
IMAGENET = [name for name in NETWORKS if name != "proxyless_cifar"]


def space_of(name: str) -> MobileNetSpace | TreeSpace:
    architecture = zoo.architecture(name)
    kind = {"mobilenet": MobileNetSpace, "tree": TreeSpace}[architecture.space]
    return kind(**architecture.arguments)


def test_catalogue_lists_the_five_published_networks() -> None:
    assert set(NETWORKS) == set(GOLDEN)


@pytest.mark.parametrize("name", GOLDEN)
def test_network_has_the_published_size_and_gives_the_reference_outputs(name: str) -> None:
    network, golden, published = zoo.build(name).eval(), GOLDEN[name], NETWORKS[name]
    image = wave_image(published.input_size)
    state = zoo.official_state_dict(network)

    assert count_parameters(network) == published.parameters == golden["params"]
    assert count_macs(network, [image]) == published.macs == golden["macs"]
    assert len(state) == golden["n_tensors"]
    if "logits_first10" in golden:
        zoo.load_official_state_dict(network, filled(state))
        with torch.no_grad():
            (logits,) = network(image)
        assert logits[:10].tolist() == pytest.approx(golden["logits_first10"], rel=1e-4)
        assert logits.sum().item() == pytest.approx(golden["logits_sum"], rel=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_network_is_the_one_its_space_builds(name: str) -> None:
    built, architecture = zoo.build(name), zoo.architecture(name)
    member = space_of(name).build(architecture)
    shapes = {key: tensor.shape for key, tensor in built.state_dict().items()}

    assert shapes == {key: tensor.shape for key, tensor in member.state_dict().items()}
    assert type(built) is type(member)
    assert not any(isinstance(module, Choice) for module in built.modules())


@pytest.mark.parametrize("name", IMAGENET)
def test_imagenet_networks_are_timm_models(name: str) -> None:
    from timm.models.efficientnet import EfficientNet

    assert isinstance(zoo.build(name), EfficientNet)


def test_skipped_blocks_count_in_the_official_names_of_blocks() -> None:
    network = zoo.build("proxyless_mobile")

    numbers = {int(key.split(".")[1]) for key in zoo.official_state_dict(network) if key.startswith("blocks.")}

    assert numbers == set(range(22)) - {3, 4}


def test_timm_model_and_a_plain_network_of_the_same_file_agree() -> None:
    from proxyless.files.fields import Fields
    from proxyless.zoo.official import network_from

    for name in ("proxyless_gpu", "proxyless_mobile_14"):  # the two without outputs in golden.json
        model = zoo.build(name).eval()
        plain = network_from(Fields(zoo.official_config(model), "")).eval()
        weights = filled(zoo.official_state_dict(model))
        zoo.load_official_state_dict(model, weights)
        plain.load_state_dict(weights)
        image = wave_image(96)
        with torch.no_grad():
            torch.testing.assert_close(model(image), plain(image), rtol=1e-5, atol=1e-5)


def test_asking_for_weights_says_where_they_come_from() -> None:
    with pytest.raises(ProxylessError, match=r"proxyless_gpu: no weights are shipped: .*zoo\.load_official"):
        zoo.build("proxyless_gpu", pretrained=True)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ProxylessError, match=r"'proxyless_tpu': there is proxyless_cpu, proxyless_gpu"):
        zoo.build("proxyless_tpu")
