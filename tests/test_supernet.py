import math

import pytest
import torch
from torch import nn

from proxyless import Choice, Supernet, Zero
from proxyless.modules.modes import batch_statistics


def test_finds_every_choice_by_its_name_in_the_network(tiny_net):
    assert list(Supernet(tiny_net).choices) == ["first", "second"]


def test_a_network_without_choices_is_refused():
    with pytest.raises(ValueError, match="no Choice"):
        Supernet(nn.Linear(2, 2))


def test_the_temperature_is_the_papers_until_it_is_assigned(tiny_net):
    assert Supernet(tiny_net).temperature == 1


@pytest.mark.parametrize("t", [1.0, 0.5, 2.0])
def test_probabilities_are_the_softmax_of_each_row_without_its_padding(tiny_net, t):
    supernet = Supernet(tiny_net)
    supernet.temperature = t
    with torch.no_grad():
        supernet.alpha.copy_(torch.tensor([[1.0, 2.0, 3.0], [0.5, -0.5, 99.0]]))
    p = supernet.probabilities()
    expected = [math.exp(v / t) for v in (1, 2, 3)]
    assert p[0].tolist() == pytest.approx([v / sum(expected) for v in expected])
    assert p[1].tolist() == pytest.approx([1 / (1 + math.exp(-1 / t)), 1 / (1 + math.exp(1 / t)), 0])
    log_p = [math.log(v) for v in p[0].tolist()]
    assert supernet.entropy()[0].item() == pytest.approx(-sum(v * w for v, w in zip(p[0].tolist(), log_p, strict=True)))
    assert supernet.most_probable() == [2, 0]


@pytest.mark.parametrize("t", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_gives_no_probabilities_is_refused(tiny_net, t):
    with pytest.raises(ValueError, match="temperature is above 0"):
        Supernet(tiny_net).temperature = t


@pytest.mark.parametrize("t", [1.0, 0.5, 2.0])
def test_sampled_paths_follow_the_probabilities(tiny_net, t):
    supernet = Supernet(tiny_net)
    supernet.temperature = t
    with torch.no_grad():
        supernet.alpha.copy_(torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 0.0]]))
    powers = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, -math.inf]]).div(t).exp()
    p = powers / powers.sum(dim=1, keepdim=True)
    counts = torch.zeros_like(p)
    draws = 4000
    for _ in range(draws):
        for row, index in enumerate(supernet.sample()):
            counts[row, index] += 1
    deviation = (p * (1 - p) / draws).sqrt()
    assert ((counts / draws - p).abs() <= 4 * deviation).all()


def test_uniform_sampling_ignores_alpha_and_never_draws_padding(tiny_net):
    supernet = Supernet(tiny_net)
    with torch.no_grad():
        supernet.alpha.copy_(torch.tensor([[50.0, 0.0, 0.0], [50.0, 0.0, 0.0]]))
    drawn = {tuple(supernet.sample(uniform=True)) for _ in range(300)}
    assert drawn == {(i, j) for i in range(3) for j in range(2)}


def test_the_same_seed_samples_the_same_paths(tiny_net):
    def paths(seed):
        supernet = Supernet(tiny_net, seed=seed)
        return [supernet.sample() for _ in range(20)]

    assert paths(3) == paths(3)
    assert paths(3) != paths(4)


def test_entropy_is_log_n_when_undecided_and_zero_when_decided(tiny_net):
    supernet = Supernet(tiny_net, init_std=0.0)
    assert supernet.entropy().tolist() == pytest.approx([math.log(3), math.log(2)])
    with torch.no_grad():
        supernet.alpha[:, 0] = 1e4
    assert supernet.entropy().tolist() == pytest.approx([0, 0])


def test_a_path_that_does_not_fit_is_refused(tiny_net):
    supernet = Supernet(tiny_net)
    with pytest.raises(ValueError, match="2 choices"):
        supernet.path = [0]
    with pytest.raises(ValueError, match="candidates 0 to 1"):
        supernet.path = [0, 2]


def test_a_weight_step_touches_active_weights_only(tiny_net, tiny_batch):
    """Not sampled: no gradient, no momentum, no weight decay (paper, 3.2)."""
    supernet = Supernet(tiny_net)
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    inputs, targets = tiny_batch

    def step(path):
        supernet.path = path
        nn.functional.cross_entropy(supernet(inputs), targets).backward()
        optimizer.step()
        optimizer.zero_grad()

    step([0, 0])  # gives the first candidates momentum
    before = {name: value.clone() for name, value in supernet.named_parameters()}
    step([1, 1])
    for name, value in supernet.named_parameters():
        inactive = "candidates.k1" in name or "candidates.wide" in name or name == "alpha"
        assert torch.equal(value, before[name]) == inactive, name
    assert supernet.alpha not in optimizer.state


def test_input_shapes_are_found_by_running_once_and_nothing_is_changed(tiny_net):
    supernet = Supernet(tiny_net)
    supernet.path = [2, 1]
    supernet.train()
    state = {name: value.clone() for name, value in supernet.state_dict().items()}
    assert supernet.input_shapes(torch.randn(2, 2, 6, 6)) == {"first": ((2, 4, 6, 6),), "second": ((2, 4, 6, 6),)}
    assert supernet.path == [2, 1]
    assert all(module.training for module in supernet.modules())
    assert all(torch.equal(value, state[name]) for name, value in supernet.state_dict().items())


def test_a_choice_nested_in_a_candidate_is_found():
    inner = Choice(a=nn.Linear(3, 3), b=Zero())
    network = nn.Sequential(Choice(plain=nn.Linear(3, 3), nested=nn.Sequential(inner)))
    assert Supernet(network).input_shapes(torch.randn(1, 3)) == {
        "0": ((1, 3),),
        "0.candidates.nested.0": ((1, 3),),
    }


def test_a_norm_that_sees_one_value_a_channel_does_not_hinder_finding_shapes():
    network = nn.Sequential(Choice(a=nn.Linear(3, 3), b=nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))))
    assert Supernet(network).input_shapes(torch.randn(1, 3)) == {"0": ((1, 3),)}


def test_candidates_of_different_shapes_are_named():
    network = nn.Sequential(Choice(a=nn.Linear(3, 4), skip=Zero()))
    with pytest.raises(ValueError, match=r"choice 0 return different shapes: .*'a': \(1, 4\).*'skip': \(1, 3\)"):
        Supernet(network).input_shapes(torch.randn(1, 3))


def test_batch_statistics_normalise_by_the_batch_and_leave_running_ones():
    norm = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5))
    norm.train()
    x = torch.randn(64, 2) * 5 + 3
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    with batch_statistics(norm), torch.no_grad():
        out = norm(x)
    assert torch.allclose(out.mean(0), torch.zeros(2), atol=1e-5)
    assert torch.allclose(out.std(0, unbiased=False), torch.ones(2), atol=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    assert norm.training
    assert norm[0].track_running_stats


def test_batch_statistics_hold_for_the_norms_of_timm():
    from timm.layers import BatchNormAct2d

    norm = BatchNormAct2d(2, apply_act=False).train()
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    with batch_statistics(norm), torch.no_grad():
        out = norm(torch.randn(8, 2, 4, 4) * 5 + 3)
    assert torch.allclose(out.mean((0, 2, 3)), torch.zeros(2), atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
