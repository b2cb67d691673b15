import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, EXAMPLES / name, *arguments], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_search_in_a_loop_of_ones_own():
    told = run("own_loop.py", "--epochs", "2")
    assert "epoch 2: loss" in told
    assert "architecture: {'one':" in told


@pytest.mark.parametrize(
    ("name", "task", "metrics"),
    [
        ("multi_label.py", "multi-label", ["f1", "exact"]),
        ("regression.py", "regression", ["rmse", "mae", "r2"]),
        ("segmentation.py", "segmentation", ["mean_iou", "pixel_accuracy"]),
        ("own_task.py", "keypoints", ["found", "distance"]),
    ],
)
def test_a_task_with_a_network_and_loaders_of_ones_own_from_data_to_report(name, task, metrics, tmp_path):
    told = run(name, "--out", str(tmp_path / "run"), "--latency", "5", "--quick")
    assert "architecture:" in told
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["task"] == task
    assert result["metric"]["name"] == metrics[0]
    for metric in metrics:
        assert isinstance(result[f"test_{metric}"], float)
        assert isinstance(result[f"valid_{metric}"], float)
    history = [json.loads(line) for line in (tmp_path / "run" / "training" / "history.jsonl").open()]
    assert f"valid_{metrics[0]}" in history[-1]
    assert (tmp_path / "run" / "model.onnx").exists()
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"Test {metrics[0].upper() if len(metrics[0]) <= 4 else metrics[0].replace('_', ' ')}" in page
