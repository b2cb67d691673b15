"""Architecture gradients against independent computations: explicit sums, double loops, enumeration."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from proxyless import Choice, Supernet, Zero
from proxyless.cost import CostTable
from proxyless.modules.modes import batch_statistics
from proxyless.search.gradient import AllPathUpdate, SampledCandidates, TwoPathUpdate, alpha_gradient
from proxyless.search.objective import BudgetLoss, TaskOnly

criterion = nn.functional.cross_entropy
temperatures = pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
COST = CostTable("ms", 0.5, {"first": {"k1": 1.0, "k3": 2.0, "skip": 0.0}, "second": {"wide": 3.0, "narrow": 1.5}})


class Frozen:
    """An optimizer that only keeps the gradient it was given."""

    def __init__(self, alpha: Tensor) -> None:
        self.alpha, self.gradient = alpha, torch.zeros_like(alpha)

    def step(self) -> None:
        self.gradient = self.alpha.grad.clone()


@pytest.fixture
def supernet(tiny_net) -> Supernet:
    supernet = Supernet(tiny_net.double(), seed=5).double()
    with torch.no_grad():
        supernet.alpha.copy_(torch.tensor([[0.3, -0.4, 0.8], [0.2, -0.1, 0.0]], dtype=torch.float64))
    return supernet


@pytest.fixture
def batch(tiny_batch):
    return tiny_batch[0].double(), tiny_batch[1]


def explicit_gate_gradients(supernet: Supernet, batch, path: list[int]) -> Tensor:
    """dL/dg by autograd through m(x) = sum_i g_i o_i(x), all outputs kept, at the one-hot gates of ``path``."""
    gates = torch.zeros_like(supernet.alpha)
    for row, index in enumerate(path):
        gates[row, index] = 1.0
    gates = gates.detach().requires_grad_()

    def summed(row: int, choice: Choice, x: Tensor) -> Tensor:
        mixed = sum(gates[row, i] * choice.candidate(i)(x) for i in range(len(choice)))
        return x + mixed if choice.shortcut else mixed

    network = supernet.network
    with batch_statistics(network):
        x = torch.tanh(network.stem(batch[0]))
        x = summed(1, network.second, torch.tanh(summed(0, network.first, x)))
        loss = criterion(network.head(x.mean(dim=(2, 3))), batch[1])
        return torch.autograd.grad(loss, gates)[0]


def softmax(alpha: list[float], t: float) -> list[float]:
    powers = [math.exp(a / t) for a in alpha]
    return [power / sum(powers) for power in powers]


def eq4(gate_gradient: list[float], p: list[float], t: float) -> list[float]:
    """Eq. 4 as a double loop; dp_j / dalpha_i = p_j (delta_ij - p_i) / T."""
    n = len(p)
    return [sum(gate_gradient[j] * p[j] * ((i == j) - p[i]) / t for j in range(n)) for i in range(n)]


def fixed_look(update, sampled: SampledCandidates) -> None:
    update.sample_candidates = lambda: sampled


def all_candidates(supernet: Supernet, path: list[int]) -> SampledCandidates:
    return SampledCandidates(torch.arange(3).expand(2, 3), supernet.mask, torch.tensor(path))


@temperatures
@pytest.mark.parametrize("path", list(product(range(3), range(2))))
def test_all_path_alpha_gradient_is_eq_4_of_the_explicit_gate_gradients(supernet, batch, path, temperature):
    supernet.temperature = temperature
    update = AllPathUpdate(supernet, TaskOnly(), optimizer=Frozen(supernet.alpha))
    fixed_look(update, all_candidates(supernet, list(path)))
    gates = explicit_gate_gradients(supernet, batch, list(path))
    update.step(batch, criterion)
    for row, n in enumerate((3, 2)):
        p = softmax(supernet.alpha[row, :n].tolist(), temperature)
        expected = eq4(gates[row, :n].tolist(), p, temperature)
        assert update.optimizer.gradient[row, :n].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-13)
    assert update.optimizer.gradient[1, 2] == 0


@temperatures
@pytest.mark.parametrize("pair", [([0, 1], [0, 1]), ([2, 0], [1, 0]), ([1, 2], [0, 1])])
@pytest.mark.parametrize("active", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_two_path_alpha_gradient_is_eq_4_over_the_pair(supernet, batch, pair, active, temperature):
    """An active Zero included: the third candidate of the first choice (method's exact gradient)."""
    supernet.temperature = temperature
    update = TwoPathUpdate(supernet, TaskOnly(), optimizer=Frozen(supernet.alpha))
    support = torch.tensor(pair)
    fixed_look(update, SampledCandidates(support, torch.ones(2, 2, dtype=torch.bool), torch.tensor(active)))
    path = [pair[row][active[row]] for row in range(2)]
    gates = explicit_gate_gradients(supernet, batch, path)
    between = [softmax([supernet.alpha[row, i].item() for i in pair[row]], temperature) for row in range(2)]
    update.step(batch, criterion)
    for row in range(2):
        expected = eq4([gates[row, i].item() for i in pair[row]], between[row], temperature)
        found = update.optimizer.gradient[row, support[row]].tolist()
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-13)
        assert any(abs(v) > 1e-6 for v in expected)
        others = [i for i in range(3) if i not in pair[row]]
        assert update.optimizer.gradient[row, others].abs().sum() == 0


