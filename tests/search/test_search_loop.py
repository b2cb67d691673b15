import copy
import dataclasses
from itertools import count, pairwise

import pytest
import torch

from proxyless import ProxylessError, Supernet
from proxyless.cost import CostTable
from proxyless.job import objects
from proxyless.job.resolved import with_lengths
from proxyless.job.settings import Settings
from proxyless.search.gradient import TwoPathUpdate
from proxyless.search.loop import Schedule, SearchLoop
from proxyless.search.objective import BudgetLoss
from proxyless.search.reinforce import ReinforceUpdate
from proxyless.search.reward import LatencyReward
from proxyless.tasks import Classification

COST = CostTable("ms", 0.5, {"first": {"k1": 1.0, "k3": 2.0, "skip": 0.0}, "second": {"wide": 3.0, "narrow": 1.5}})


class Noise:
    def __init__(self, steps: int = 6) -> None:
        self.length = steps

    def _batch(self, seed):
        generator = torch.Generator().manual_seed(seed)
        targets = torch.randint(0, 3, (8,), generator=generator)
        return torch.randn(8, 2, 6, 6, generator=generator) + targets[:, None, None, None], targets

    def train(self, epoch):
        return (self._batch(1000 * epoch + i) for i in range(self.length))

    def held_out(self, start):
        return (self._batch(10**6 + i) for i in count(start))

    def valid(self):
        return [self._batch(10**7 + i) for i in range(2)]

    def steps(self):
        return self.length


ANNEALED = Schedule(
    warmup_epochs=2,
    epochs=3,
    learning_rate=0.05,
    architecture_every=2,
    report_every=3,
    temperature=4.0,
    final_temperature=0.5,
)
PLAIN = dataclasses.replace(ANNEALED, temperature=1.0, final_temperature=None)


def two_path(supernet):
    return TwoPathUpdate(supernet, BudgetLoss(COST, 3.0, gain=0.1), learning_rate=0.05)


def reinforce(supernet):
    return ReinforceUpdate(supernet, LatencyReward(COST, 3.0), learning_rate=0.05)


TASK = Classification(label_smoothing=0.1)


def loop_over(network, schedule=PLAIN, rule=two_path, task=TASK, **arguments):
    supernet = Supernet(copy.deepcopy(network), seed=2)
    update = rule(supernet)
    expected = lambda p: float(COST.expected(p))  # noqa: E731
    return SearchLoop(supernet, update, Noise(), schedule, task, expected_cost=expected, **arguments)


def test_the_warm_up_leaves_alpha_alone_and_the_search_moves_it(tiny_net):
    alphas = []
    loop = loop_over(tiny_net, checkpoint=lambda state: alphas.append(state["supernet"]["alpha"].clone()))
    start = loop.supernet.alpha.detach().clone()
    loop.run()
    assert len(alphas) == 5
    assert torch.equal(alphas[0], start)
    assert torch.equal(alphas[1], start)
    assert not torch.equal(alphas[2], start)
    assert loop.architecture_step == 3 * 3 == loop.schedule.architecture_steps(6) == 9


def test_reports_hold_what_a_person_follows(tiny_net):
    reports, progress = [], []
    loop_over(tiny_net, report=reports.append, advance=lambda *a: progress.append(a[:2])).run()
    assert [r["stage"] for r in reports] == ["warmup"] * 4 + ["search"] * 6
    assert reports[-1]["epoch"] == 5.0
    assert {"loss", "accuracy", "entropy", "expected_latency_ms", "valid_accuracy", "probabilities"} <= set(reports[-1])
    assert [len(row) for row in reports[-1]["probabilities"]] == [3, 2]
    assert progress[-1] == (30, 30)
    by_hand = 0.5 + sum(
        p * c
        for row, costs in zip(reports[-1]["probabilities"], COST.rows.values(), strict=True)
        for p, c in zip(row, costs.values(), strict=True)
    )
    assert reports[-1]["expected_latency_ms"] == pytest.approx(by_hand, abs=1e-3)


@pytest.mark.parametrize("after", [1, 2, 3, 5])
@pytest.mark.parametrize(
    ("schedule", "rule"),
    [(PLAIN, two_path), (ANNEALED, two_path), (ANNEALED, reinforce)],
    ids=["plain", "annealed", "annealed-reinforce"],
)
def test_a_search_stopped_after_an_epoch_resumes_to_the_same_end(tiny_net, schedule, rule, after):
    states = []
    whole = loop_over(tiny_net, schedule, rule, checkpoint=lambda state: states.append(copy.deepcopy(state)))
    whole.run()
    torch.manual_seed(99)  # another process begins with other random numbers
    resumed = loop_over(tiny_net, schedule, rule)
    resumed.load_state_dict(states[after - 1])
    resumed.run()
    assert torch.equal(whole.supernet.alpha, resumed.supernet.alpha)
    for name, value in whole.supernet.state_dict().items():
        assert torch.equal(value, resumed.supernet.state_dict()[name]), name
    assert torch.equal(whole.supernet.probabilities(), resumed.supernet.probabilities())
    assert whole.supernet.temperature == resumed.supernet.temperature


