"""Which of two files to use is told from their accuracy on held-out images and their latency."""

import numpy as np
import pytest
import torch

from proxyless.job.int8_comparison import Comparison, Times, Trial, best, cautions, described, lost
from proxyless.latency.timing.statistics import Interval
from proxyless.tasks import Classification

TASK = Classification()
ACCURACY = TASK.metric
LABELS = torch.arange(200) % 2
HELD_OUT = [(torch.eye(2)[part], part) for part in LABELS.split(64)]  # the images are their own outputs


def right_but(wrong: int):
    """A network that takes the other class for the first ``wrong`` images."""
    seen = 0

    def run(images):
        nonlocal seen
        numbers = (np.arange(len(images)) + seen) % len(LABELS)
        seen += len(images)
        return np.where((numbers < wrong)[:, None], images[:, ::-1], images)

    return run


def compared(*wrong: int, float32: int = 0):
    asked = []

    def candidates():
        for count in wrong:
            asked.append(count)
            yield f"way {count}", bytes([count])

    content, comparison = best(right_but(float32), candidates(), lambda content: right_but(content[0]), HELD_OUT, TASK)
    return content[0], comparison, asked


def test_the_first_way_that_loses_no_more_than_a_point_is_taken_and_no_other_is_tried():
    content, comparison, asked = compared(9, 2, 0)
    assert (content, asked) == (2, [9, 2])
    assert [trial.score for trial in comparison.trials] == [0.955, 0.99]
    assert not comparison.lossy


def test_of_ways_that_all_lose_the_best_is_taken_and_said_to_lose():
    content, comparison, asked = compared(9, 4, 6, float32=1)
    assert (content, asked) == (4, [9, 4, 6])
    (said,) = cautions("model.int8.onnx", "model.onnx", comparison, None)
    assert "loses 1.5 points of accuracy: 98.00% of 200 held-out images, 99.50% in float32" in said
    assert "way 9; way 4; way 6" in said
    assert said.endswith("use model.onnx instead")


def test_of_equally_accurate_ways_the_nearer_outputs_count():
    trials = (Trial("a", 0.9, 0.3), Trial("b", 0.9, 0.1), Trial("c", 0.8, 0.0))
    assert Comparison(ACCURACY, 10, 1.0, trials).best.recipe == "b"


@pytest.mark.parametrize(
    ("int8", "float32", "use"),
    [((2.0, 1.9, 2.1), (1.0, 0.9, 1.1), "model.onnx"), ((1.0, 0.9, 1.1), (2.0, 1.9, 2.1), "model.int8.onnx"),
     ((1.05, 0.95, 1.15), (1.0, 0.9, 1.1), "model.int8.onnx")],
    ids=["slower", "quicker", "not told apart"],
)  # fmt: skip
def test_the_file_to_use_is_the_quicker_one_where_int8_loses_nothing(int8, float32, use):
    comparison = Comparison(ACCURACY, 10, 1.0, (Trial("minmax", 1.0, 0.01),))
    times = Times(Interval(*int8), Interval(*float32))
    values = described("model.int8.onnx", "model.onnx", comparison, times, 256, (0.9, 0.9))
    assert values["use"] == use
    assert len(values["cautions"]) == (use == "model.onnx")
    assert (values["latency_ms"], values["latency_float32_ms"]) == (int8[0], float32[0])


@pytest.mark.parametrize(
    ("on_test", "use"), [(0.88, "model.onnx"), (0.891, "model.int8.onnx"), (None, "model.int8.onnx")]
)
def test_a_loss_on_test_images_alone_is_told_as_well(on_test, use):
    comparison = Comparison(ACCURACY, 10, 1.0, (Trial("minmax", 1.0, 0.01),))
    values = described("model.int8.onnx", "model.onnx", comparison, None, 256, (on_test, 0.9))
    assert values["use"] == use
    told = (
        "model.int8.onnx loses 2.0 points of accuracy on test images: 88.00%, 90.00% in float32; use model.onnx instead"
    )
    assert values["cautions"] == [told] * (use == "model.onnx")


def test_each_file_that_loses_more_than_a_point_has_its_sentence():
    found = {"model.onnx": 0.9, "model.int8.onnx": 0.884, "model.int8.tflite": None, "model.tflite": 0.89}
    assert lost(ACCURACY, found, 0.9) == ["model.int8.onnx loses 1.6 points of accuracy against PyTorch"]
