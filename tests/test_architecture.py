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


def test_a_choice_that_stands_before_the_candidate_that_holds_it_is_replaced_in_both_places():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Choice(a=nn.Linear(3, 3), b=nn.Linear(3, 3))
            self.outer = Choice(nested=nn.Sequential(self.inner, nn.ReLU()), plain=nn.Linear(3, 3))

        def forward(self, x):
            return self.outer(self.inner(x))

    torch.manual_seed(0)
    supernet = Supernet(Net())
    x = torch.randn(4, 3)
    for path in ([0, 0], [1, 0], [1, 1]):
        supernet.path = path
        compact = derive(supernet, path)
        assert torch.equal(compact(x), supernet(x))
    compact = derive(supernet, [0, 0])
    assert compact.inner is compact.outer[0]


def test_a_choice_under_two_names_is_one_module_of_the_derived_network():
    shared = Choice(a=nn.Linear(3, 3), b=nn.Linear(3, 3))
    supernet = Supernet(nn.ModuleDict({"one": shared, "two": shared}))
    assert list(supernet.choices) == ["one"]
    compact = derive(supernet, Architecture({"one": "b"}))
    assert compact["one"] is compact["two"]
    assert torch.equal(compact["one"].weight, shared.candidates["b"].weight)


class Masked(nn.Module):
    """A shortcut around a candidate that takes more than a tensor; in the second block the tensor is not the first."""

    def __init__(self) -> None:
        super().__init__()
        self.one = Choice(a=Attend(), skip=Zero(), shortcut=True)
        self.two = Choice(a=Attend(), skip=Zero())

    def forward(self, x):
        return self.two(x=self.one(x, x > 0, scale=2.0), mask=None, scale=1)


class Attend(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x, mask, *, scale):
        y = self.linear(x) * scale
        return y if mask is None else y * mask


@pytest.mark.parametrize("path", [[0, 0], [1, 0], [0, 1], [1, 1]])
def test_arguments_of_all_kinds_reach_what_is_left_of_a_choice(path):
    supernet = Supernet(Masked())
    supernet.path = path
    x = torch.randn(4, 3)
    assert torch.equal(derive(supernet, path)(x), supernet(x))


def test_lazy_candidates_that_never_ran_are_named_until_they_have_weights():
    def network():
        return nn.Sequential(nn.LazyLinear(3), Choice(lazy=nn.Sequential(nn.LazyConv1d(3, 1)), plain=nn.Linear(3, 3)))

    with pytest.raises(ProxylessError, match=r"candidate lazy of choice 1 holds a LazyConv1d that was .*input_shapes"):
        derive(network(), [0])
    with pytest.raises(ProxylessError, match="the network holds a LazyLinear that was never run"):
        derive(network(), [1])
    with pytest.raises(ProxylessError, match="candidate norm of choice 0 holds a LazyBatchNorm1d that was never run"):
        derive(nn.Sequential(Choice(norm=nn.Sequential(nn.LazyBatchNorm1d()), plain=nn.Linear(3, 3))), [0])
    for how in (lambda net, x: net.input_shapes(x), lambda net, x: net(x)):
        supernet = Supernet(network())
        how(supernet, torch.randn(1, 3, 5))
        compact = derive(supernet, [0])
        assert all(p.isfinite().all() and p.numel() for p in compact.parameters())
        assert compact(torch.randn(1, 3, 5)).shape == (1, 3, 3)
