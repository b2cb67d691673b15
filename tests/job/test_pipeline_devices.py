"""The main job for other devices than ONNX Runtime in float32: other runtimes, int8, a table measured elsewhere."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from proxyless import ProxylessError, Supernet, spaces
from proxyless.cli.output import summary
from proxyless.job import consistency, finished, pipeline
from proxyless.job.run_folder import RunFolder
from proxyless.job.settings import Settings
from proxyless.latency import runtimes
from proxyless.latency.device import device
from proxyless.latency.measure import measure_table
from proxyless.latency.table import LatencyTable
from proxyless.latency.timing.statistics import Effort

TINY = Settings().replace(
    {
        "data": "digits",
        "latency": 100.0,
        "space.width": 0.25,
        "space.depths": (1, 1, 1, 1, 1, 1),
        "space.kernels": (3, 5),
        "space.expansions": (2,),
        "measure.rounds": 3,
        "measure.loadings": 1,
        "measure.burst_ms": 0.5,
        "measure.limit_s": 0.0,
        "measure.networks": 4,
        "measure.cache": None,
        "search.warmup_epochs": 0,
        "search.epochs": 1,
        "training.epochs": 2,
    }
)
ARGUMENTS = {"classes": 10, "channels": 1, "image_size": 8, "width": 0.25, "depths": (1, 1, 1, 1, 1, 1)}
ARGUMENTS |= {"kernels": (3, 5), "expansions": (2,)}
EFFORT = Effort(rounds=3, burst_ms=0.5, limit_s=0.0, loadings=1)


def table_file(path: Path, **changes) -> Path:
    """A table of the tiny space, as another machine would have measured it."""
    space = spaces.make("mobilenet", ARGUMENTS | changes)
    table = measure_table(Supernet(space.network()), space.input_shape, device("cpu"), effort=EFFORT, networks=4)
    replace(table, device=dict(table.device) | {"name": "board", "machine": "a board"}).save(path)
    return path


def test_for_int8_a_quantised_network_is_handed_over_with_its_accuracy(tmp_path):
    import onnxruntime

    run = tmp_path / "run"
    result = pipeline.search(TINY.replace({"device": "cpu-int8"}), run).values
    assert result["device"]["precision"] == "int8"
    session = onnxruntime.InferenceSession(run / "model.int8.onnx")
    assert session.get_inputs()[0].shape[1:] == [1, 8, 8]
    assert (run / "model.int8.onnx").stat().st_size < (run / "model.onnx").stat().st_size
    found = finished.evaluate(RunFolder(run))
    assert result["device_file"] == "model.int8.onnx"
    assert list(found["test_accuracy_files"]) == ["model.onnx", "model.int8.onnx"]
    assert found["test_accuracy_files"]["model.onnx"] == pytest.approx(found["test_accuracy"])
    assert found["test_accuracy_files"]["model.int8.onnx"] == result["test_accuracy_device_file"]
    assert abs(result["test_accuracy_device_file"] - found["test_accuracy"]) < 0.1
    assert result["latency_measured_ms"] > 0
    about = result["int8"]
    assert (about["file"], about["float32_file"]) == ("model.int8.onnx", "model.onnx")
    assert about["latency_ms"] == result["latency_measured_ms"]
    assert about["latency_float32_ms"] > 0
    assert about["held_out_images"] == json.loads((run / "data.json").read_text())["splits"]["valid"]["images"]
    assert about["held_out_accuracy_float32"] == pytest.approx(result["valid_accuracy"])
    assert about["use"] == ("model.onnx" if about["cautions"] else "model.int8.onnx")
    shown = summary(result, run)
    page = (run / "report.html").read_text()
    for told in (shown, page):
        assert "in float32" in told
        assert all(caution in html.unescape(told) for caution in about["cautions"])


def test_a_runtime_that_runs_no_files_is_measured_on_the_network_itself(tmp_path):
    result = pipeline.search(TINY.replace({"device": "cpu-torch"}), tmp_path / "run").values
    assert result["device"]["runtime"] == "torch"
    assert result["latency_measured_ms"] > 0
    assert result["device_file"] is None
    assert result["test_accuracy_device_file"] is None
    assert [path.name for path in RunFolder(tmp_path / "run").models()] == ["model.onnx"]


@pytest.mark.skipif(
    find_spec("litert_torch") is None, reason="LiteRT is not installed: pip install 'proxyless[litert]'"
)
@pytest.mark.parametrize(("name", "file"), [("cpu-litert", "model.tflite"), ("cpu-litert-int8", "model.int8.tflite")])
def test_for_litert_a_tflite_file_is_handed_over_and_measured_with_its_accuracy(name, file, tmp_path, monkeypatch):
    from ai_edge_litert.interpreter import Interpreter

    run = RunFolder(tmp_path / "run")
    result = pipeline.search(TINY.replace({"device": name}), run.path).values
    assert result["device_file"] == file
    assert result["latency_measured_ms"] > 0
    interpreter = Interpreter(str(run.path / file))
    assert list(interpreter.get_input_details()[0]["shape"]) == [1, 8, 8, 1]
    found = finished.evaluate(run)
    assert found["test_accuracy_files"][file] == result["test_accuracy_device_file"]
    assert abs(result["test_accuracy_device_file"] - found["test_accuracy"]) < (0.1 if "int8" in file else 0.001)
    monkeypatch.setattr(runtimes, "find_spec", lambda package: None if "litert" in package else "here")
    without = {path.name: None for path in run.models() if path.suffix == ".tflite"}
    assert finished.evaluate(run)["test_accuracy_files"] == found["test_accuracy_files"] | without


def test_a_table_measured_elsewhere_is_a_device(tmp_path, monkeypatch):
    table = table_file(tmp_path / "board.json")
    monkeypatch.chdir(tmp_path)
    result = pipeline.search(TINY.replace({"device": "board.json"}), tmp_path / "run").values
    assert result["device"]["machine"] == "a board"
    assert result["latency_measured_ms"] is None
    assert result["latency_predicted_ms"] <= 100
    assert LatencyTable.load(tmp_path / "run" / "latency.json") == LatencyTable.load(table)
    assert f"device: {table}" in (tmp_path / "run" / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0.5}, "measured with other shapes"),
        ({"kernels": (3, 7)}, "has no candidate k5_e2"),
        ({"depths": (2, 1, 1, 1, 1, 1)}, "of another space"),
    ],
)
def test_a_table_of_another_space_is_one_clear_line(tmp_path, changes, message):
    path = table_file(tmp_path / "board.json", **changes)
    with pytest.raises(ProxylessError, match=message) as caught:
        pipeline.search(TINY.replace({"device": str(path)}), tmp_path / "run")
    assert str(path) in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_table_file_that_is_missing_or_cut_off_is_one_clear_line(tmp_path):
    with pytest.raises(ProxylessError, match=r"board\.json"):
        pipeline.search(TINY.replace({"device": str(tmp_path / "board.json")}), tmp_path / "run")
    path = table_file(tmp_path / "board.json")
    path.write_text(path.read_text()[:500])
    with pytest.raises(ProxylessError, match=r"board\.json"):
        pipeline.search(TINY.replace({"device": str(path)}), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),  # everything that TINY chooses is used
        ({"device": "pixel1"}, ["rounds", "loadings", "burst_ms", "limit_s", "networks"]),
        ({"device": "phone.json"}, ["rounds", "loadings", "burst_ms", "limit_s", "networks"]),
        ({"latency": None, "search.loss": "none"}, ["networks"]),
        ({"latency": None, "search.loss": "weighted"}, []),
    ],
)
def test_what_was_chosen_of_measuring_in_vain_is_told(changes, told):
    settings = TINY.replace(changes)
    lines = consistency.measuring_without_effect(settings, device(settings.device))
    assert [line.split()[0] for line in lines] == [f"measure.{name}" for name in told]
    assert all(" has no effect with " in line for line in lines)
