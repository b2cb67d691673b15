"""Counted costs of every path of a space against the derived networks, counted by PyTorch's own counter."""

from __future__ import annotations

import random
from itertools import product

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from proxyless import Choice, ProxylessError, Supernet, Zero, derive
from proxyless.cost import macs_table, parameters_table


def counted(network: nn.Module, *shape: int) -> tuple[int, int]:
    """MACs and parameters, independently of the package."""
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *shape))
    return counter.get_total_flops() // 2, sum(p.numel() for p in set(network.parameters()))


def check_every_path(network: nn.Module, *shape: int) -> int:
    supernet = Supernet(network)
    macs, parameters = macs_table(supernet, shape), parameters_table(supernet, shape)
    macs.check(supernet)
    paths = list(product(*(range(len(choice)) for choice in supernet.choices.values())))
    for path in paths:
        assert (macs.of_path(path), parameters.of_path(path)) == counted(derive(supernet, list(path)), *shape), path
    return len(paths)


def test_every_network_costs_what_it_counts_as_a_whole(tiny_net):
    supernet = Supernet(tiny_net)
    macs, parameters = macs_table(supernet, (2, 6, 6)), parameters_table(supernet, (2, 6, 6))
    macs.check(supernet)
    stem, head = 2 * 4 * 9 * 36, 5 * 3
    first, second = (4 * 4 * 36, 4 * 4 * 9 * 36, 0), 4 * 5 * 9 * 16
    for path in product(range(3), range(2)):
        network = derive(supernet, list(path))
        assert parameters.of_path(path) == sum(p.numel() for p in network.parameters())
        assert macs.of_path(path) == stem + first[path[0]] + second + head
        assert network(torch.zeros(1, 2, 6, 6)).shape == (1, 3)


class Random(nn.Module):
    """A random network of choices and plain layers, some of them run several times, or on several sizes."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        kinds = {
            "k1": lambda: nn.Conv2d(2, 2, 1),
            "k3": lambda: nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(inplace=True)),
            "wide": lambda: nn.Sequential(nn.Conv2d(2, 5, 1), nn.ReLU(), nn.Conv2d(5, 2, 3, padding=1, bias=False)),
            "zero": Zero,
            "same": nn.Identity,
        }
        self.parts = nn.ModuleList()
        for _ in range(rng.randint(2, 3)):
            taken = rng.sample(sorted(kinds), rng.randint(2, 3))
            self.parts.append(Choice(shortcut=rng.random() < 0.5, **{name: kinds[name]() for name in taken}))
        self.parts.append(nn.Conv2d(2, 2, 1))
        self.again = nn.Sequential(rng.choice(list(self.parts)), nn.ReLU(inplace=True))  # stands in two places
        self.order = [rng.choice(list(self.parts)) for _ in range(rng.randint(0, 3))]
        self.halved = rng.random() < 0.5

    def forward(self, x):
        for part in [*self.parts, *self.order]:
            x = part(x)
            if self.halved and x.shape[-1] > 2:
                x = x[..., ::2, ::2]
        return self.again(x)


@pytest.mark.parametrize("seed", range(12))
def test_every_path_of_a_random_space_costs_what_its_network_counts(seed):
    torch.manual_seed(seed)
    assert check_every_path(Random(random.Random(seed)), 2, 8, 8) >= 4


def test_a_siamese_trunk_counts_as_often_as_it_runs_and_its_parameters_once():
    class Siamese(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = Choice(k1=nn.Conv2d(1, 2, 1), k3=nn.Conv2d(1, 2, 3, padding=1))
            self.head = nn.Linear(4, 1)

        def forward(self, x):
            one, other = self.trunk(x), self.trunk(x[..., :4, :4])
            return self.head(torch.cat([one.mean((2, 3)), other.mean((2, 3))], dim=1))

    check_every_path(Siamese(), 1, 8, 8)
    supernet = Supernet(Siamese())
    assert macs_table(supernet, (1, 8, 8)).rows["trunk"] == {"k1": 2 * (64 + 16), "k3": 18 * (64 + 16)}
    assert parameters_table(supernet, (1, 8, 8)).rows["trunk"] == {"k1": 4, "k3": 20}


def test_a_layer_that_a_candidate_shares_with_the_rest_of_the_network_counts_once():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Linear(3, 3)
            self.block = Choice(stem=self.stem, own=nn.Linear(3, 3, bias=False), both=nn.Sequential(self.stem))
            tied = nn.Linear(3, 3)
            tied.weight = self.stem.weight
            self.tied = Choice(tied=tied, zero=Zero())

        def forward(self, x):
            return self.tied(self.block(self.stem(x)))

    assert check_every_path(Shared(), 3) == 6


def test_candidates_of_two_choices_that_share_parameters_are_refused_by_name_where_parameters_count():
    shared = nn.Linear(3, 3)
    network = nn.Sequential(Choice(s=shared, a=nn.Linear(3, 3)), Choice(s=shared, a=nn.Linear(3, 3)))
    with pytest.raises(ProxylessError, match="choices 0 and 1 have candidates that share parameters"):
        parameters_table(Supernet(network), (3,))
    assert macs_table(Supernet(network), (3,)).of_path([0, 0]) == 18
    # Where one of the two has it whatever it takes, it is part of every network.
    network[0] = Choice(s=shared, twice=nn.Sequential(shared, nn.Linear(3, 3)))
    check_every_path(network, 3)


@pytest.mark.parametrize("table", [macs_table, parameters_table])
def test_a_choice_in_a_candidate_is_refused_by_name(table):
    inner = Choice(a=nn.Linear(3, 3), b=Zero())
    network = nn.Sequential(Choice(plain=nn.Linear(3, 3), nested=nn.Sequential(inner)))
    with pytest.raises(ProxylessError, match=r"choice 0\.candidates\.nested\.0 stands in candidate nested of choice 0"):
        table(Supernet(network), (3,))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_networks_of_other_precision_are_counted(tiny_net, dtype):
    expected = macs_table(Supernet(tiny_net), (2, 6, 6))
    assert macs_table(Supernet(tiny_net.to(dtype)), (2, 6, 6)) == expected