def test_the_temperature_goes_from_start_to_end_by_one_factor_a_step(tiny_net):
    reports, seen = [], []
    loop = loop_over(tiny_net, ANNEALED, report=reports.append)
    loop.supernet.network.register_forward_pre_hook(
        lambda network, _: seen.append(loop.supernet.temperature) if network.training else None
    )
    loop.run()
    assert seen[:12] == [4.0] * 12  # the warm-up samples uniformly
    assert len(seen) == 12 + 18
    assert seen[12] == 4.0
    assert seen[-1] == pytest.approx(0.5, rel=1e-12)
    assert [b / a for a, b in pairwise(seen[12:])] == pytest.approx([(1 / 8) ** (1 / 17)] * 17)
    assert [report["temperature"] for report in reports] == seen[2::3]
    p = (loop.supernet.alpha.detach()[0] / 0.5).softmax(0).tolist()
    assert reports[-1]["probabilities"][0] == pytest.approx(p, abs=1e-5)
    assert reports[-1]["entropy"] == pytest.approx(loop.supernet.entropy().mean().item())


def test_the_temperature_stays_what_the_search_began_with_unless_an_end_is_given(tiny_net):
    for start in (1.0, 2.0):
        reports = []
        loop_over(tiny_net, dataclasses.replace(PLAIN, temperature=start), report=reports.append).run()
        assert {report["temperature"] for report in reports} == {start}


def test_the_settings_of_a_search_are_those_of_its_schedule():
    values = {"warmup_epochs": 2, "epochs": 3, "temperature": 4.0, "final_temperature": 0.5}
    settings = Settings().replace({f"search.{name}": value for name, value in values.items()})
    made = objects.schedule(with_lengths(settings, 1000))
    assert {name: getattr(made, name) for name in values} == values
    plain = objects.schedule(with_lengths(Settings().replace({"search.warmup_epochs": 2, "search.epochs": 3}), 1000))
    assert [plain.temperature_at(step, 10) for step in range(10)] == [1.0] * 10


def test_a_search_of_one_step_is_at_its_first_temperature():
    assert ANNEALED.temperature_at(0, 1) == 4.0


def test_evaluation_uses_batch_statistics_and_restores_the_path(tiny_net):
    loop = loop_over(tiny_net)
    loop.supernet.path = [1, 1]
    state = copy.deepcopy(loop.supernet.state_dict())
    metrics = loop.evaluate([0, 0])
    assert loop.supernet.path == [1, 1]
    assert all(torch.equal(v, state[n]) for n, v in loop.supernet.state_dict().items())
    assert 0 <= metrics["valid_accuracy"] <= 1


def test_weights_of_classes_count_in_both_kinds_of_steps(tiny_net):
    weights = (0.2, 1.0, 5.0)
    seen = []

    def watched(supernet):
        update = two_path(supernet)
        step = update.step

        def spy(batch, criterion, forward):
            outputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
            logs = outputs.log_softmax(dim=1)
            each = -logs[torch.arange(8), batch[1]]
            counts = torch.tensor(task.class_weights or (1.0, 1.0, 1.0))[batch[1]]
            seen.append((criterion(outputs, batch[1]).item(), (each * counts).sum().item() / counts.sum().item()))
            return step(batch, criterion, forward)

        update.step = spy
        return update

    ends = []
    for class_weights in (None, (1.0, 1.0, 1.0), weights):
        task = dataclasses.replace(TASK, class_weights=class_weights)
        loop = loop_over(tiny_net, dataclasses.replace(PLAIN, warmup_epochs=1, epochs=1), watched, task)
        loop.run()
        ends.append(loop.supernet.state_dict())
    assert len(seen) == 9
    for found, expected in seen:
        assert found == pytest.approx(expected, rel=1e-5)
    plain, even, weighted = ends
    assert all(torch.equal(plain[name], even[name]) for name in plain)
    assert not torch.equal(plain["alpha"], weighted["alpha"])


class Named(Noise):
    """The same batches as dicts."""

    def _batch(self, seed):
        image, label = super()._batch(seed)
        return {"image": image, "label": label}


@pytest.mark.parametrize("rule", [two_path, reinforce])
def test_batches_of_any_form_are_searched_alike_with_a_forward_of_ones_own(tiny_net, rule):
    loop = loop_over(tiny_net, dataclasses.replace(PLAIN, warmup_epochs=1, epochs=1), rule)
    named = loop_over(tiny_net, loop.schedule, rule, forward=lambda net, batch: (net(batch["image"]), batch["label"]))
    named.data = Named()
    loop.run()
    named.run()
    assert torch.equal(named.supernet.alpha, loop.supernet.alpha)
    assert named.evaluate([0, 0]) == loop.evaluate([0, 0])


def test_a_batch_of_another_form_without_one_is_a_clear_line(tiny_net):
    loop = loop_over(tiny_net)
    loop.data = Named()
    with pytest.raises(ProxylessError, match=r"a batch must be \(inputs, targets\), got a dict"):
        loop.run()


def test_an_evaluation_that_fails_leaves_the_path_and_the_modes(tiny_net):
    loop = loop_over(tiny_net)
    loop.supernet.path = [1, 1]
    modes = [module.training for module in loop.supernet.modules()]
    loop.data = Named()
    with pytest.raises(ProxylessError):
        loop.evaluate([0, 0])
    assert loop.supernet.path == [1, 1]
    assert [module.training for module in loop.supernet.modules()] == modes
