"""What choices run on, and what cannot be a choice, found before anything is searched."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from proxyless import Choice, ProxylessError, Supernet, Zero
from proxyless.inspection import inspect
from proxyless.modules.inputs import Inputs


def two(width: int = 3) -> Choice:
    return Choice(a=nn.Linear(width, width), b=nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True)))


def inspected(network: nn.Module, *example, **keywords):
    return inspect(network, Supernet(network).choices, Inputs.of(example, keywords))


class Loop(nn.Module):
    """Runs its choice as often as ``times`` says of the input."""

    def __init__(self, times) -> None:
        super().__init__()
        self.block, self.times = two(), times

    def forward(self, x):
        for _ in range(self.times(x)):
            x = self.block(x)
        return x


def test_every_run_is_found_with_its_shapes():
    class Siamese(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = Choice(a=nn.Conv2d(1, 1, 3), b=nn.Conv2d(1, 1, (3, 3), bias=False))

        def forward(self, x):
            return self.trunk(x).mean() - self.trunk(x[..., ::2, ::2]).mean()

    network = Siamese()
    found = inspected(network, torch.randn(1, 1, 8, 8)).always()
    assert [run.shapes for run in found["trunk"]] == [((1, 1, 8, 8),), ((1, 1, 4, 4),)]
    with pytest.raises(ProxylessError, match=r"choice trunk is run on different shapes: .*8, 8.*4, 4"):
        Supernet(network).input_shapes(torch.randn(1, 1, 8, 8))


def test_a_choice_under_two_names_has_one_row_and_the_runs_of_both():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = self.other = two()

        def forward(self, x):
            return self.other(self.one(x))

    found = inspected(Twice(), torch.randn(1, 3)).always()
    assert {name: len(runs) for name, runs in found.items()} == {"one": 2}


@pytest.mark.parametrize(
    "times",
    [
        lambda x: 1 + int(x.sum() > 0),
        lambda x: 2 if x.abs().mean() > 1.5 else 1,
        lambda x: 1 if x.softmax(dim=1).max() < 0.9 else 2,
        lambda x: int(torch.randint(1, 100, ()).item()),
    ],
)
def test_a_number_of_runs_that_depends_on_the_data_is_refused(times):
    with pytest.raises(ProxylessError, match=r"choice block is run .* must not depend on the data"):
        inspected(Loop(times), torch.tensor([[0.2, 0.5, 0.7]]))


def test_a_loop_without_end_ends():
    with pytest.raises(ProxylessError, match="choice block is run more than 10,000 times"):
        inspected(Loop(lambda x: 20_000), torch.randn(1, 3))


def test_a_choice_two_candidates_deep_is_reached_and_known_to_depend_on_others():
    inmost = Choice(a=nn.Linear(3, 3), b=Zero())
    middle = Choice(inside=nn.Sequential(inmost), plain=nn.Linear(3, 3))
    network = nn.Sequential(Choice(plain=nn.Linear(3, 3), nested=nn.Sequential(middle)))
    found = inspected(network, torch.randn(1, 3))
    assert list(found.shapes()) == ["0", "0.candidates.nested.0", "0.candidates.nested.0.candidates.inside.0"]
    with pytest.raises(ProxylessError, match=r"choice 0\.candidates\.nested\.0 stands in candidate nested of choice 0"):
        found.always()


def test_a_choice_that_some_paths_leave_out_is_known_without_being_nested():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = two(), two()

        def forward(self, x):
            return self.one(x) if self.one.active == 0 else self.two(self.one(x))

    with pytest.raises(ProxylessError, match="choice two is not run in the same way by every path"):
        inspected(Net(), torch.randn(1, 3)).always()


class View(nn.Module):
    def forward(self, x):
        x.view(-1)[:1].add_(1)
        return x * 2


class Keyword(nn.Module):
    def forward(self, x, *, other):
        return x + other.relu_()


in_place = {
    "activation": nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 3)),
    "view": View(),
    "deep": nn.Sequential(nn.Identity(), nn.Sequential(nn.Hardswish(inplace=True))),
}


class Past(nn.Linear):
    """Changes its input past the counter of versions."""

    def forward(self, x):
        if self.bias is None:
            x.detach().numpy()[...] += 1
        else:
            x.data.add_(1)
        return super().forward(x)


in_place |= {"dropout": nn.Sequential(nn.Dropout(inplace=True), nn.Linear(3, 3))}
in_place |= {"data": Past(3, 3), "numpy": Past(3, 3, bias=False)}


@pytest.mark.parametrize("which", in_place)
@pytest.mark.parametrize("shortcut", [True, False])
def test_a_candidate_that_changes_its_input_is_named_with_the_remedy(which, shortcut):
    network = nn.Sequential(nn.Linear(3, 3), Choice(plain=nn.Linear(3, 3), bad=in_place[which], shortcut=shortcut))
    with pytest.raises(ProxylessError, match=r"candidate bad of choice 1 changes its input in place.*inplace=False"):
        Supernet(network).input_shapes(torch.ones(1, 3))


def test_an_input_given_by_keyword_must_not_be_changed_either():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Choice(bad=Keyword(), zero=Zero())

        def forward(self, x):
            return self.block(x, other=x * 2)

    with pytest.raises(ProxylessError, match="candidate bad of choice block changes its input in place"):
        Supernet(Net()).input_shapes(torch.ones(1, 3))


def test_what_a_candidate_changes_of_its_own_is_no_mistake():
    own = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU(inplace=True))
    network = nn.Sequential(Choice(own=own, zero=Zero(), shortcut=True), nn.ReLU(inplace=True))
    assert Supernet(network).input_shapes(torch.randn(4, 3)) == {"0": ((4, 3),)}


class Counting(nn.Module):
    """Counts its runs whatever its mode, and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("runs", torch.zeros(()))

    def forward(self, x):
        self.runs.add_(1)
        return nn.functional.dropout(x, 0.5, training=True) * self.runs


