"""One class for each image, and any number of labels for each."""

import pytest
import torch
from torch import nn

from proxyless import ProxylessError
from proxyless.tasks import Classification, MultiLabel, from_dict

OUTPUTS = torch.tensor([[2.0, 1.0], [0.0, 1.0], [0.0, 3.0], [5.0, 1.0]])
TARGETS = torch.tensor([0, 1, 0, 0])


def test_accuracy_is_the_share_of_images_whose_highest_output_is_the_class():
    task = Classification()
    assert task.figures(task.sums(OUTPUTS, TARGETS)) == {"accuracy": 0.75}
    assert task.score(OUTPUTS, TARGETS) == 0.75


def test_with_weights_of_classes_an_image_counts_by_its_class_in_the_reward_and_as_one_in_the_metrics():
    outputs, targets = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [0.0, 5.0]]), torch.tensor([0, 1, 1, 0])
    task = Classification(class_weights=(0.5, 3.0))
    assert task.score(outputs, targets) == pytest.approx(3.5 / 7)
    assert task.figures(task.sums(outputs, targets)) == {"accuracy": 0.5}
    assert Classification(class_weights=(1.0, 1.0)).score(OUTPUTS, TARGETS) == 0.75


def test_each_kind_of_step_has_its_own_loss():
    weights = torch.tensor([0.5, 3.0])
    task = Classification(label_smoothing=0.1, class_weights=(0.5, 3.0))
    cross_entropy = nn.functional.cross_entropy
    assert torch.equal(task.loss(OUTPUTS, TARGETS), cross_entropy(OUTPUTS, TARGETS))
    assert torch.equal(task.architecture_loss(OUTPUTS, TARGETS), cross_entropy(OUTPUTS, TARGETS, weights))
    smooth = cross_entropy(OUTPUTS, TARGETS, weights, label_smoothing=0.1)
    assert torch.equal(task.training_loss(OUTPUTS, TARGETS), smooth)


def test_settings_fill_in_what_the_task_leaves_open():
    filled = Classification().with_settings(label_smoothing=0.1, class_weights=(1.0, 2.0))
    assert (filled.label_smoothing, filled.class_weights) == (0.1, (1.0, 2.0))
    own = Classification(label_smoothing=0.0, class_weights=(2.0, 1.0))
    assert own.with_settings(label_smoothing=0.1, class_weights=(1.0, 2.0)) == own


def test_sums_of_batches_make_the_figures_of_all_images():
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(50, 3, generator=generator), torch.randint(0, 3, (50,), generator=generator)
    task = Classification(metrics=["accuracy", "balanced_accuracy"])
    parts = [task.sums(outputs[part], targets[part]) for part in (slice(0, 7), slice(7, 30), slice(30, 50))]
    total = {name: sum(part[name] for part in parts) for name in parts[0]}
    assert task.figures(total) == task.figures(task.sums(outputs, targets))
    recalls = [float((outputs.argmax(1) == targets)[targets == c].double().mean()) for c in range(3)]
    assert task.figures(total)["balanced_accuracy"] == pytest.approx(sum(recalls) / 3)


def test_what_the_mean_hides_is_told_by_class():
    matrix = torch.tensor([[90, 10, 0, 0], [3, 1, 0, 0], [6, 0, 2, 0], [0, 0, 0, 0]])
    told = Classification(("a", "b", "c", "d")).details({"confusion": matrix})
    assert told["test_balanced_accuracy"] == pytest.approx((0.9 + 0.25 + 0.25) / 3)
    assert told["worst_class"] == {"name": "c", "recall": 0.25, "images": 8}
    assert told["classes_without_test_images"] == 1


def test_a_prediction_is_the_name_of_the_class_or_its_index():
    assert Classification(("cat", "dog")).predict(OUTPUTS) == ["cat", "dog", "dog", "cat"]
    assert Classification().predict(OUTPUTS) == [0, 1, 1, 0]


def test_labels_are_counted_one_by_one_and_images_whole():
    outputs = torch.tensor([[1.0, 1.0, -1.0], [1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]])
    targets = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    task = MultiLabel(("red", "round", "never"))
    sums = task.sums(outputs, targets)
    assert task.figures(sums) == {"f1": pytest.approx((1.0 + 0.0) / 2), "exact": pytest.approx(1 / 3)}
    (table,) = task.tables(sums)
    assert [list(row) for row in table.rows] == [
        ["red", 2, 1.0, 1.0, 1.0],
        ["round", 1, 0.0, 0.0, 0.0],
        ["never", 0, None, None, None],
    ]
    assert task.predict(outputs) == [["red", "round"], ["red"], []]
    assert task.loss(outputs, targets.bool()).item() == pytest.approx(
        nn.functional.binary_cross_entropy(outputs.sigmoid(), targets).item()
    )


@pytest.mark.parametrize(
    "task",
    [Classification(("a", "b"), metrics=("balanced_accuracy", "accuracy"), label_smoothing=0.2), MultiLabel(("a",))],
    ids=lambda task: task.name,
)
def test_a_task_is_found_again_by_its_description(task):
    again = from_dict(task.to_dict())
    assert again.to_dict() == task.to_dict()
    assert again.metric is task.metric


def test_an_unknown_metric_is_one_line_with_the_nearest_name():
    with pytest.raises(ProxylessError, match=r"no metric called 'acuracy'.*accuracy"):
        Classification(metrics=["acuracy"]).metric  # noqa: B018


def test_a_class_without_a_name_is_called_by_its_number():
    """As where a file lists fewer classes than the network has."""
    sums = {"confusion": torch.tensor([[3, 0, 0], [0, 2, 0], [1, 0, 4]])}
    assert Classification(("a", "b")).confusion(sums).classes == ("a", "b", "2")
