"""Tasks and metrics of one's own, by name and in the loops."""

import pytest
import torch
from torch import nn

from proxyless import ProxylessError
from proxyless.tasks import Classification, Metric, Task, Totals, from_dict, make, register_metric, register_task
from proxyless.training.loop import Recipe, TrainingLoop, evaluate


def distances(outputs, targets):
    return (outputs - targets["xy"]).norm(dim=1)


@register_task
class Distances(Task):
    """A point for each sample, given as a dict of its coordinates."""

    name = "distances"
    metrics = (Metric.mean("distance", distances, higher_is_better=False),)

    def inputs_and_targets(self, batch):
        return batch["points"], {"xy": batch["xy"]}

    def loss(self, outputs, targets):
        return nn.functional.smooth_l1_loss(outputs, targets["xy"])


class Points:
    def _batch(self, seed):
        points = torch.randn(16, 4, generator=torch.Generator().manual_seed(seed))
        return {"points": points, "xy": points[:, :2] - points[:, 2:]}

    def train(self, epoch):
        return (self._batch(100 * epoch + i) for i in range(8))

    def valid(self):
        return [self._batch(10**6)]

    def steps(self):
        return 8


def test_a_task_of_ones_own_is_trained_and_its_metric_is_in_the_history():
    reports = []
    task = make("distances")
    torch.manual_seed(0)
    trained = TrainingLoop(nn.Linear(4, 2), Points(), Recipe(20, 0.1), task, report=reports.append).run()
    expected = ["epoch", "loss", "distance", "valid_loss", "valid_distance", "learning_rate", "seconds"]
    assert list(reports[-1]) == expected
    assert reports[-1]["valid_distance"] < 0.3 * reports[0]["valid_distance"]
    assert evaluate(trained, Points().valid(), task).figures("valid_").items() <= reports[-1].items()
    assert 0 < task.score(torch.zeros(3, 2), {"xy": torch.ones(3, 2)}) < 1


def test_batches_of_another_form_are_trained_with_a_forward_of_ones_own():
    class Pair(Distances):
        def inputs_and_targets(self, batch):
            raise AssertionError("not asked")

    def own(network, batch):
        return network(batch["points"]), {"xy": batch["xy"]}

    loops = []
    for task, forward in ((Distances(), None), (Pair(), own)):
        torch.manual_seed(0)
        loops.append(TrainingLoop(nn.Linear(4, 2), Points(), Recipe(2, 0.1), task, forward=forward).run())
    assert torch.equal(loops[0].weight, loops[1].weight)


def test_a_metric_of_ones_own_is_asked_for_by_name():
    outputs, targets = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), torch.tensor([1, 2])
    top2 = Metric.mean(
        "top2", lambda outputs, targets: (outputs.topk(2).indices == targets[:, None]).any(dim=1), percent=True
    )
    register_metric(top2)
    task = Classification(metrics=["top2", "accuracy"])
    assert task.metric is top2
    assert task.metric.written(0.5) == "50.00%"
    assert task.figures(task.sums(outputs, targets)) == {"top2": 0.5, "accuracy": 0.0}
    assert task.score(outputs, targets) == 0.5
    assert from_dict(task.to_dict()).metric is top2


def test_metrics_that_are_not_registered_here_are_left_out_of_what_is_read():
    record = Classification().to_dict() | {"metrics": ["of another program", "accuracy"]}
    assert from_dict(record).to_dict()["metrics"] == ["accuracy"]


@pytest.mark.parametrize(
    ("record", "line"),
    [
        ({"name": "classificaton"}, "no task called 'classificaton'.*classification"),
        ({"name": "classification", "colour": 1}, "task classification: .*colour"),
        ({}, "no task called 'None'"),
    ],
)
def test_what_is_no_task_is_one_line(record, line):
    with pytest.raises(ProxylessError, match=line) as caught:
        from_dict(record)
    assert "\n" not in str(caught.value)


def test_another_task_of_the_same_name_is_refused():
    class Other(Task):
        name = "classification"
        metrics = ("accuracy",)

        def loss(self, outputs, targets):
            return outputs.sum()

    with pytest.raises(ProxylessError, match="a task called 'classification' already"):
        register_task(Other)


def test_totals_weigh_batches_by_their_size():
    totals = Totals(Classification())
    totals.add(torch.tensor([[1.0, 0.0]] * 3), torch.tensor([0, 0, 0]), torch.tensor(1.0))
    totals.add(torch.tensor([[1.0, 0.0]]), torch.tensor([1]), torch.tensor(5.0))
    assert totals.figures("valid_") == {"valid_loss": 2.0, "valid_accuracy": 0.75}
    assert totals.samples == 4


@pytest.mark.parametrize("kind", ["classification", "multi-label", "regression", "segmentation"])
@pytest.mark.parametrize("names", [10, "abc", [1, 2]])
def test_names_that_are_no_list_of_names_are_one_line(kind, names):
    with pytest.raises(ProxylessError, match="the names of a task must be a list"):
        make(kind, names)


@pytest.mark.parametrize("kind", ["classification", "multi-label", "segmentation", "regression"])
def test_another_number_of_names_than_outputs_is_one_line(kind):
    task, outputs = make(kind, ["a", "b", "c"]), torch.rand(4, 2)
    targets = torch.rand(4, 2).round() if kind in ("multi-label", "regression") else torch.arange(4) % 2
    with pytest.raises(ProxylessError, match="2 outputs for 3 names"):
        task.sums(outputs, targets)


def test_metrics_that_are_no_list_of_metrics_are_one_line():
    for metrics in ("accuracy", [max]):
        with pytest.raises(ProxylessError, match="metrics must be a list of Metrics or of their names"):
            _ = Classification(metrics=metrics).metric
