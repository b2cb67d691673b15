"""Blocks that the backward pass runs again follow the path of their forward pass, whatever the path is by then."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from proxyless import Choice, ProxylessError, Supernet, Zero
from proxyless.search.gradient import TwoPathUpdate
from proxyless.search.objective import TaskOnly


class Net(nn.Module):
    """Two blocks of choices, the second with a checkpoint in its checkpoint."""

    def __init__(self, run) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Linear(3, 3)
        self.choices = nn.ModuleList(Choice(a=nn.Linear(3, 3), b=nn.Linear(3, 3)) for _ in range(3))
        self.run = run

    def block(self, x):
        return torch.tanh(self.choices[1](torch.tanh(self.run(self.choices[2], x))))

    def forward(self, x):
        x = torch.tanh(self.stem(x))
        x = self.run(lambda y: torch.tanh(self.choices[0](y)), x)
        return self.run(self.block, x)


KINDS = {kind: partial(checkpoint, use_reentrant=kind == "reentrant") for kind in ("reentrant", "not reentrant")}
A, B = [0, 1, 0], [1, 0, 1]
X, Y = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)), torch.arange(5) % 3


def plain(function, x):
    return function(x)


def loss_of(supernet, path, factor=1.0):
    supernet.path = path
    return factor * nn.functional.cross_entropy(supernet(X), Y)


def together(supernet):
    one = loss_of(supernet, A)
    (one + loss_of(supernet, B, 2.0)).backward()


def one_after_the_other(supernet):
    one, two = loss_of(supernet, A), loss_of(supernet, B, 2.0)
    supernet.sample()
    one.backward()
    supernet.path = A
    two.backward()


def with_a_step_between(supernet):
    one, two = loss_of(supernet, A), loss_of(supernet, B, 2.0)
    supernet.network.run, before = plain, supernet.network.run
    TwoPathUpdate(supernet, TaskOnly(), learning_rate=0.0).step((X, Y), nn.functional.cross_entropy)
    supernet.network.run = before
    two.backward()
    one.backward()


def one_at_a_time(supernet):
    for path, factor in ((A, 1.0), (B, 2.0)):
        loss_of(supernet, path, factor).backward()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("course", [together, one_after_the_other, with_a_step_between, one_at_a_time])
def test_gradients_are_those_without_checkpoints(kind, course):
    expected, found = Supernet(Net(plain)), Supernet(Net(KINDS[kind]))
    one_at_a_time(expected)
    course(found)
    for (name, one), other in zip(expected.network.named_parameters(), found.network.parameters(), strict=True):
        assert one.grad is not None, name
        assert torch.allclose(one.grad, other.grad, atol=1e-7), name


def test_the_path_is_what_was_set_last_after_a_backward_pass():
    supernet = Supernet(Net(KINDS["reentrant"]))
    one = loss_of(supernet, A)
    supernet.path = B
    one.backward()
    assert supernet.path == B
    outside = Supernet(Net(plain))
    outside.path = B
    assert torch.equal(supernet.network(X), outside(X))


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_that_is_called_without_its_supernet_says_so(kind):
    supernet = Supernet(Net(KINDS[kind]))
    supernet.path = A
    loss = nn.functional.cross_entropy(supernet.network(X), Y)
    supernet.path = B
    with pytest.raises(ProxylessError, match=r"run again by a backward pass .*, but its path has moved on: call the"):
        loss.backward()


@pytest.mark.parametrize("kind", KINDS)
def test_two_passes_without_the_supernet_before_one_goes_backward_are_refused(kind):
    supernet = Supernet(Net(KINDS[kind]))
    losses = []
    for path in (A, B):
        supernet.path = path
        losses.append(nn.functional.cross_entropy(supernet.network(X), Y))
    with pytest.raises(ProxylessError, match="its path has moved on"):
        sum(losses).backward()


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("kind", KINDS)
def test_passes_without_the_supernet_that_each_go_backward_are_right(kind):
    def network(run):
        torch.manual_seed(0)
        skips = [Choice(a=nn.Linear(3, 3), zero=Zero(), shortcut=True), Choice(a=nn.Linear(3, 3), same=nn.Identity())]
        return nn.Sequential(nn.Linear(3, 3), *(Checkpointed(choice, run) for choice in skips))

    expected, found = Supernet(network(plain)), Supernet(network(KINDS[kind]))
    for supernet in (expected, found):
        for path in ([0, 0], [1, 1], [0, 1], [1, 0]):
            supernet.path = path
            nn.functional.cross_entropy(supernet.network(X), Y).backward()
            with torch.no_grad():
                supernet.network(X)
    for one, other in zip(expected.network.parameters(), found.network.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-7)


class Checkpointed(nn.Module):
    def __init__(self, inner, run) -> None:
        super().__init__()
        self.inner, self.run = inner, run

    def forward(self, x):
        return self.run(self.inner, x)


def test_a_supernet_that_is_checkpointed_as_a_whole_repeats_its_path():
    expected, found = Supernet(Net(plain)), Supernet(Net(plain))
    for supernet, run in ((expected, plain), (found, KINDS["not reentrant"])):
        supernet.path = A
        loss = nn.functional.cross_entropy(run(supernet, X), Y)
        if supernet is found:
            supernet.path = B
        loss.backward()
    for one, other in zip(expected.network.parameters(), found.network.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        assert one.grad is None or torch.allclose(one.grad, other.grad, atol=1e-7)
