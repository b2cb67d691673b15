"""A class for each pixel."""

import pytest
import torch
from sklearn.metrics import jaccard_score
from torch import nn

from proxyless.tasks import Segmentation

GENERATOR = torch.Generator().manual_seed(0)
OUTPUTS = torch.randn(6, 3, 4, 5, generator=GENERATOR)
TARGETS = torch.randint(0, 3, (6, 4, 5), generator=GENERATOR)
TASK = Segmentation(("sky", "ground", "other"))


def test_intersection_over_union_is_that_of_the_pixels_of_all_images():
    parts = [TASK.sums(OUTPUTS[:2], TARGETS[:2]), TASK.sums(OUTPUTS[2:], TARGETS[2:])]
    sums = {name: sum(part[name] for part in parts) for name in parts[0]}
    predicted = OUTPUTS.argmax(dim=1).flatten()
    expected = jaccard_score(TARGETS.flatten(), predicted, average=None)
    assert TASK.figures(sums)["mean_iou"] == pytest.approx(expected.mean())
    assert TASK.figures(sums)["pixel_accuracy"] == float((predicted == TARGETS.flatten()).double().mean())
    (table,) = TASK.tables(sums)
    assert [row[2] for row in table.rows] == pytest.approx(expected.tolist())
    assert TASK.confusion(sums).classes == ("sky", "ground", "other")


@pytest.mark.parametrize("nowhere", [255, -100, -1])
def test_pixels_without_a_class_count_nowhere(nowhere):
    known = TARGETS.clone()
    known[:, :2] = nowhere
    kept = TASK.sums(OUTPUTS[:, :, 2:], TARGETS[:, 2:])
    assert torch.equal(TASK.sums(OUTPUTS, known)["confusion"], kept["confusion"])
    assert TASK.loss(OUTPUTS, known).item() == pytest.approx(
        nn.functional.cross_entropy(OUTPUTS[:, :, 2:], TARGETS[:, 2:]).item(), rel=1e-5
    )
    assert TASK.loss(OUTPUTS, torch.full_like(TARGETS, nowhere)).item() == 0.0


def test_a_prediction_is_a_map_of_classes():
    assert torch.equal(torch.stack(TASK.predict(OUTPUTS)), OUTPUTS.argmax(dim=1))