def test_the_gate_of_zero_has_gradient_zero(supernet, batch):
    assert (explicit_gate_gradients(supernet, batch, [2, 0])[0, 2] == 0).all()


def probabilities(supernet: Supernet, temperature: float) -> Tensor:
    powers = (supernet.alpha.detach() / temperature).exp() * supernet.mask
    return powers / powers.sum(dim=1, keepdim=True)


@temperatures
def test_unsampled_probabilities_stay_what_they_were(supernet, batch, temperature):
    """With momentum as well, which torch's optimizers would apply to them."""
    supernet.temperature = temperature
    optimizer = torch.optim.Adam([supernet.alpha], lr=0.05, betas=(0.9, 0.999))
    update = TwoPathUpdate(supernet, BudgetLoss(COST, 2.0), optimizer=optimizer)
    moved = 0
    for _ in range(20):
        before = probabilities(supernet, temperature)
        sampled = update.sample_candidates()
        fixed_look(update, sampled)
        update.step(batch, criterion)
        del update.sample_candidates
        after = probabilities(supernet, temperature)
        touched = torch.zeros_like(supernet.mask).scatter(1, sampled.support, True)
        assert (after - before)[~touched].abs().max() <= 1e-12
        change = (after - before).gather(1, sampled.support)
        assert change.sum(1).abs().max() <= 1e-12  # one is enhanced, the other attenuated
        moved += int((change.abs() > 1e-6).any())
    assert moved == 20


def exact_gradient(supernet: Supernet, batch, objective) -> Tensor:
    """Gradient of E_path[loss] + the cost term with respect to alpha, by enumerating all paths."""
    p = (supernet.alpha / supernet.temperature).masked_fill(~supernet.mask, -torch.inf).softmax(dim=1)
    expected = torch.zeros((), dtype=torch.float64)
    for path in product(range(3), range(2)):
        supernet.path = list(path)
        with batch_statistics(supernet.network), torch.no_grad():
            loss = criterion(supernet(batch[0]), batch[1])
        expected = expected + loss * p[0, path[0]] * p[1, path[1]]
    return torch.autograd.grad(objective.loss(expected, p), supernet.alpha)[0]


@temperatures
def test_two_paths_and_the_active_one_of_them_are_sampled_by_the_probabilities(supernet, temperature):
    """A pair by drawing without replacement, the active one by the softmax over the pair."""
    supernet.temperature = temperature
    update = TwoPathUpdate(supernet, TaskOnly())
    draws = 3000
    counts = torch.zeros(3, dtype=torch.float64)
    for _ in range(draws):
        sampled = update.sample_candidates()
        counts[sampled.support[0, sampled.active[0]]] += 1
    p = softmax(supernet.alpha[0].tolist(), temperature)
    pairs = {(a, b): p[a] * p[b] / (1 - p[a]) for a in range(3) for b in range(3) if a != b}
    expected = [sum(q * p[i] / (p[a] + p[b]) for (a, b), q in pairs.items() if i in (a, b)) for i in range(3)]
    assert sum(expected) == pytest.approx(1)
    for found, q in zip((counts / draws).tolist(), expected, strict=True):
        assert abs(found - q) <= 4 * math.sqrt(q * (1 - q) / draws)


@temperatures
def test_averaged_two_path_update_points_the_way_of_the_exact_gradient(supernet, batch, temperature):
    """On this network, whose gates act nearly linearly; plain SGD, so that steps average as gradients do."""
    supernet.temperature = temperature
    objective = BudgetLoss(COST, 4.0, weight=0.3)
    exact = exact_gradient(supernet, batch, objective)
    update = TwoPathUpdate(supernet, objective, optimizer=torch.optim.SGD([supernet.alpha], lr=1e-3))
    start = supernet.alpha.detach().clone()
    total = torch.zeros_like(start)
    for _ in range(500):
        update.step(batch, criterion)
        change = supernet.alpha.detach() - start
        total -= (change - change.sum(1, keepdim=True) / supernet.mask.sum(1, keepdim=True)) * supernet.mask
        supernet.alpha.data.copy_(start)
    cosine = nn.functional.cosine_similarity(total.flatten(), exact.flatten(), dim=0)
    assert cosine > 0.95


