"""REINFORCE: an unbiased policy gradient, with and without a budget, on a supernet and on a table."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from proxyless import ProxylessError, Supernet
from proxyless.cost import CostTable
from proxyless.modules.modes import batch_statistics
from proxyless.search import limit
from proxyless.search.blackbox import explore
from proxyless.search.limit import Limit
from proxyless.search.reinforce import (
    Policy,
    PolicyGradient,
    ReinforceUpdate,
    Replay,
    policy_gradient,
    reinforce_replayed,
)
from proxyless.search.reward import AccuracyReward, BudgetReward, LatencyReward

COUNTS = (3, 2, 3)
PATHS = list(product(*map(range, COUNTS)))
ROWS = ([0.0, 1.0, 2.5], [0.5, 3.0], [1.0, 0.0, 2.0])
COST = CostTable("ms", 1.0, {f"c{i}": {f"o{j}": v for j, v in enumerate(row)} for i, row in enumerate(ROWS)})
BUDGET = 5.0

TINY_COST = CostTable("ms", 1.0, {"first": {"k1": 1.0, "k3": 3.0, "skip": 0.0}, "second": {"wide": 2.0, "narrow": 1.0}})


def costs_of(path: tuple[int, ...]) -> float:
    return 1.0 + sum(row[i] for row, i in zip(ROWS, path, strict=True))


temperatures = pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])


def undecided_policy(seed: int, *, limit: Limit | None = None, temperature: float = 1.0) -> Policy:
    policy = Policy.over(COUNTS, seed=seed, limit=limit)
    policy.temperature = lambda: temperature
    policy.alpha += torch.randn(policy.alpha.shape, generator=torch.Generator().manual_seed(seed)).double()
    return policy


def enumerated(alpha: Tensor, paths: list[tuple[int, ...]], temperature: float = 1.0) -> Tensor:
    """Probability of each of ``paths`` given that one of them is taken, by products of softmaxes."""
    rows = [(alpha[i, :n] / temperature).softmax(dim=0) for i, n in enumerate(COUNTS)]
    p = torch.stack([torch.stack([row[i] for row, i in zip(rows, path, strict=True)]).prod() for path in paths])
    return p / p.sum()


def rewards_of(paths: list[tuple[int, ...]]) -> list[float]:
    return np.random.default_rng(5).normal(size=len(paths)).tolist()


@temperatures
@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("baseline", [0.0, 0.7, -30.0])
def test_the_gradient_is_unbiased_whatever_the_baseline(limited: bool, baseline: float, temperature: float) -> None:
    policy = undecided_policy(1, limit=Limit(COST, BUDGET) if limited else None, temperature=temperature)
    paths = [path for path in PATHS if not limited or costs_of(path) <= BUDGET]
    assert len(paths) == (11 if limited else 18)
    rewards = rewards_of(paths)

    alpha = policy.alpha.clone().requires_grad_()
    objective = (enumerated(alpha, paths, temperature) * torch.tensor(rewards, dtype=torch.float64)).sum()
    (exact,) = torch.autograd.grad(-objective, alpha)

    p = enumerated(policy.alpha, paths, temperature)
    estimates = [policy_gradient(policy, [path], [r], baseline) for path, r in zip(paths, rewards, strict=True)]
    expected = sum(weight * estimate for weight, estimate in zip(p, estimates, strict=True))
    torch.testing.assert_close(expected, exact, atol=1e-10, rtol=0)


@pytest.mark.parametrize("limited", [False, True])
def test_the_average_over_sampled_paths_approaches_the_gradient(limited: bool) -> None:
    policy = undecided_policy(2, limit=Limit(COST, BUDGET) if limited else None)
    paths = [path for path in PATHS if not limited or costs_of(path) <= BUDGET]
    rewards = dict(zip(paths, rewards_of(paths), strict=True))
    alpha = policy.alpha.clone().requires_grad_()
    objective = (enumerated(alpha, paths) * torch.tensor(list(rewards.values()), dtype=torch.float64)).sum()
    (exact,) = torch.autograd.grad(-objective, alpha)
    sampled = policy.sample(40_000)
    estimate = policy_gradient(policy, sampled, [rewards[path] for path in sampled], 0.1)
    # The standard error of an entry is below 1 / sqrt(40,000) = 0.005.
    torch.testing.assert_close(estimate, exact, atol=0.02, rtol=0)
    assert float(exact.abs().max()) > 0.05


@temperatures
@pytest.mark.parametrize("limited", [False, True])
def test_the_score_is_the_gradient_of_the_log_probability(limited: bool, temperature: float) -> None:
    policy = undecided_policy(7, limit=Limit(COST, BUDGET) if limited else None, temperature=temperature)
    paths = [path for path in PATHS if not limited or costs_of(path) <= BUDGET]
    alpha = policy.alpha.clone().requires_grad_()
    log_p = enumerated(alpha, paths, temperature).log()
    scores = [torch.autograd.grad(value, alpha, retain_graph=True)[0] for value in log_p]
    torch.testing.assert_close(policy.score(paths), torch.stack(scores), atol=1e-12, rtol=0)


def test_more_samples_are_the_mean_of_their_estimates() -> None:
    policy = undecided_policy(3)
    alone = [policy_gradient(policy, [path], [r], 0.2) for path, r in (((0, 1, 2), 1.0), ((2, 0, 0), 3.0))]
    together = policy_gradient(policy, [(0, 1, 2), (2, 0, 0)], [1.0, 3.0], 0.2)
    torch.testing.assert_close(together, (alone[0] + alone[1]) / 2)


@temperatures
def test_sampling_without_a_limit_is_by_the_softmax_of_each_choice(temperature: float) -> None:
    policy = undecided_policy(4, temperature=temperature)
    sampled = policy.sample(20_000)
    frequencies = torch.tensor([sampled.count(path) / len(sampled) for path in PATHS]).double()
    torch.testing.assert_close(frequencies, enumerated(policy.alpha, PATHS, temperature), atol=0.015, rtol=0)


@temperatures
def test_sampling_under_a_limit_is_the_policy_given_that_the_budget_is_kept(temperature: float) -> None:
    policy = undecided_policy(4, limit=Limit(COST, BUDGET), temperature=temperature)
    paths = [path for path in PATHS if costs_of(path) <= BUDGET]
    sampled = policy.sample(20_000)
    assert set(sampled) <= set(paths)
    frequencies = torch.tensor([sampled.count(path) / len(sampled) for path in paths]).double()
    torch.testing.assert_close(frequencies, enumerated(policy.alpha, paths, temperature), atol=0.015, rtol=0)


@temperatures
def test_probabilities_under_a_limit_are_those_of_the_networks_that_fit(temperature: float) -> None:
    policy = undecided_policy(4, limit=Limit(COST, BUDGET), temperature=temperature)
    paths = [path for path in PATHS if costs_of(path) <= BUDGET]
    gates = policy.one_hot(paths)
    expected = (enumerated(policy.alpha, paths, temperature)[:, None, None] * gates).sum(dim=0)
    torch.testing.assert_close(policy.probabilities(), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("budget", [4.0, 5.0, 7.0])
def test_costs_on_a_grid_keep_the_budget_and_hardly_change_probabilities(
    budget: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    cost = CostTable("ms", 0.3, {f"c{i}": {f"o{j}": rng.uniform(0.1, 1) for j in range(4)} for i in range(9)})
    counts = [4] * 9
    exact = Policy.over(counts, limit=_limit_with_states(cost, budget, 400_000, monkeypatch))
    coarse = Policy.over(counts, limit=_limit_with_states(cost, budget, 2_000, monkeypatch))
    torch.testing.assert_close(coarse.probabilities(), exact.probabilities(), atol=5e-3, rtol=0)
    assert all(cost.of_path(path) <= budget for path in coarse.sample(2_000))


def _limit_with_states(cost: CostTable, budget: float, states: int, monkeypatch: pytest.MonkeyPatch) -> Limit:
    monkeypatch.setattr(limit, "STATES", states)
    return Limit(cost, budget)


def test_a_limit_that_leaves_one_network_samples_that_network() -> None:
    policy = undecided_policy(6, limit=Limit(COST, COST.smallest()))
    assert policy.sample(5) == [(0, 0, 1)] * 5


def test_a_policy_sure_of_a_network_above_the_budget_still_samples_within_it() -> None:
    policy = Policy.over(COUNTS, limit=Limit(COST, BUDGET))
    policy.alpha += 500 * policy.one_hot([(2, 1, 2)])[0]
    assert all(costs_of(path) <= BUDGET for path in policy.sample(20))
    assert policy.score([(0, 0, 1)]).isfinite().all()


def test_a_limit_below_the_smallest_network_names_its_cost() -> None:
    with pytest.raises(ProxylessError, match=r"smallest network .* costs 1\.5 ms"):
        Limit(COST, 1.4)


def test_the_baseline_starts_from_the_first_mean_and_moves_by_its_decay() -> None:
    means = [0.2, 0.5, 0.9, 0.1]
    update = PolicyGradient(Policy.over(COUNTS), samples=4, baseline_decay=0.9)
    for mean in means:
        update.update([(0, 0, 0), (1, 1, 1)], [mean - 0.05, mean + 0.05])
    expected = 0.9**3 * 0.2 + 0.1 * (0.9**2 * 0.5 + 0.9 * 0.9 + 0.1)
    assert update.baseline == pytest.approx(expected, abs=1e-12)


def test_a_step_is_judged_by_the_baseline_of_earlier_steps() -> None:
    policy = Policy.over((2,))
    update = PolicyGradient(policy, optimizer=torch.optim.SGD([policy.alpha], lr=1.0))
    update.update([(0,)], [0.4])
    assert policy.alpha.tolist() == [[0.0, 0.0]]  # as good as its own mean
    update.update([(0,)], [0.6])
    torch.testing.assert_close(policy.alpha, torch.tensor([[0.1, -0.1]]).double())


def test_steps_with_a_table_make_its_best_network_the_most_probable() -> None:
    effects = ([0.0, 0.3, 0.9], [0.2, 0.0], [0.1, 0.6, 0.2])
    table = {path: sum(row[i] for row, i in zip(effects, path, strict=True)) for path in PATHS}
    policy = Policy.over(COUNTS, seed=1)
    update = PolicyGradient(policy, learning_rate=0.05, baseline_decay=0.9)
    first = update.step_with(table.__getitem__)
    for _ in range(200):
        last = update.step_with(table.__getitem__)
    assert policy.probabilities().argmax(dim=1).tolist() == [2, 0, 1]
    assert last > first


def test_replay_finds_the_best_network_under_the_budget_and_asks_for_no_other() -> None:
    rng = np.random.default_rng(3)
    counts = (3,) * 6
    effects = rng.normal(size=(6, 3))
    cost = CostTable("ms", 0.0, {f"c{i}": {f"o{j}": 1.0 + j for j in range(3)} for i in range(6)})
    within = [path for path in product(range(3), repeat=6) if 6 + sum(path) <= 11]
    value = {path: sum(row[i] for row, i in zip(effects, path, strict=True)) for path in within}
    policy = Policy.over(counts, seed=0, limit=Limit(cost, 11.0))
    found = explore(reinforce_replayed(policy), value.__getitem__, 60)
    assert len(found) == 60 < len(within) / 4
    assert max(found, key=found.__getitem__) == max(value, key=value.__getitem__)


@temperatures
def test_replay_of_a_fully_known_table_ends_at_the_maximum_entropy_policy(temperature: float) -> None:
    effects = torch.tensor([[0.0, 0.3, -0.2], [0.1, 0.4, 0.0]]).double()
    value = {path: float(effects[0, path[0]] + effects[1, path[1]]) for path in product(range(3), repeat=2)}
    policy = Policy.over((3, 3), seed=0)
    policy.temperature = lambda: temperature
    settings = Replay(steps=5, learning_rate=0.01, temperature=0.7, patience=10_000)
    explore(reinforce_replayed(policy, settings), value.__getitem__, 100, patience=3_000)
    spread = np.std(list(value.values()))
    torch.testing.assert_close(policy.probabilities(), (effects / (0.7 * spread)).softmax(dim=1), atol=0.01, rtol=0)


def test_replay_starts_again_when_it_meets_nothing_new() -> None:
    table = dict(zip(PATHS, rewards_of(PATHS), strict=True))
    found = explore(reinforce_replayed(Policy.over(COUNTS, seed=0)), table.__getitem__, len(PATHS))
    assert set(found) == set(PATHS)  # it would end at the best of a few without


def test_a_resumed_policy_gradient_goes_on_identically() -> None:
    table = dict(zip(PATHS, rewards_of(PATHS), strict=True))

    def run(update: PolicyGradient, steps: int) -> None:
        for _ in range(steps):
            update.step_with(table.__getitem__)

    whole = PolicyGradient(undecided_policy(8), learning_rate=0.05)
    run(whole, 6)
    first = PolicyGradient(undecided_policy(8), learning_rate=0.05)
    run(first, 3)
    policy = Policy.over(COUNTS)
    policy.alpha.copy_(first.policy.alpha)
    policy.generator.set_state(first.policy.generator.get_state())
    second = PolicyGradient(policy, learning_rate=0.05)
    second.load_state_dict(first.state_dict())
    run(second, 3)
    assert torch.equal(second.policy.alpha, whole.policy.alpha)
    assert second.baseline == whole.baseline


# -- on a supernet --


def test_the_policy_of_a_supernet_follows_its_temperature(tiny_net: nn.Module) -> None:
    supernet = Supernet(tiny_net.double()).double()
    with torch.no_grad():
        supernet.alpha.copy_(torch.tensor([[0.3, -0.4, 0.8], [0.2, -0.1, 9.0]]))
    policy = ReinforceUpdate(supernet, AccuracyReward()).policy
    for temperature in (1.0, 0.5, 2.0):
        supernet.temperature = temperature
        powers = (supernet.alpha.detach() / temperature).exp() * supernet.mask
        torch.testing.assert_close(policy.probabilities(), powers / powers.sum(dim=1, keepdim=True))


def test_a_step_moves_alpha_and_leaves_weights_and_buffers(
    tiny_net: nn.Module, tiny_batch: tuple[Tensor, Tensor]
) -> None:
    supernet = Supernet(tiny_net).train()
    update = ReinforceUpdate(supernet, AccuracyReward(), learning_rate=0.1, score=lambda o, t: float(o.sum()))
    alpha = supernet.alpha.detach().clone()
    state = {name: value.clone() for name, value in tiny_net.state_dict().items()}
    modes = [module.training for module in supernet.modules()]
    update.step(tiny_batch, nn.functional.cross_entropy)
    assert not torch.equal(supernet.alpha, alpha)
    assert all(torch.equal(value, state[name]) for name, value in tiny_net.state_dict().items())
    assert modes == [module.training for module in supernet.modules()]
    assert all(parameter.grad is None for parameter in supernet.parameters())


def test_a_step_returns_loss_and_outputs_of_the_network_it_leaves_active(
    tiny_net: nn.Module, tiny_batch: tuple[Tensor, Tensor]
) -> None:
    supernet = Supernet(tiny_net)
    result = ReinforceUpdate(supernet, AccuracyReward(), samples=3).step(tiny_batch, nn.functional.cross_entropy)
    with batch_statistics(tiny_net), torch.no_grad():
        outputs = supernet(tiny_batch[0])
    torch.testing.assert_close(result.outputs, outputs)
    assert result.task_loss == pytest.approx(float(nn.functional.cross_entropy(outputs, tiny_batch[1])))


def test_a_step_rewards_each_sampled_network_by_its_own_accuracy_and_cost(
    tiny_net: nn.Module, tiny_batch: tuple[Tensor, Tensor]
) -> None:
    inputs, targets = tiny_batch
    supernet = Supernet(tiny_net, seed=3)
    update = ReinforceUpdate(supernet, LatencyReward(TINY_COST, target=3.0), samples=6)
    generator = supernet.generator.clone_state()
    paths = Policy(supernet.alpha.detach().clone(), supernet.mask, generator).sample(6)
    update.step(tiny_batch, nn.functional.cross_entropy)
    expected = []
    for path in paths:
        supernet.path = path
        with batch_statistics(tiny_net), torch.no_grad():
            accuracy = float((supernet(inputs).argmax(dim=1) == targets).double().mean())
        expected.append(accuracy * (3.0 / TINY_COST.of_path(path)) ** 0.1)
    assert len(set(paths)) > 2
    assert update.baseline == pytest.approx(float(np.mean(expected)))
    assert update.measures() == {"baseline": update.baseline}


def test_padding_of_shorter_choices_never_moves(tiny_net: nn.Module, tiny_batch: tuple[Tensor, Tensor]) -> None:
    supernet = Supernet(tiny_net)
    padding = supernet.alpha.detach()[~supernet.mask].clone()
    update = ReinforceUpdate(supernet, BudgetReward(TINY_COST, 4.0), learning_rate=0.1, limited=True)
    for _ in range(3):
        update.step(tiny_batch, nn.functional.cross_entropy)
    assert torch.equal(supernet.alpha.detach()[~supernet.mask], padding)


def test_a_limited_update_runs_only_networks_within_the_budget(
    tiny_net: nn.Module, tiny_batch: tuple[Tensor, Tensor]
) -> None:
    supernet = Supernet(tiny_net)
    update = ReinforceUpdate(supernet, LatencyReward(TINY_COST, 3.5), limited=True, learning_rate=0.1)
    seen = []
    hook = tiny_net.register_forward_pre_hook(lambda *_: seen.append(TINY_COST.of_path(supernet.path)))
    for _ in range(5):
        update.step(tiny_batch, nn.functional.cross_entropy)
    hook.remove()
    assert len(seen) == 50
    assert max(seen) <= 3.5


def test_it_derives_the_most_probable_network_that_keeps_the_budget(tiny_net: nn.Module) -> None:
    supernet = Supernet(tiny_net)
    with torch.no_grad():
        supernet.alpha.copy_(torch.tensor([[1.0, 5.0, 0.0], [5.0, 1.0, 0.0]]))
    assert dict(ReinforceUpdate(supernet, AccuracyReward()).architecture().choices) == {"first": "k3", "second": "wide"}
    derived = ReinforceUpdate(supernet, BudgetReward(TINY_COST, 5.0)).architecture()
    assert dict(derived.choices) == {"first": "k3", "second": "narrow"}


def test_a_cost_of_other_choices_is_refused(tiny_net: nn.Module) -> None:
    with pytest.raises(ProxylessError, match="no choice first"):
        ReinforceUpdate(Supernet(tiny_net), LatencyReward(COST, 3.0))


def test_a_limited_update_needs_a_budget(tiny_net: nn.Module) -> None:
    with pytest.raises(ValueError, match="budget"):
        ReinforceUpdate(Supernet(tiny_net), AccuracyReward(), limited=True)
