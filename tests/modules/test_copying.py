"""Networks are derived in whatever state training has left them."""

from __future__ import annotations

import threading
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from proxyless import Choice, ProxylessError, Supernet, derive
from proxyless.export.onnx import to_onnx
from proxyless.modules.copying import copied, unparametrized

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.nn.utils import spectral_norm, weight_norm


def pruned(module: nn.Module) -> nn.Module:
    return prune.random_unstructured(module, "weight", 0.5)


def cached(module: nn.Module) -> nn.Module:
    """Keeps its last output."""
    module.register_forward_hook(lambda m, _, output: m.__dict__.update(last=[output]))
    return module


KINDS = {
    "weight_norm": weight_norm,
    "spectral_norm": spectral_norm,
    "parametrized weight_norm": parametrizations.weight_norm,
    "parametrized spectral_norm": parametrizations.spectral_norm,
    "parametrized orthogonal": parametrizations.orthogonal,
    "pruned": pruned,
    "cached": cached,
}


def run(network, state):
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    if state == "eval":
        network.eval()
    if state != "new":
        loss = network(x).sum()
        if state == "backward":
            loss.backward()
            torch.optim.SGD(network.parameters(), 0.1).step()
    return x


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["new", "forward", "backward", "eval"])
def test_a_network_is_derived_in_every_state_and_trains_on(kind, state):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stem, a, b = (KINDS[kind](nn.Linear(3, 3)) for _ in range(3))
    supernet = Supernet(nn.Sequential(stem, Choice(a=a, b=b)))
    supernet.path = [1]
    x = run(supernet, state)
    compact = derive(supernet, [1])
    supernet.eval(), compact.eval()
    assert torch.equal(compact(x), supernet(x))
    assert not {id(p) for p in compact.parameters()} & {id(p) for p in supernet.parameters()}
    before = [p.clone() for p in compact.parameters()]
    compact.train()(x).square().sum().backward()
    torch.optim.SGD(compact.parameters(), 0.1).step()
    assert any(not torch.equal(p, old) for p, old in zip(compact.parameters(), before, strict=True))
    again = copied(compact)  # as the average of a training
    assert torch.equal(again.eval()(x), compact.eval()(x))


def test_what_cannot_be_copied_is_named():
    part = nn.Linear(3, 3)
    part.lock = threading.Lock()
    network = nn.Sequential(nn.Sequential(part), Choice(a=nn.Linear(3, 3), b=nn.Linear(3, 3)))
    with pytest.raises(ProxylessError, match=r"^0\.0 of the network cannot be copied .*Linear"):
        derive(network, [0])


def test_what_is_not_taken_need_not_be_copied():
    bad = nn.Linear(3, 3)
    bad.lock = threading.Lock()
    network = nn.Sequential(Choice(a=nn.Linear(3, 3), bad=bad))
    assert derive(network, [0])(torch.zeros(1, 3)).shape == (1, 3)
    with pytest.raises(ProxylessError, match=r"^candidate bad of choice 0 cannot be copied"):
        derive(network, [1])


@pytest.mark.parametrize("kind", ["parametrized weight_norm", "parametrized spectral_norm", "parametrized orthogonal"])
def test_weights_are_made_plain_in_a_copy_alone(kind):
    torch.manual_seed(0)
    network = nn.Sequential(KINDS[kind](nn.Linear(3, 3)), nn.Linear(3, 3))
    run(network, "backward")
    made = unparametrized(network)
    x = torch.randn(4, 3)
    assert torch.allclose(made(x), network.eval()(x), atol=1e-6)
    assert set(dict(made.named_parameters())) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert to_onnx(network, [x])
    network(x).sum().backward()  # the original has its parametrization still
    assert all(p.grad is not None for p in network.parameters())
    assert unparametrized(network[1]) is network[1]
