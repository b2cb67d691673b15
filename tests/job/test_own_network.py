"""The main job for a network with choices and loaders of one's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import own_job
import pytest
import torch
from torch import nn

import proxyless
from proxyless import ProxylessError, files


def course(run: Path) -> list[dict]:
    """The metrics of search and training, but for the seconds that they took."""
    lines = [line for stage in ("search", "training") for line in files.read_json_lines(run / stage / "history.jsonl")]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def whole(place):
    torch.manual_seed(1)
    return own_job.run(place / "whole", own_job.table(place))


def test_a_job_that_is_killed_again_and_again_comes_to_the_same_result(place, whole):
    """Its network has other random weights each time that the program starts: those of the first time count."""
    out = place / "killed"
    torch.manual_seed(1)
    starts = own_job.Net(2).state_dict()

    def start(batches: int) -> int:
        code = f"import torch; torch.manual_seed({batches}); import runpy, sys; "
        if not out.exists():  # the same weights as those of the whole job
            code = "import torch; torch.manual_seed(1); import runpy, sys; "
        code += "runpy.run_path(sys.argv[0], run_name='__main__')"
        program = own_job.__file__
        words = [program, str(out), str(place / "board.json"), str(batches)]
        code = f"import sys; sys.argv = {words!r}; " + code
        return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode

    killed = [start(batches) for batches in (7, 13, 21, 19, 17, 15)]
    assert killed.count(-9) >= 4
    while start(10**9) != 0:
        raise AssertionError("the job failed")
    assert all(torch.equal(value, starts[name]) for name, value in torch.load(out / "initial.pt").items())
    assert course(out) == course(whole.path)
    assert (out / "architecture.json").read_bytes() == (whole.path / "architecture.json").read_bytes()
    assert (out / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()


def test_the_files_are_those_of_any_run(whole):
    assert whole.architecture.choices.keys() == {"first", "second"}
    assert whole.result["test_images"] == 32
    assert whole.result["latency_predicted_ms"] <= 0.7
    assert "own network" not in whole.architecture.space
    x = torch.rand(5, 1, 6, 6)
    with torch.no_grad():
        expected = whole.model(x).numpy()
    found = onnxruntime.InferenceSession(whole.path / "model.onnx").run(None, {"input": x.numpy()})[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert whole.predict(x) == expected.argmax(axis=1).tolist()
    assert "accuracy" in whole.report.read_text().lower()


def test_a_finished_run_is_loaded_with_its_network(whole):
    run = proxyless.load(whole.path, network=own_job.Net(2))
    x = torch.rand(3, 1, 6, 6)
    assert torch.equal(run.model(x), whole.model(x))
    with pytest.raises(ProxylessError, match="give it as network="):
        proxyless.load(whole.path)
    with pytest.raises(ProxylessError, match="does not fit"):
        _ = proxyless.load(whole.path, network=own_job.Net(3)).model
    with pytest.raises(ProxylessError, match="known to your loaders alone"):
        run.preprocess("a.png")


def test_a_task_keeps_what_it_has_taken_from_the_targets(place):
    run = own_job.run(place / "levels", place / "board.json", levels=True)
    again = proxyless.load(run.path, network=own_job.Net(1))
    assert run.result["metric"]["name"] == "rmse"
    assert (again.task.mean, again.task.std) == (run.task.mean, run.task.std)
    assert again.task.mean == pytest.approx([float(own_job.loaders(levels=True)["train"].dataset.levels.mean())])
    x = torch.rand(2, 1, 6, 6)
    assert again.predict(x) == run.predict(x)


def test_another_network_in_the_folder_of_a_run_is_one_line(place, whole):
    with pytest.raises(ProxylessError, match="holds a run of another network"):
        own_job.run(whole.path, place / "board.json", network=own_job.Net(3))
    with pytest.raises(ProxylessError, match="holds another run"):
        own_job.run(whole.path, place / "board.json", settings=own_job.SHORT | {"training.epochs": 3})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": nn.Linear(3, 3)}, "holds no Choice"),
        ({"test": None}, "test= is missing"),
        ({"valid": []}, "valid: needs a loader"),
        ({"train": iter([])}, "train: needs a loader"),
        ({"train": [{"x": 1}]}, "a batch must be"),
        ({"data": "digits"}, "either data= or network="),
        ({"task": "sorting"}, "no task called 'sorting'"),
        ({"latency": None}, "no latency budget"),
        ({"training_batch_size": 8}, "setting training.batch_size has no effect"),
        ({"latency": 0.01}, "cannot be met"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(place, changes, message):
    out = place / "mistake"
    with pytest.raises(ProxylessError, match=message) as caught:
        own_job.run(out, place / "board.json", **changes)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_commands_that_need_the_network_say_so(whole):
    from proxyless.cli import main

    assert main(["report", str(whole.path)]) == 0
    assert main(["evaluate", str(whole.path)]) == 2
    assert json.loads((whole.path / "result.json").read_text())["data"] == "loaders"
