"""Architecture steps of modules and batches of many kinds, against gates written out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from proxyless import Choice, ProxylessError, Supernet, Zero
from proxyless.search.gradient import AllPathUpdate, SampledCandidates, TwoPathUpdate
from proxyless.search.objective import TaskOnly
from proxyless.search.reinforce import ReinforceUpdate
from proxyless.search.reward import AccuracyReward

criterion = nn.functional.cross_entropy
gradient_rules = pytest.mark.parametrize("rule", [TwoPathUpdate, AllPathUpdate])


class Frozen:
    """An optimizer that only keeps the gradient it was given."""

    def __init__(self, alpha: Tensor) -> None:
        self.alpha = alpha

    def step(self) -> None:
        self.gradient = self.alpha.grad.clone()


def found_gradient(rule, supernet: Supernet, batch, path: list[int], **settings) -> Tensor:
    """The gradient of alpha of one step, of two candidates a choice, at ``path``."""
    update = rule(supernet, TaskOnly(), optimizer=Frozen(supernet.alpha))
    support = torch.arange(2).expand(len(path), 2)
    valid = torch.ones_like(support, dtype=torch.bool)
    update.sample_candidates = lambda: SampledCandidates(support, valid, torch.tensor(path))
    update.step(batch, criterion, **settings)
    return update.optimizer.gradient


class Summed:
    """sum_i g_i o_i(x), everything kept; the value of the active candidate as it is."""

    def __init__(self, gates: Tensor, active: int) -> None:
        self.gates, self.active = gates, active

    def mix(self, choice, inputs, **keywords):
        outputs = [choice.candidate(i)(*inputs, **keywords) for i in range(2)]
        kept = outputs[self.active]
        total = sum(gate * output.detach().double() for gate, output in zip(self.gates, outputs, strict=True))
        return kept + (total - total.detach()).to(
            kept.dtype
        )  # the inactive candidates have no gradient but their gates'


def expected_gradient(supernet: Supernet, batch, path: list[int], forward=None) -> Tensor:
    """Eq. 4 of gate gradients by autograd through the sum of both candidates' outputs."""
    gates = torch.zeros(len(path), 2, dtype=torch.float64)
    for row, index in enumerate(path):
        gates[row, index] = 1.0
    gates.requires_grad_()
    supernet.path = path
    supernet.eval()
    for row, choice in enumerate(supernet.choices.values()):
        choice.gating = Summed(gates[row], path[row])
    outputs, targets = forward(supernet, batch) if forward else (supernet(batch[0]), batch[1])
    (g,) = torch.autograd.grad(criterion(outputs, targets), gates)
    for choice in supernet.choices.values():
        choice.gating = None
    p = supernet.alpha.detach().double().softmax(dim=1)
    return p * (g - (g * p).sum(dim=1, keepdim=True))


class Scaled(nn.Module):
    """Takes a number, a keyword and a second tensor beside its input."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.linear, self.factor = nn.Linear(4, 4), factor

    def forward(self, x, times, other=None, *, mode="plus"):
        y = self.linear(x) * times * self.factor
        return y + other if mode == "plus" else y - other


class Arguments(nn.Module):
    """A choice with positional and keyword arguments, run twice, and one whose first argument is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.one = Choice(a=Scaled(1.0), b=Scaled(-2.0), shortcut=True)
        self.two = Choice(a=Ordered(), zero=Zero(), shortcut=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        y = self.one(x, 2, other=torch.tanh(x), mode="plus")
        y = self.one(y, 3.0, y.sin(), mode="minus")
        return self.head(self.two("add", y))


class Ordered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, how, x):
        assert how == "add"
        return self.linear(x)


class Autocast(nn.Module):
    """Works in bfloat16 whatever is around it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 4))

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.layers(x)


class Around(nn.Module):
    """Autocast around the choices, ended before the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), mixed(), mixed())
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            y = self.layers(x)
        return self.head(y.float())


class Inside(nn.Module):
    """Candidates of two types of output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(4, 4), nn.Linear(4, 3)
        self.block = Choice(a=Autocast(), b=nn.Linear(4, 4))

    def forward(self, x):
        return self.head(self.block(self.stem(x)).float())


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.one, self.two = mixed(), mixed(shortcut=True)
        self.head = nn.Linear(4, 3)
        self.reentrant = False

    def forward(self, x):
        x = self.stem(x)
        return self.head(checkpoint(self.block, x, use_reentrant=self.reentrant))

    def block(self, x):
        return torch.tanh(self.two(torch.tanh(self.one(x))))


class InPlace(nn.Module):
    """Candidates that return their input, activations in place after them, and a shortcut around all."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.one = Choice(same=nn.Identity(), a=nn.Linear(4, 4))
        self.two = Choice(zero=Zero(), a=nn.Linear(4, 4), shortcut=True)
        self.view = Choice(view=nn.Flatten(), a=nn.Linear(4, 4))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        y = self.one(x).relu_()
        z = self.two(x).tanh_()
        return self.head(x + y + z + self.view(x).mul_(2))


