import json

import pytest
import torch
from torch import nn

from proxyless import Architecture, Choice, ProxylessError, Supernet, Zero, architecture_of, derive


def test_the_most_probable_path_is_the_architecture(tiny_net):
    supernet = Supernet(tiny_net)
    with torch.no_grad():
        supernet.alpha.copy_(torch.tensor([[0.0, 2.0, 1.0], [0.0, 1.0, 9.0]]))
    assert architecture_of(supernet).choices == {"first": "k3", "second": "narrow"}


@pytest.mark.parametrize("path", [[0, 0], [1, 1], [2, 0]])
def test_the_derived_network_computes_what_the_path_computes_and_shares_nothing(tiny_net, tiny_batch, path):
    supernet = Supernet(tiny_net).eval()
    compact = derive(supernet, path)
    supernet.path = path
    assert torch.equal(compact(tiny_batch[0]), supernet(tiny_batch[0]))
    assert not any(isinstance(module, Choice | Zero) for module in compact.modules())
    assert not {id(p) for p in compact.parameters()} & {id(p) for p in supernet.parameters()}
    assert all(p.requires_grad for p in compact.parameters())


def test_deriving_reaches_choices_nested_in_candidates():
    torch.manual_seed(0)
    inner = Choice(a=nn.Linear(3, 3), b=nn.Linear(3, 3))
    network = nn.Sequential(Choice(plain=nn.Linear(3, 3), nested=nn.Sequential(inner, nn.ReLU())))
    supernet = Supernet(network)
    supernet.path = [1, 1]
    x = torch.randn(5, 3)
    compact = derive(supernet, [1, 1])
    assert torch.equal(compact(x), supernet(x))
    assert not any(isinstance(module, Choice) for module in compact.modules())


def test_survives_the_way_through_a_file(tmp_path):
    architecture = Architecture({"first": "k1", "second": "wide"}, "mobilenet", {"width": 0.5, "depths": [1, 2]})
    architecture.save(tmp_path / "architecture.json")
    assert Architecture.load(tmp_path / "architecture.json") == architecture


@pytest.mark.parametrize(
    "content", ["", "[]", '{"choices": 3}', '{"choices": {"a": 1}}', '{"choices": {}, "space": 1}']
)
def test_a_file_that_is_no_architecture_is_one_clear_error(tmp_path, content):
    path = tmp_path / "architecture.json"
    path.write_text(content)
    with pytest.raises(ProxylessError, match=r"architecture\.json"):
        Architecture.load(path)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"first": "k1"}, "lacks \\['second'\\]"),
        ({"first": "k1", "second": "wide", "third": "x"}, "\\['third'\\]"),
        ({"first": "k9", "second": "wide"}, "no candidate 'k9': it has k1, k3, skip"),
    ],
)
def test_an_architecture_of_another_network_is_one_clear_error(tiny_net, choices, message):
    with pytest.raises(ProxylessError, match=message):
        derive(tiny_net, Architecture(choices))


def test_the_file_is_plain_json(tmp_path):
    Architecture({"b": "x", "a": "y"}).save(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["choices"] == {"b": "x", "a": "y"}