@temperatures
def test_the_cost_term_alone_is_the_gradient_of_the_expected_cost(supernet, batch, temperature):
    supernet.temperature = temperature
    objective = BudgetLoss(COST, 4.0, weight=0.7)
    update = AllPathUpdate(supernet, objective, optimizer=Frozen(supernet.alpha))
    update.step((batch[0], batch[1]), lambda outputs, targets: outputs.sum() * 0)
    expected = sum(
        p_first * p_second * (0.5 + first + second)
        for p_first, first in zip((supernet.alpha[0] / temperature).softmax(0), (1.0, 2.0, 0.0), strict=True)
        for p_second, second in zip((supernet.alpha[1, :2] / temperature).softmax(0), (3.0, 1.5), strict=True)
    )
    exact = torch.autograd.grad(0.7 * (expected - 4.0) / 4.0, supernet.alpha)[0]
    assert torch.allclose(update.optimizer.gradient, exact, atol=1e-12)


@pytest.mark.parametrize("rule", [TwoPathUpdate, AllPathUpdate])
def test_a_step_leaves_weights_statistics_and_gradients_alone(supernet, batch, rule):
    update = rule(supernet, BudgetLoss(COST, 4.0))
    supernet.train()
    state = {n: v.clone() for n, v in supernet.state_dict().items() if n != "alpha"}
    before = supernet.alpha.detach().clone()
    update.step(batch, criterion)
    assert not torch.equal(before, supernet.alpha)
    assert all(torch.equal(value, supernet.state_dict()[name]) for name, value in state.items())
    assert all(p.grad is None for p in supernet.parameters())
    assert all(choice.gating is None for choice in supernet.choices.values())


@pytest.mark.parametrize("rule", [TwoPathUpdate, AllPathUpdate])
def test_a_failing_criterion_leaves_no_gates_behind(supernet, batch, rule):
    def broken(outputs, targets):
        raise RuntimeError("no loss")

    with pytest.raises(RuntimeError, match="no loss"):
        rule(supernet, TaskOnly()).step(batch, broken)
    assert all(choice.gating is None for choice in supernet.choices.values())


@pytest.mark.parametrize("rule", [TwoPathUpdate, AllPathUpdate])
def test_a_choice_that_did_not_run_does_not_move(rule):
    torch.manual_seed(0)
    inner = Choice(a=nn.Linear(3, 3), b=nn.Linear(3, 3))
    network = nn.Sequential(Choice(plain=nn.Linear(3, 3), nested=nn.Sequential(inner)))
    supernet = Supernet(network, seed=1)
    update = rule(supernet, TaskOnly(), learning_rate=0.1)
    batch = torch.randn(16, 3), torch.randint(0, 3, (16,))
    seen = set()
    for _ in range(30):
        before = supernet.alpha.detach().clone()
        update.step(batch, criterion)
        nested = supernet.path[0] == 1
        assert (supernet.alpha[1] != before[1]).any() == nested
        seen.add(nested)
    assert seen == {True, False}


@pytest.mark.parametrize("rule", [TwoPathUpdate, AllPathUpdate])
def test_an_activation_in_place_may_follow_a_choice(rule):
    choice = Choice(a=nn.Linear(3, 3), b=nn.Linear(3, 3))
    supernet = Supernet(nn.Sequential(nn.Linear(3, 3), choice, nn.ReLU(inplace=True)))
    before = supernet.alpha.detach().clone()
    rule(supernet, TaskOnly()).step((torch.randn(8, 3), torch.randint(0, 3, (8,))), criterion)
    assert not torch.equal(before, supernet.alpha)


def test_the_search_finds_the_better_candidate(tiny_batch):
    """One candidate can tell the classes apart, the other cannot."""
    torch.manual_seed(0)
    seeing, blind = nn.Linear(2, 2), nn.Linear(2, 2)
    with torch.no_grad():
        seeing.weight.copy_(4 * torch.eye(2))
        blind.weight.zero_()
    supernet = Supernet(nn.Sequential(Choice(seeing=seeing, blind=blind, zero=Zero())))
    inputs = torch.randn(64, 2)
    batch = inputs, (inputs[:, 1] > inputs[:, 0]).long()
    update = TwoPathUpdate(supernet, TaskOnly(), learning_rate=0.05)
    for _ in range(300):
        update.step(batch, criterion)
    assert supernet.probabilities()[0, 0] > 0.9
    assert update.architecture().choices == {"0": "seeing"}


