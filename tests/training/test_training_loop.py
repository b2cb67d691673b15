import dataclasses
import math

import pytest
import torch
from torch import nn

from proxyless.tasks import Classification
from proxyless.training.loop import Recipe, TrainingLoop, evaluate


class Blobs:
    """Two overlapping clouds of points."""

    def __init__(self, batches: int = 8) -> None:
        self.batches = batches

    def _batch(self, seed: int):
        generator = torch.Generator().manual_seed(seed)
        targets = torch.randint(0, 2, (32,), generator=generator)
        return torch.randn(32, 4, generator=generator) + 1.5 * targets[:, None], targets

    def train(self, epoch):
        return (self._batch(1000 * epoch + i) for i in range(self.batches))

    def valid(self):
        return [self._batch(10**6 + i) for i in range(4)]

    def steps(self):
        return self.batches


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))


RECIPE = Recipe(epochs=4, learning_rate=0.1, warmup_epochs=0.5)
TASK = Classification(label_smoothing=0.1)


def test_it_learns_and_reports_every_epoch():
    reports = []
    trained = TrainingLoop(network(), Blobs(), RECIPE, TASK, report=reports.append).run()
    assert [r["epoch"] for r in reports] == [1, 2, 3, 4]
    assert reports[-1]["loss"] < reports[0]["loss"]
    figures = evaluate(trained, Blobs().valid(), TASK).figures("valid_")
    assert figures["valid_accuracy"] > 0.9
    assert figures.items() <= reports[-1].items()


def test_the_learning_rate_rises_then_follows_a_cosine_to_zero():
    assert RECIPE.rate(0.25) == pytest.approx(0.05)
    assert RECIPE.rate(0.5) == pytest.approx(0.1)
    assert RECIPE.rate(0.5 + 3.5 / 2) == pytest.approx(0.05)
    assert RECIPE.rate(4.0) == pytest.approx(0.0)


@pytest.mark.parametrize("ema", [True, False])
def test_a_training_stopped_after_an_epoch_resumes_to_the_same_weights(ema):
    recipe = Recipe(epochs=4, learning_rate=0.1, ema=ema)
    states = []

    def keep(state):
        import copy

        states.append(copy.deepcopy(state))

    whole = TrainingLoop(network(), Blobs(), recipe, TASK, checkpoint=keep).run()
    torch.manual_seed(99)  # another process begins with other random numbers
    loop = TrainingLoop(network(), Blobs(), recipe, TASK)
    loop.load_state_dict(states[1])
    resumed = loop.run()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_norms_and_biases_are_not_decayed():
    loop = TrainingLoop(network(), Blobs(), Recipe(epochs=1, learning_rate=0.1, weight_decay=0.5), TASK)
    decayed, others = loop.optimizer.param_groups
    assert {p.ndim for p in decayed["params"]} == {2}
    assert others["weight_decay"] == 0
    assert len(others["params"]) == 4


def test_the_average_is_the_exponential_mean_of_the_weights():
    net = nn.Linear(4, 2)
    loop = TrainingLoop(net, Blobs(batches=3), Recipe(epochs=1, learning_rate=0.1), TASK)
    start = net.weight.detach().clone()
    seen, original = [], loop._average

    def spy():
        seen.append(net.weight.detach().clone())
        original()

    loop._average = spy
    loop.run()
    mean = start
    for step, weight in enumerate(seen, 1):
        decay = min(1 - 1 / 10, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * weight
    assert torch.allclose(loop.average.weight, mean, atol=1e-6)


def test_confusion_counts_true_by_predicted_and_weighs_batches_by_their_size():
    class Fixed(nn.Module):
        def forward(self, x):
            return nn.functional.one_hot(x.long(), 3).float() * 4

    batches = [
        (torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 2, 1])),
        (torch.tensor([0]), torch.tensor([2])),
    ]
    totals = evaluate(Fixed(), batches, TASK)
    loss = totals.figures()["loss"]
    assert totals.sums["confusion"].tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 1]]
    right, wrong = (math.log(math.exp(4) + 2) - v for v in (4, 0))
    assert loss == pytest.approx((3 * right + 2 * wrong) / 5, rel=1e-5)
    assert totals.figures()["accuracy"] == 3 / 5  # not rounded to 32 bits


def test_nothing_to_evaluate_is_an_error():
    with pytest.raises(ValueError, match="no images"):
        evaluate(network(), [], TASK).figures()


def test_weights_of_classes_are_those_of_the_loss():
    weights = (0.5, 3.0)
    found, reports = [], []
    for chosen in (weights, (1.0, 1.0), None):
        task = dataclasses.replace(TASK, class_weights=chosen)
        loop = TrainingLoop(network(), Blobs(batches=1), Recipe(1, 0.1, warmup_epochs=0), task, report=reports.append)
        loop.run()
        found.append(loop.network.state_dict())
    torch.manual_seed(0)  # the loss of the first step by hand
    net = network().train()
    inputs, targets = Blobs()._batch(0)
    torch.manual_seed(0)
    logs = net(inputs).log_softmax(dim=1)
    smooth = torch.full((32, 2), 0.05).scatter(1, targets[:, None], 0.95)
    by_target = torch.tensor(weights)
    expected = -(smooth * logs * by_target).sum() / by_target[targets].sum()
    assert reports[0]["loss"] == pytest.approx(expected.item(), rel=1e-4)
    assert all(torch.equal(found[1][name], found[2][name]) for name in found[1])
    assert not all(torch.equal(found[0][name], found[2][name]) for name in found[0])


def test_every_part_keeps_its_mode_when_an_evaluation_ends_or_fails():
    net = network().train()
    net[1].eval()  # frozen
    evaluate(net, Blobs().valid(), TASK)
    assert [part.training for part in net] == [True, False, True, True, True]
    with pytest.raises(RuntimeError):
        evaluate(net, [(torch.zeros(2, 5), torch.zeros(2, dtype=torch.long))], TASK)
    assert [part.training for part in net] == [True, False, True, True, True]
