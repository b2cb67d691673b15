"""The main job on scikit-learn's digits, through the command line in real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
from command_line import proxyless

from proxyless import files
from proxyless.errors import ProxylessError
from proxyless.job.run_folder import RunFolder
from proxyless.job.seconds import add_seconds, timed, timed_before
from proxyless.report import read_run, render
from proxyless.report.markup import duration


def test_a_run_ends_with_a_summary_and_leaves_all_its_files(finished):
    run, done = finished
    result = json.loads((run / "result.json").read_text())
    for name in ("architecture", "test accuracy", "parameters", "MACs", "predicted", "measured", "report.html"):
        assert name in done.stdout
    assert f"{result['test_accuracy']:.2%}" in done.stdout
    expected = (
        "config.yaml data.json latency.json architecture.json model.safetensors model.onnx model.json report.html"
    )
    expected += " result.json log.jsonl search/history.jsonl search/checkpoint.pt training/history.jsonl"
    assert all((run / name).exists() for name in expected.split())
    assert not list(run.rglob(".*")), "temporary files are left"


def test_the_result_holds_what_machines_need(finished):
    result = json.loads((finished[0] / "result.json").read_text())
    assert 0 < result["test_accuracy"] <= 1
    assert result["latency_budget_ms"] == 100.0
    for name in ("parameters", "macs", "latency_predicted_ms", "latency_measured_ms"):
        assert result[name] > 0
    assert result["onnx_max_difference"] < 1e-4
    assert isinstance(result["architecture"], str)


def test_every_stage_is_timed_and_the_report_tells_their_sum(finished):
    run = finished[0]
    seconds = json.loads((run / "result.json").read_text())["seconds"]
    assert list(seconds) == ["data", "measure", "search", "derive", "train", "check", "report"]
    assert all(value > 0 for value in seconds.values())
    assert seconds == json.loads((run / "seconds.json").read_text())
    assert f"{duration(sum(seconds.values()))} in all." in (run / "report.html").read_text()
    page = read_run(run)
    assert f"Bars of the time of {len(seconds)} stages" in render(page)


def test_seconds_of_a_continued_stage_are_added_and_stand_in_order(tmp_path):
    run = RunFolder(tmp_path)
    files.write_json(run.seconds, {"search": 100.0, "derive": 3.0, "train": 5.0})  # as version 0.1.0 wrote them
    before: dict[str, float] = {}
    with timed_before(before, "data"):
        time.sleep(0.01)
    add_seconds(run, before | {"search": 1.0})
    known = files.read_json(run.seconds)
    assert list(known) == ["data", "search", "derive", "train"]
    assert known["data"] >= 0.01
    assert known["search"] == 101.0
    files.write_json(run.seconds, {"search": "long"})
    with pytest.raises(ProxylessError, match=r"seconds\.json: does not hold the seconds of each stage"):
        add_seconds(run, before)


def test_progress_without_a_terminal_is_plain_lines(finished):
    assert "search ..." in finished[1].stderr
    assert "\x1b" not in finished[1].stderr + finished[1].stdout


def test_the_log_is_json_lines(finished):
    events = [json.loads(line) for line in (finished[0] / "log.jsonl").read_text().splitlines()]
    assert {"stage", "progress"} <= {event["event"] for event in events}
    assert [e["stage"] for e in events if e["event"] == "stage"] == [
        *("data", "measure", "search", "derive", "train", "check")
    ]


def test_evaluate_agrees_with_the_result_by_pytorch_and_by_onnx_runtime(finished):
    run, _ = finished
    accuracy = f"{json.loads((run / 'result.json').read_text())['test_accuracy']:.2%}"
    done = proxyless("evaluate", run, "--data", "digits")
    assert done.stdout.count(accuracy) == 2


def test_onnx_runtime_alone_agrees_from_the_files_of_the_run(finished):
    """As a user without PyTorch would, with the recorded preprocessing; digits are held out by the recorded split."""
    import onnxruntime

    from proxyless import data

    run, _ = finished
    images = data.load("digits", record=json.loads((run / "data.json").read_text()))
    pixels = images.test.images().numpy().astype(np.float32) / 255
    preprocessing = json.loads((run / "model.json").read_text())["preprocessing"]
    mean, std = (np.array(preprocessing[k], np.float32)[:, None, None] for k in ("mean", "std"))
    session = onnxruntime.InferenceSession(run / "model.onnx")
    found = session.run(None, {"input": (pixels - mean) / std})[0].argmax(1)
    accuracy = (found == images.test.labels.numpy()).mean()
    assert accuracy == pytest.approx(json.loads((run / "result.json").read_text())["test_accuracy"], abs=1e-6)


def test_the_network_is_rebuilt_by_timm_from_the_files_alone(finished):
    import torch
    from safetensors.torch import load_file
    from timm.models._efficientnet_builder import decode_arch_def
    from timm.models.efficientnet import EfficientNet
    from torch import nn

    run, _ = finished
    arguments = json.loads((run / "model.json").read_text())["timm"]
    network = EfficientNet(
        decode_arch_def(arguments["arch_def"]),
        num_classes=arguments["num_classes"],
        in_chans=arguments["in_chans"],
        stem_size=arguments["stem_size"],
        fix_stem=True,
        num_features=arguments["num_features"],
        act_layer=nn.ReLU6,
        norm_layer=partial(nn.BatchNorm2d, eps=arguments["bn_eps"]),
    )
    network.conv_stem.stride = (arguments["stem_stride"],) * 2
    network.load_state_dict(load_file(run / "model.safetensors"))
    from proxyless.job.finished import load_network

    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(network.eval()(x), load_network(RunFolder(run))(x))


def test_the_recorded_config_repeats_the_run(finished, tmp_path):
    """Latencies are measured anew, yet with this budget they do not bind: the rest is the same bit by bit."""
    run, _ = finished
    proxyless("search", "--config", run / "config.yaml", "--out", tmp_path / "again", "--quiet")
    for name in ("model.safetensors",):
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes()


def test_the_same_command_on_a_finished_run_says_so_and_changes_nothing(finished, config):
    run, _ = finished
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file() and path.name != "log.jsonl"}
    done = proxyless("search", "--config", config, "--out", run)
    assert "finished already" in done.stderr
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in before.items())


@pytest.mark.parametrize("moment", ["search/checkpoint.pt", "training/checkpoint.pt"])
def test_a_killed_run_goes_on_and_comes_to_the_same_result(finished, config, tmp_path, moment):
    run = tmp_path / "killed"
    arguments = [sys.executable, "-m", "proxyless", "search", "--config", str(config), "--out", str(run), "--quiet"]
    process = subprocess.Popen(arguments, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (run / moment).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (run / moment).exists()
    assert not (run / "result.json").exists(), "it was finished before the kill"
    done = proxyless("search", "--config", config, "--out", run)
    assert "going on after epoch" in done.stderr
    whole = finished[0]
    assert (run / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert json.loads((run / "architecture.json").read_text()) == json.loads((whole / "architecture.json").read_text())


def test_of_a_killed_stage_the_seconds_until_its_last_checkpoint_are_on_record(tmp_path):
    run = RunFolder(tmp_path)
    files.write_json(run.seconds, {"search": 100.0, "derive": 3.0})
    with timed(run, "search") as account:
        time.sleep(0.02)
        account()
        known = files.read_json(run.seconds)
        assert known["derive"] == 3
        assert 100.02 <= known["search"] < 200
    assert known["search"] <= files.read_json(run.seconds)["search"] < 200


def test_a_job_in_a_folder_whose_name_is_not_utf_8_comes_to_its_end(finished, config, tmp_path):
    run = tmp_path / os.fsdecode(b"caf\xe9\xff")
    shutil.copytree(finished[0], run)
    for name in ("result.json", "model.onnx", "model.safetensors", "report.html"):  # what the last stages write
        (run / name).unlink()
    proxyless("search", "--config", config, "--out", run)
    whole, again = (json.loads((folder / "result.json").read_text()) for folder in (finished[0], run))
    assert again["test_accuracy"] == whole["test_accuracy"]
    for command in (("evaluate",), ("export", "--pixels"), ("report",)):
        proxyless(*command, run)


def test_ctrl_c_stops_with_one_line(config, tmp_path):
    run = tmp_path / "stopped"
    arguments = [sys.executable, "-m", "proxyless", "search", "--config", str(config), "--out", str(run)]
    process = subprocess.Popen(
        arguments,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    while not (run / "config.yaml").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from here" in errors
    assert "Traceback" not in errors


def test_train_takes_an_architecture_to_other_data_and_image_format(finished, tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 8), ("test", 8)):
        for label, name in enumerate(("dark", "light", "noisy")):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(100 * label, 100 * label + (40, 40, 55)[label], (20, 14, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    run, out = finished[0], tmp_path / "trained"
    done = proxyless(
        *("train", "--architecture", run / "architecture.json", "--data", tmp_path / "photos", "--out", out),
        *(
            "--training-epochs",
            3,
            "--training-batch-size",
            16,
            "--measure-loadings",
            "1",
            "--measure-rounds",
            3,
            "--measure-limit-s",
            0,
            "--images-size",
            16,
        ),
    )
    assert "test accuracy" in done.stdout
    result = json.loads((out / "result.json").read_text())
    assert result["test_images"] == 24
    assert (out / "report.html").exists()
    wanted, kept = (json.loads((folder / "architecture.json").read_text()) for folder in (out, run))
    assert wanted["choices"] == kept["choices"]
    assert wanted["arguments"]["channels"] == 3
    done = proxyless("evaluate", out, "--data", tmp_path / "photos" / "val")
    assert "24 test images" in done.stdout


def test_export_and_report_are_made_again(finished):
    run, _ = finished
    for name in ("model.onnx", "report.html"):
        (run / name).rename(run / f"{name}.before")
    assert "model.onnx" in proxyless("export", run).stdout
    assert "report.html" in proxyless("report", run).stdout
    assert (run / "model.onnx").read_bytes() == (run / "model.onnx.before").read_bytes()
    assert (run / "report.html").exists()


def test_other_files_of_the_network_are_written_when_asked_for(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    assert f"{run / 'model.int8.onnx'}\n" in proxyless("export", run, "--int8").stdout
    lines = proxyless("evaluate", run).stdout.splitlines()
    files = [line.split()[0] for line in lines if line.startswith("model")]
    assert files == ["model.onnx", "model.int8.onnx"]
    if find_spec("litert_torch") is None:
        refused = proxyless("export", run, "--tflite", check=2)
        assert refused.stderr.count("\n") == 1
        assert "model.tflite: " in refused.stderr
        assert "pip install 'proxyless[litert]'" in refused.stderr
    else:
        proxyless("export", run, "--int8", "--tflite")
        assert {path.name for path in run.glob("*.tflite")} == {"model.tflite", "model.int8.tflite"}


def test_measure_writes_a_table(tmp_path):
    out = tmp_path / "table.json"
    done = proxyless(
        *("measure", "--space", "mobilenet", "--device", "cpu", "--out", out, "--image-size", 8, "--channels", 1),
        *(
            "--classes",
            10,
            "--space-width",
            0.25,
            "--space-depths",
            *"111111",
            "--measure-loadings",
            "1",
            "--measure-rounds",
            3,
            "--measure-limit-s",
            0,
        ),
        *("--measure-burst-ms", 0.5, "--measure-networks", 4, "--measure-cache", "null"),
        cwd=tmp_path,
    )
    assert "mean error" in done.stdout
    assert len(json.loads(out.read_text())["choices"]) == 6


PHONE = """
device: pixel1
latency: 60
images: {size: 224}
search: {warmup_epochs: 0, epochs: 1, architecture_every: 1, batch_size: 2}
training: {epochs: 1, batch_size: 2}
"""


def test_a_published_table_needs_no_phone(tmp_path, monkeypatch):
    """The whole job but for its length: two steps each; what is left is a derived network within the budget."""
    from PIL import Image

    from proxyless.architecture import Architecture
    from proxyless.data.batches import Batches
    from proxyless.job import pipeline, settings
    from proxyless.latency import published
    from proxyless.spaces import space_of

    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(
                tmp_path / "photos" / name / f"{i}.png"
            )
    monkeypatch.setattr(Batches, "steps", lambda self: 2)
    monkeypatch.setattr(Batches, "valid", lambda self: self._ready([next(self.held_out(0))]))
    monkeypatch.setattr(Batches, "test", lambda self: self._ready([next(self.held_out(1))]))
    (tmp_path / "phone.yaml").write_text(PHONE)
    chosen = settings.load(tmp_path / "phone.yaml").replace({"data": str(tmp_path / "photos")})
    result = pipeline.search(chosen, tmp_path / "run")
    architecture = Architecture.load(tmp_path / "run" / "architecture.json")
    table = published.table("pixel1", space_of(architecture))
    assert result.values["latency_predicted_ms"] == pytest.approx(table.of(architecture))
    assert table.of(architecture) <= 60
    assert result.values["latency_measured_ms"] is None
    assert "pixel1" in (tmp_path / "run" / "report.html").read_text()
    from proxyless.cli.output import summary

    assert "on pixel1, budget 60 ms" in summary(result.values, tmp_path)


@pytest.mark.parametrize("update", ["all-path", "reinforce"])
def test_other_update_rules_run_the_same_job(update, config, tmp_path):
    done = proxyless(
        *("search", "--config", config, "--out", tmp_path / "run", "--search-update", update, "--quiet"),
        *("--search-epochs", 1, "--training-epochs", 1, "--search-zero-gate", "skipped"),
    )
    assert "test accuracy" in done.stdout
    told = "search.zero_gate has no effect with search.update reinforce" in (tmp_path / "run" / "log.jsonl").read_text()
    assert told == (update == "reinforce")


@pytest.mark.parametrize("name", ["tree", "nas-bench-macro"])
def test_other_spaces_are_searched_by_the_same_command(name, tmp_path, capsys):
    from proxyless.cli import main

    arguments = ["search", "--data", "digits", "--space", name, "--search-loss", "none", "--quiet"]
    arguments += ["--out", str(tmp_path / "run"), "--search-warmup-epochs", "0", "--search-epochs", "1"]
    arguments += [
        "--training-epochs",
        "1",
        "--measure-loadings",
        "1",
        "--measure-rounds",
        "3",
        "--measure-limit-s",
        "0",
    ]
    if name == "tree":
        arguments += ["--space-blocks", "1", "--space-stem", "4", "--space-final-width", "16"]
    assert main(arguments) == 0
    assert "test accuracy" in capsys.readouterr().out


def test_measuring_a_published_table_writes_it(tmp_path, capsys):
    from proxyless.cli import main

    assert main(["measure", "--device", "pixel1", "--out", str(tmp_path / "table.json"), "--quiet"]) == 0
    assert "21 choices" in capsys.readouterr().out