def mixed(**settings) -> Choice:
    return Choice(a=nn.Linear(4, 4), b=nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4)), **settings)


def some_of(network: nn.Module, dtype=torch.float32) -> tuple[Supernet, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    supernet = Supernet(network, seed=1, init_std=0.5).to(dtype)
    return supernet, (
        torch.randn(16, 4, generator=generator).to(dtype),
        torch.randint(0, 3, (16,), generator=generator),
    )


EXACT, HALF = 1e-5, 2e-2
NETWORKS = {
    "arguments": (Arguments, torch.float32, EXACT),
    "double": (Arguments, torch.float64, 1e-12),
    "bfloat16": (Checkpointed, torch.bfloat16, HALF),
    "in place": (InPlace, torch.float32, EXACT),
    "checkpointed": (Checkpointed, torch.float32, EXACT),
    "autocast around": (Around, torch.float32, HALF),
    "autocast inside": (Inside, torch.float32, HALF),
    "autocast in both": (
        lambda: nn.Sequential(Choice(a=Autocast(), b=Autocast(), shortcut=True), nn.Linear(4, 3)),
        torch.float32,
        EXACT,
    ),
}


@gradient_rules
@pytest.mark.parametrize("which", NETWORKS)
def test_both_gradient_rules_give_eq_4_of_gates_written_out(rule, which):
    make, dtype, tolerance = NETWORKS[which]
    torch.manual_seed(0)
    supernet, batch = some_of(make(), dtype)
    for path in ([0] * len(supernet.choices), [1] * len(supernet.choices)):
        expected = expected_gradient(supernet, batch, path)
        found = found_gradient(rule, supernet, batch, path).double()
        assert found.abs().max() > 0
        assert torch.allclose(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


def step(rule, supernet: Supernet, batch, **settings):
    if rule is ReinforceUpdate:
        return rule(supernet, AccuracyReward(), learning_rate=0.05).step(batch, criterion, **settings)
    return rule(supernet, TaskOnly(), learning_rate=0.05).step(batch, criterion, **settings)


def many_steps(rule, supernet: Supernet, batch) -> None:
    """So many that every candidate is active in one of them."""
    for _ in range(20):
        step(rule, supernet, batch)


rules = pytest.mark.parametrize("rule", [TwoPathUpdate, AllPathUpdate, ReinforceUpdate])


@rules
def test_autocast_in_a_candidate_leads_all_updates_to_the_same_choice(rule):
    torch.manual_seed(0)

    class Seeing(nn.Module):
        def forward(self, x):
            with torch.autocast("cpu", torch.bfloat16):
                return x @ torch.eye(4) * 8

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Choice(blind=Zero(), seeing=Seeing())

        def forward(self, x):
            return self.block(x).float()

    supernet = Supernet(Net())
    x = torch.randn(64, 4)
    update = rule(supernet, AccuracyReward() if rule is ReinforceUpdate else TaskOnly(), learning_rate=0.05)
    for _ in range(60):
        update.step((x, x.argmax(dim=1)), criterion)
    assert supernet.probabilities()[0, 1] > 0.8
    assert supernet.alpha.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_architecture_parameters_stay_precise_in_a_network_of_half_precision(dtype):
    supernet = Supernet(Checkpointed(), init_std=1.0)
    before = supernet.alpha.detach().clone()
    supernet.to(dtype)
    assert torch.equal(supernet.alpha, before)
    assert next(supernet.weights()).dtype == dtype
    assert supernet.double().alpha.dtype == torch.float64


BAD = {
    "changes its input in place": nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 4)),
    "returns a tuple: wrap it": nn.LSTM(4, 4),
    "returns a dict: wrap it": type("Named", (nn.Module,), {"forward": lambda self, x: {"out": x}})(),
    "returns a NoneType: wrap it": type("Nothing", (nn.Module,), {"forward": lambda self, x: None})(),
}


@pytest.mark.parametrize("message", BAD)
@pytest.mark.parametrize("where", ["forward", "shapes", *[TwoPathUpdate, AllPathUpdate, ReinforceUpdate]])
def test_a_candidate_that_breaks_the_contract_is_refused_with_the_same_words_everywhere(message, where):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), Choice(bad=BAD[message], b=nn.Linear(4, 4)), nn.Linear(4, 3))
    supernet, batch = some_of(network)

    def use() -> None:
        if where == "forward":
            supernet.path = [0]
            supernet(batch[0])
        elif where == "shapes":
            supernet.input_shapes(batch[0])
        else:
            many_steps(where, supernet, batch)

    with pytest.raises(ProxylessError, match=f"candidate bad of choice 1 {message}") as error:
        use()
    assert "\n" not in str(error.value)
    assert all(choice.gating is None for choice in supernet.choices.values())


