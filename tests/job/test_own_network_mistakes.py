"""Mistakes in a network, loaders and a task of one's own: one line, before anything is measured or trained."""

from __future__ import annotations

import own_job
import pytest
import torch
from torch import nn

import proxyless
from proxyless import Choice, Classification, ProxylessError, Regression, Task


def net(outputs: int = 2) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        Choice(k3=nn.Conv2d(4, 4, 3, padding=1), none=nn.Identity()),
        nn.Flatten(),
        nn.Linear(4 * 6 * 6, outputs),
    )


def batches(inputs: torch.Tensor | None = None, targets: torch.Tensor | None = None) -> list:
    return [(torch.rand(8, 1, 6, 6) if inputs is None else inputs, torch.arange(8) % 2 if targets is None else targets)]


class SaysFour:
    """A loader whose length is wrong."""

    def __len__(self) -> int:
        return 4

    def __iter__(self):
        return iter(())


class Nameless(Task):
    metrics = ("accuracy",)

    def loss(self, outputs, targets):
        return nn.functional.cross_entropy(outputs, targets, reduction="none")


class WithoutMetric(Nameless):
    name = "without-metric"
    metrics = ()


class LossOfEachSample(Nameless):
    name = "of-each"


class LossOfNumber(Nameless):
    name = "of-number"

    def loss(self, outputs, targets):
        return 3.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"network": "mobilenet"}, "network: must be a torch.nn.Module with Choices, got 'mobilenet'"),
        ({"network": nn.Linear}, "network: must be a torch.nn.Module with Choices, got <class"),
        ({"task": Regression}, r"task: must be a proxyless.Task, such as Classification\(\), or a name, got <class"),
        ({"task": 3}, "task: must be a proxyless.Task"),
        ({"task": Nameless()}, "task: the class Nameless needs a name and at least one metric"),
        ({"task": WithoutMetric()}, "task: the class WithoutMetric needs a name and at least one metric"),
        ({"task": LossOfEachSample()}, r"the loss must be a tensor without dimensions, got float32 \(8,\)"),
        ({"task": LossOfNumber()}, "the loss must be a tensor without dimensions, got a float"),
        ({"task": Classification(["a", "b", "c"])}, "train: the task classification .*: 2 outputs for 3 names"),
        ({"task": Classification(metrics=[max])}, "metrics must be a list of Metrics or of their names, got"),
        ({"settings": ["search.epochs"]}, "settings: must be a mapping such as"),
        ({"config": {"search.epochs": 1}}, "config: must be a path, got"),
        ({"train": torch.rand(8, 1, 6, 6)}, r"train: a batch must be \(inputs, targets\), got a Tensor"),
        ({"valid": "photos"}, r"valid: a batch must be \(inputs, targets\), got a str"),
        ({"test": SaysFour()}, "test: its length is 4, but it has no batch"),
        ({"train": batches(torch.rand(8, 2, 6, 6))}, r"network: cannot run on float32 \(8, 2, 6, 6\): .*2 channels"),
        ({"train": batches(torch.rand(8, 1, 6, 6).double())}, r"network: cannot run on float64 \(8, 1, 6, 6\)"),
        ({"valid": batches(torch.rand(8, 3, 6, 6))}, r"valid: the network cannot run on float32 \(8, 3, 6, 6\)"),
        (
            {"test": batches(targets=torch.arange(8))},
            r"test: the task classification cannot compare outputs, float32 \(8, 2\), and targets, int64 \(8,\): T",
        ),
        ({"train": batches(targets=torch.rand(8))}, r"train: the task classification .* targets, float32 \(8,\)"),
        ({"train": batches(targets=torch.eye(8)[:, :2])}, "train: the task classification cannot compare"),
        ({"task": "multi-label"}, "train: the task multi-label cannot compare"),
        (
            {"task": "regression"} | {name: batches(targets=torch.rand(8)) for name in ("train", "valid", "test")},
            r"train: the task regression cannot compare .*: 2 outputs for 1 targets of each sample",
        ),
    ],
)
def test_a_mistake_is_one_line_before_any_work(given, message, tmp_path):
    whole = {"network": net(), "train": batches(), "valid": batches(), "test": batches(), "latency": 1.0} | given
    with pytest.raises(ProxylessError, match=message) as caught:
        proxyless.search(**whole, device="cpu", quiet=True, out=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    place = tmp_path_factory.mktemp("own")
    device = own_job.table(place)
    return own_job.run(place / "run", device), device


def test_a_run_is_not_taken_up_with_another_task(finished):
    class Sorting(Classification):
        name = "sorting"

    run, device = finished
    with pytest.raises(ProxylessError, match="its task is 'classification' there and 'sorting' here"):
        own_job.run(run.path, device, task=Sorting())


def test_a_run_is_loaded_with_its_own_task_alone(finished):
    run, _ = finished
    x = torch.rand(3, 1, 6, 6)
    other = proxyless.load(run.path, network=own_job.Net(2), task=Regression())
    with pytest.raises(ProxylessError, match="has learnt the task classification, not regression"):
        other.predict(x)
    same = proxyless.load(run.path, network=own_job.Net(2), task="classification")
    assert same.predict(x) == run.predict(x)
    with pytest.raises(ProxylessError, match="network: must be a torch"):
        proxyless.load(run.path, network="mobilenet")


def test_inputs_that_the_network_cannot_take_are_one_line(finished):
    run, _ = finished
    for inputs in (torch.rand(3, 2, 6, 6), torch.rand(1, 1, 6, 6).double()):
        with pytest.raises(ProxylessError, match=r"the network cannot run on float\d\d \(\d, \d, 6, 6\)"):
            run.predict(inputs)


def test_a_run_is_shown_by_its_folder_alone(finished):
    run, _ = finished
    assert repr(run) == f"Run(path={run.path!r})"


def test_a_training_that_diverges_in_its_last_step_is_one_line(tmp_path):
    """Its loss is finite in each step, but not with the weights after the last one."""
    loaders = {"train": batches() * 2, "valid": batches(), "test": batches()}
    given = {"search_loss": "none", "search_epochs": 1, "training_epochs": 1, "training_learning_rate": 1e30}
    with pytest.raises(ProxylessError, match="the valid_loss is no longer finite: lower training"):
        proxyless.search(network=net(), **loaders, **given, device="cpu", quiet=True, out=tmp_path / "run")
