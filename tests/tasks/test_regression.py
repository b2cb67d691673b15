"""Numbers for each image."""

import pytest
import torch
from sklearn import metrics

from proxyless import ProxylessError
from proxyless.tasks import Regression, from_dict

GENERATOR = torch.Generator().manual_seed(0)
TARGETS = torch.randn(40, 2, generator=GENERATOR) * torch.tensor([5.0, 0.1]) + torch.tensor([100.0, -1.0])
OUTPUTS = torch.randn(40, 2, generator=GENERATOR)
TASK = Regression(("age", "tilt")).fitted([TARGETS[:25], TARGETS[25:]])


def test_targets_are_standardised_by_those_of_training():
    assert TASK.mean == pytest.approx(TARGETS.double().mean(dim=0).tolist())
    assert TASK.std == pytest.approx(TARGETS.double().std(dim=0, correction=0).tolist())
    standard = (TARGETS - TARGETS.mean(dim=0)) / TARGETS.std(dim=0, correction=0)
    assert TASK.loss(standard, TARGETS).item() == pytest.approx(0, abs=1e-6)
    smooth = torch.nn.functional.smooth_l1_loss(OUTPUTS, standard).item()
    assert TASK.loss(OUTPUTS, TARGETS).item() == pytest.approx(smooth, rel=1e-4)
    assert Regression(mean=(0.0,), std=(1.0,)).fitted([TARGETS]).mean == (0.0,)


def test_figures_are_those_of_scikit_learn_in_the_units_of_the_targets():
    parts = [TASK.sums(OUTPUTS[part], TARGETS[part]) for part in (slice(0, 11), slice(11, 40))]
    sums = {name: sum(part[name] for part in parts) for name in parts[0]}
    found = OUTPUTS.double() * torch.tensor(TASK.std) + torch.tensor(TASK.mean)
    expected = {
        "rmse": metrics.root_mean_squared_error(TARGETS, found),
        "mae": metrics.mean_absolute_error(TARGETS, found),
        "r2": metrics.r2_score(TARGETS, found),
    }
    assert TASK.figures(sums) == pytest.approx(expected, rel=1e-5)
    (table,) = TASK.tables(sums)
    assert [row[0] for row in table.rows] == ["age", "tilt"]
    assert [row[3] for row in table.rows] == pytest.approx(
        metrics.r2_score(TARGETS, found, multioutput="raw_values").tolist(), rel=1e-5
    )


def test_an_error_is_better_when_it_is_smaller_and_the_reward_grows_with_it_from_0_to_1():
    metric = TASK.metric
    assert metric.name == "rmse"
    assert metric.better(1.0, 2.0)
    assert metric.worse_by(1.1, 1.0) == pytest.approx(0.1)
    standard = (TARGETS - torch.tensor(TASK.mean)) / torch.tensor(TASK.std)
    assert TASK.score(standard.float(), TARGETS) == pytest.approx(1.0)
    assert 0 < TASK.score((0.5 * standard).float(), TARGETS) < 1
    assert TASK.score((-standard).float(), TARGETS) == 0.0


def test_one_number_may_come_without_a_dimension_of_its_own():
    task = Regression().fitted([torch.tensor([1.0, 3.0])])
    assert task.figures(task.sums(torch.tensor([[1.0], [-1.0]]), torch.tensor([3.0, 1.0])))["rmse"] == 0.0
    assert task.loss(torch.tensor([[1.0], [-1.0]]), torch.tensor([3.0, 1.0])).item() == 0.0
    assert task.predict(torch.tensor([[1.0]])) == [[3.0]]
    assert Regression(("age",), (2.0,), (1.0,)).predict(torch.tensor([[1.0]])) == [{"age": 3.0}]


def test_numbers_that_never_change_are_refused():
    with pytest.raises(ProxylessError, match="tilt is 4 for every training image"):
        Regression(("age", "tilt")).fitted([torch.tensor([[1.0, 4.0], [2.0, 4.0]])])


def test_the_task_is_found_again_with_its_mean_and_deviation():
    assert from_dict(TASK.to_dict()).to_dict() == TASK.to_dict()