def test_nothing_is_left_behind_also_after_a_mistake():
    bad = nn.Sequential(Counting(), nn.Linear(3, 4))
    for candidate in (nn.Sequential(Counting(), nn.Linear(3, 3)), bad):
        supernet = Supernet(nn.Sequential(Choice(a=candidate, b=nn.Linear(3, 3)), nn.BatchNorm1d(3)))
        supernet.path = [1]
        supernet.train()
        supernet.network[0].candidates["b"].eval()
        hooks = [len(module._forward_pre_hooks) for module in supernet.modules()]
        modes = [module.training for module in supernet.modules()]
        state = {name: value.clone() for name, value in supernet.state_dict().items()}
        generator = torch.get_rng_state()
        if candidate is bad:
            with pytest.raises(ProxylessError, match="different shapes"):
                supernet.input_shapes(torch.randn(2, 3, generator=torch.Generator()))
        else:
            supernet.input_shapes(torch.randn(2, 3, generator=torch.Generator()))
        assert torch.equal(torch.get_rng_state(), generator)
        assert all(torch.equal(value, state[name]) for name, value in supernet.state_dict().items())
        assert supernet.path == [1]
        assert supernet.network[0].gating is None
        assert [module.training for module in supernet.modules()] == modes
        assert [len(module._forward_pre_hooks) for module in supernet.modules()] == hooks


def test_what_a_hook_makes_of_the_arguments_is_what_counts():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = two()
            self.block.register_forward_pre_hook(lambda _, args, keywords: ((args[0][:2],), {}), with_kwargs=True)

        def forward(self, x):
            return self.block(x, unknown=3)

    assert Supernet(Net()).input_shapes(torch.randn(5, 3)) == {"block": ((2, 3),)}


def test_lazy_modules_take_their_shapes_by_the_seed_of_the_user():
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        network = nn.Sequential(Choice(a=nn.LazyLinear(3), b=nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())))
        Supernet(network).input_shapes(torch.randn(2, 5, generator=torch.Generator()))
        weights.append(network[0].candidates["b"][0].weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


class Kept(nn.Module):
    """An activation in place behind a choice; ``needed`` says whether its input is needed afterwards."""

    def __init__(self, needed: bool, **candidates) -> None:
        super().__init__()
        self.stem, self.block, self.needed = nn.Linear(4, 4), Choice(**candidates), needed

    def forward(self, x):
        x = self.stem(x)
        y = self.block(x).relu_()
        return y + x if self.needed else y


handing_on = {
    "same": {"a": nn.Linear(4, 4), "same": nn.Identity()},
    "view": {"view": nn.Flatten(), "b": nn.Linear(4, 4)},
    "skip": {"a": nn.Linear(4, 4), "skip": Zero(), "shortcut": True},
}


@pytest.mark.parametrize("which", handing_on)
def test_an_input_that_is_handed_on_may_be_changed_where_nothing_else_needs_it(which):
    torch.manual_seed(0)
    assert Supernet(Kept(False, **handing_on[which])).input_shapes(torch.randn(5, 4)) == {"block": ((5, 4),)}
    with pytest.raises(ProxylessError, match=f"candidate {which} of choice block returns its input .*inplace=False"):
        Supernet(Kept(True, **handing_on[which])).input_shapes(torch.randn(5, 4))


def test_inputs_that_the_network_does_not_take_are_not_held_against_it():
    class Looked(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.block = nn.Embedding(4, 3), two()

        def forward(self, x):
            assert x.min() >= 0
            return self.block(self.embed(x.long()))

    assert Supernet(Looked()).input_shapes(torch.full((1, 2), 3.0)) == {"block": ((1, 2, 3),)}


def test_a_network_in_a_wrapper_is_inspected_as_it_is_run():
    wrapped = nn.DataParallel(nn.Sequential(two(), two()))
    assert list(Supernet(wrapped).input_shapes(torch.randn(0, 3))) == ["module.0", "module.1"]


@pytest.mark.parametrize("needed", [False, True])
def test_an_input_that_dropout_changes_in_training_alone_is_found_as_well(needed):
    class Dropped(Kept):
        def forward(self, x):
            x = self.stem(x)
            y = self.dropout(self.block(x))
            return y + x if self.needed else y

    network = Dropped(needed, **handing_on["same"])
    network.dropout = nn.Dropout(inplace=True)
    supernet = Supernet(network).train()
    before = torch.get_rng_state()
    if needed:
        with pytest.raises(ProxylessError, match=r"candidate same of choice block returns its input .*inplace=False"):
            supernet.input_shapes(torch.randn(5, 4, generator=torch.Generator()))
    else:
        supernet.input_shapes(torch.randn(5, 4, generator=torch.Generator()))
    assert all(part.training for part in supernet.modules())
    assert torch.equal(torch.get_rng_state(), before)