@gradient_rules
def test_outputs_of_different_shapes_are_refused_and_not_broadcast(rule):
    supernet, batch = some_of(nn.Sequential(Choice(a=nn.Linear(4, 3), thin=nn.Linear(4, 1)), nn.Softmax(dim=1)))
    with pytest.raises(ProxylessError, match=r"candidates of choice 0 return different shapes: .*\(16, [13]\)"):
        many_steps(rule, supernet, (batch[0], torch.zeros_like(batch[1])))


class Dictionary(nn.Module):
    """Takes a dict, returns one."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Choice(a=Scaled(1.0), b=Scaled(-1.0))
        self.head = nn.Linear(4, 3)

    def forward(self, *, image, scale):
        return {"scores": self.head(self.block(image, scale, other=image))}


@rules
def test_a_batch_of_any_form_is_taken_with_a_forward_of_ones_own(rule):
    supernet, (x, y) = some_of(Dictionary())
    batch = {"image": x, "label": y, "scale": 2}

    def forward(network, given):
        return network(image=given["image"], scale=given["scale"])["scores"], given["label"]

    if rule is not ReinforceUpdate:
        expected = expected_gradient(supernet, batch, [1], forward)
        found = found_gradient(rule, supernet, batch, [1], forward=forward).double()
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert step(rule, supernet, batch, forward=forward).outputs.shape == (16, 3)


@rules
@pytest.mark.parametrize("batch", [{"image": 1}, (1, 2, 3), torch.zeros(2, 4), None])
def test_a_batch_of_another_form_is_one_line_that_tells_of_forward(rule, batch):
    supernet, _ = some_of(Checkpointed())
    with pytest.raises(
        ProxylessError, match=r"a batch must be \(inputs, targets\), got a .*: for others give a forward"
    ):
        step(rule, supernet, batch)


@rules
def test_an_empty_batch_does_not_spoil_alpha(rule):
    supernet, (x, y) = some_of(Checkpointed())
    before = supernet.alpha.detach().clone()
    with pytest.raises(ProxylessError, match="no batch is empty"):
        step(rule, supernet, (x[:0], y[:0]))
    assert torch.equal(supernet.alpha, before)


@gradient_rules
def test_a_checkpoint_that_allows_no_architecture_gradient_is_one_line(rule):
    for choose in (lambda net: net, lambda net: nn.Sequential(net, Choice(a=nn.Linear(3, 3), b=nn.Linear(3, 3)))):
        network = Checkpointed()
        network.reentrant = True
        supernet, batch = some_of(choose(network))
        with pytest.raises(ProxylessError, match="use_reentrant=False"):
            step(rule, supernet, batch)
    fixed = Checkpointed()
    fixed.reentrant = True
    fixed.one, fixed.two = nn.Linear(4, 4), nn.Linear(4, 4)  # no choice in the checkpoint, but one before it
    supernet, batch = some_of(nn.Sequential(mixed(), fixed))
    with pytest.raises(ProxylessError, match="use_reentrant=False"):
        step(rule, supernet, batch)


@gradient_rules
def test_a_run_without_gradient_beside_one_with_is_no_mistake_and_alone_is_one(rule):
    class Stopped(nn.Module):
        def __init__(self, both):
            super().__init__()
            self.block, self.head, self.both = mixed(), nn.Linear(4, 3), both

        def forward(self, x):
            with torch.no_grad():
                y = self.block(x)
            return self.head(y + self.block(x) if self.both else y)

    step(rule, *some_of(Stopped(True)))
    with pytest.raises(ProxylessError, match="choice block runs without a gradient"):
        step(rule, *some_of(Stopped(False)))


@rules
def test_lazy_modules_are_made_ready_by_a_step_except_norms_which_are_named(rule):
    lazy = nn.Sequential(nn.LazyLinear(4), Choice(a=nn.LazyLinear(4), b=nn.LazyLinear(4)), nn.LazyLinear(3))
    supernet, batch = some_of(lazy)
    optimizer = torch.optim.SGD(supernet.weights(), 0.1, momentum=0.9)  # made before there are weights
    step(rule, supernet, batch)
    supernet.sample()
    criterion(supernet(batch[0]), batch[1]).backward()
    before = lazy[0].weight.clone()
    optimizer.step()
    assert not torch.equal(lazy[0].weight, before)

    norm = nn.Sequential(Choice(a=nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d()), b=nn.LazyLinear(3)))
    supernet, batch = some_of(norm)
    with pytest.raises(ProxylessError, match="lazy batch norm that has not been run"):
        step(rule, supernet, batch)
    supernet.input_shapes(batch[0])
    step(rule, supernet, batch)