def test_eq_4_rows_sum_to_zero():
    p = torch.rand(4, 5).softmax(1)
    assert alpha_gradient(torch.randn(4, 5), p).sum(1).abs().max() < 1e-6


def test_state_survives_the_way_through_a_checkpoint(supernet, batch):
    def run(steps, state=None):
        if state:
            supernet.load_state_dict(state["supernet"])
            supernet.generator.set_state(state["generator"])
        update = TwoPathUpdate(supernet, BudgetLoss(COST, 2.0, gain=0.3), learning_rate=0.02)
        if state:
            update.load_state_dict(state["update"])
        for _ in range(steps):
            update.step(batch, criterion)
        return update

    def state_of(update):
        return {
            "supernet": {n: v.clone() for n, v in supernet.state_dict().items()},
            "generator": supernet.generator.get_state(),
            "update": update.state_dict(),
        }

    import copy

    start = copy.deepcopy(state_of(run(0)))
    middle = copy.deepcopy(state_of(run(5, start)))
    run(5, middle)
    resumed = supernet.alpha.detach().clone()
    run(10, start)
    assert torch.equal(resumed, supernet.alpha)


def test_the_authors_rule_leaves_a_choice_alone_whose_active_candidate_is_zero(supernet, batch):
    """Kept for the paper's recipes only; the exact rule moves it."""
    sampled = SampledCandidates(
        torch.tensor([[2, 0], [0, 1]]), torch.ones(2, 2, dtype=torch.bool), torch.tensor([0, 0])
    )
    moved = {}
    for skip in (True, False):
        start = supernet.alpha.detach().clone()
        update = TwoPathUpdate(supernet, BudgetLoss(COST, 2.0), skip_zero=skip)
        fixed_look(update, sampled)
        update.step(batch, criterion)
        moved[skip] = (supernet.alpha.detach() != start).any(dim=1).tolist()
        with torch.no_grad():
            supernet.alpha.copy_(start)
    assert moved == {True: [False, True], False: [True, True]}


class Inner(nn.Sequential):
    """Four channels in and out, 64 within: what it keeps for the backward pass is sixteen times its output."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(4, 64, 1), nn.Tanh(), nn.Conv2d(64, 4, 1))


def kept_bytes(rule, candidates: int) -> int:
    """Bytes of distinct tensors, parameters left out, that one architecture step keeps for its backward pass."""
    torch.manual_seed(0)
    choice = Choice(**{f"c{i}": Inner() for i in range(candidates)})
    supernet = Supernet(nn.Sequential(choice, nn.Flatten(), nn.Linear(4 * 8 * 8, 3)))
    weights = {parameter.data_ptr() for parameter in supernet.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    batch = torch.randn(16, 4, 8, 8), torch.randint(0, 3, (16,))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        rule(supernet, TaskOnly()).step(batch, criterion)
    return sum(kept.values())


class Kept(AllPathUpdate):
    """Every candidate with its graph, the form whose memory grows with their number."""

    class Sum:
        def __init__(self, gates: Tensor) -> None:
            self.gates = gates

        def mix(self, choice: Choice, inputs: tuple[Tensor, ...]) -> Tensor:
            return sum(self.gates[i] * choice.candidate(i)(*inputs) for i in range(len(choice)))

    def gating(self, row: int, sampled: SampledCandidates, gates: Tensor) -> Kept.Sum:
        return self.Sum(gates)


@pytest.mark.parametrize("rule", [TwoPathUpdate, AllPathUpdate])
def test_what_a_step_keeps_is_that_of_one_path_however_many_candidates_there_are(rule):
    two, eight = kept_bytes(rule, 2), kept_bytes(rule, 8)
    assert eight == pytest.approx(two, rel=0.02)
    assert kept_bytes(Kept, 8) > 5 * eight  # so that the count would show it


def test_an_all_path_step_runs_every_candidate_that_computes_something_once(supernet, batch):
    runs: dict[str, int] = {}
    for name, choice in supernet.choices.items():
        for index, operation in enumerate(choice.operations):
            if isinstance(choice.candidate(index), Zero):
                continue  # its gate has no gradient
            key = f"{name}.{operation}"
            runs[key] = 0
            choice.candidate(index).register_forward_hook(lambda *_, key=key: runs.update({key: runs[key] + 1}))
    AllPathUpdate(supernet, TaskOnly()).step(batch, criterion)
    assert set(runs.values()) == {1}
