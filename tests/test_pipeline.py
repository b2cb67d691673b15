"""The main job on scikit-learn's digits, through the command line in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

TINY = """
data: digits
latency: 100.0
space: {width: 0.25, depths: [2, 1, 1, 1, 1, 1], kernels: [3, 5], expansions: [2]}
measure: {rounds: 3, burst_ms: 0.5, limit_s: 0, networks: 6, cache: null}
search: {warmup_epochs: 1, epochs: 3, architecture_every: 2}
training: {epochs: 4}
"""


def proxyless(*arguments, cwd=None, check=0):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "proxyless", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
    )
    assert done.returncode == check, done.stderr
    assert check == 0 or "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    return run, proxyless("search", "--config", config, "--out", run)


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
    from proxyless.delivery import load_network
    from proxyless.run_folder import RunFolder

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


def test_ctrl_c_stops_with_one_line(config, tmp_path):
    run = tmp_path / "stopped"
    arguments = [sys.executable, "-m", "proxyless", "search", "--config", str(config), "--out", str(run)]
    process = subprocess.Popen(
        arguments, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True, start_new_session=True
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


def test_a_budget_below_the_smallest_network_names_what_can_be_reached_and_leaves_nothing(config, tmp_path):
    done = proxyless("search", "--config", config, "--latency", "1e-6", "--out", tmp_path / "run", check=2)
    assert "cannot be met: the networks of this space take" in done.stderr
    assert "raise it to at least" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.fixture
def folder(tmp_path):
    from PIL import Image

    for name in ("one", "two"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(12):
            Image.new("L", (8, 8), i * 20).save(tmp_path / "images" / name / f"{i}.png")
    return tmp_path / "images"


def mistakes(tmp_path: Path, folder: Path) -> dict[str, tuple[list, str]]:
    base = ["search", "--device", "cpu", "--latency", 100, "--out", tmp_path / "run"]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    (tmp_path / "file").touch()
    (tmp_path / "bad.yaml").write_text("latency: soon")
    (tmp_path / "unknown.yaml").write_text("serach: {epochs: 1}")
    return {
        "no data": (base, "give --data"),
        "no folder": ([*base, "--data", "./nowhere"], "no such folder"),
        "unknown data": ([*base, "--data", "imagenetz"], "unknown data set"),
        "unknown device": ([*base, "--data", "digits", "--device", "abacus"], "no device called 'abacus'"),
        "no budget": (["search", "--data", "digits", "--out", tmp_path / "run"], "pass --latency"),
        "budget of zero": ([*base, "--data", "digits", "--latency", 0], "above 0 ms"),
        "no config": ([*base, "--config", tmp_path / "none.yaml"], "no such config file"),
        "wrong type": ([*base, "--config", tmp_path / "bad.yaml"], "must be a number"),
        "unknown setting": ([*base, "--config", tmp_path / "unknown.yaml"], "did you mean search?"),
        "other files": (["search", "--data", "digits", "--latency", 1, "--out", tmp_path / "full"], "holds no run"),
        "out is a file": (["search", "--data", "digits", "--latency", 1, "--out", tmp_path / "file"], "is a file"),
        "out below a file": (
            ["search", "--data", "digits", "--latency", 1, "--out", tmp_path / "file" / "x"],
            "cannot",
        ),
        "unknown space": ([*base, "--data", "digits", "--space-name", "cube"], "no search space called 'cube'"),
    }


CASES = [
    "no data",
    "no folder",
    "unknown data",
    "unknown device",
    "no budget",
    "budget of zero",
    "no config",
    "wrong type",
    "unknown setting",
    "other files",
    "out is a file",
    "out below a file",
    "unknown space",
]


def test_every_mistake_is_tried(tmp_path, folder):
    assert list(mistakes(tmp_path, folder)) == CASES


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_line_with_its_mend_and_leaves_nothing(case, tmp_path, folder, capsys):
    from proxyless.cli import main

    arguments, message = mistakes(tmp_path, folder)[case]
    assert main([str(a) for a in arguments] + ["--quiet"]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_one_class_is_refused(tmp_path, folder, capsys):
    import shutil

    from proxyless.cli import main

    shutil.rmtree(folder / "two")
    arguments = ["search", "--data", str(folder), "--latency", "1", "--out", str(tmp_path / "run"), "--quiet"]
    assert main(arguments) == 2
    assert "class" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_corrupt_image_is_named_and_skipped_only_when_asked(tmp_path, folder, config, capsys):
    from proxyless.cli import main

    broken = folder / "one" / "3.png"
    broken.write_bytes(broken.read_bytes()[:40])
    arguments = ["search", "--config", str(config), "--data", str(folder), "--out", str(tmp_path / "run"), "--quiet"]
    arguments += ["--search-batch-size", "4", "--training-batch-size", "4"]
    assert main(arguments) == 2
    assert "3.png" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*arguments, "--images-skip-corrupt"]) == 0
    assert json.loads((tmp_path / "run" / "data.json").read_text())["skipped"] == ["one/3.png"]


def test_an_out_that_holds_another_run_is_refused_and_names_the_difference(finished, config, capsys):
    from proxyless.cli import main

    run, _ = finished
    before = (run / "config.yaml").read_text()
    assert main(["search", "--config", str(config), "--out", str(run), "--seed", "7", "--quiet"]) == 2
    errors = capsys.readouterr().err
    assert "holds another run (seed is 0 there and 7 here)" in errors
    assert (run / "config.yaml").read_text() == before


@pytest.mark.parametrize("command", ["evaluate", "export", "report"])
def test_a_folder_without_a_run_is_one_line(command, tmp_path, capsys):
    from proxyless.cli import main

    assert main([command, str(tmp_path / "none")]) == 2
    assert "no such" in capsys.readouterr().err


def test_weights_of_another_network_are_one_line(finished, tmp_path, capsys):
    import shutil

    from safetensors.torch import save_file
    from torch import zeros

    from proxyless.cli import main

    shutil.copytree(finished[0], tmp_path / "run")
    save_file({"a": zeros(1)}, tmp_path / "run" / "model.safetensors")
    assert main(["evaluate", str(tmp_path / "run")]) == 2
    errors = capsys.readouterr().err
    assert "does not fit" in errors
    assert errors.count("\n") == 1


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

    from proxyless import pipeline, settings, stages
    from proxyless.architecture import Architecture
    from proxyless.latency import published
    from proxyless.spaces import space_of

    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(
                tmp_path / "photos" / name / f"{i}.png"
            )
    monkeypatch.setattr(stages.Batches, "steps", lambda self: 2)
    monkeypatch.setattr(stages.Batches, "valid", lambda self: self._ready([next(self.held_out(0))]))
    monkeypatch.setattr(stages.Batches, "test", lambda self: self._ready([next(self.held_out(1))]))
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


def test_a_published_table_of_another_space_is_one_line(tmp_path, capsys):
    from proxyless.cli import main

    arguments = ["search", "--data", "digits", "--device", "pixel1", "--latency", "80", "--out", str(tmp_path / "run")]
    assert main([*arguments, "--quiet"]) == 2
    assert "the published table pixel1 has no" in capsys.readouterr().err
    assert main([*arguments, "--quiet", "--measure-threads", "2"]) == 2
    assert "is a published table" in capsys.readouterr().err


@pytest.mark.parametrize("update", ["all-path", "reinforce"])
def test_other_update_rules_run_the_same_job(update, config, tmp_path):
    done = proxyless(
        *("search", "--config", config, "--out", tmp_path / "run", "--search-update", update, "--quiet"),
        *("--search-epochs", 1, "--training-epochs", 1),
    )
    assert "test accuracy" in done.stdout


def test_training_another_architecture_into_a_run_is_refused(finished, tmp_path, capsys):
    from proxyless.cli import main

    run, _ = finished
    architecture = json.loads((run / "architecture.json").read_text())
    arguments = [
        "--data",
        "digits",
        "--training-epochs",
        "1",
        "--measure-rounds",
        "3",
        "--measure-limit-s",
        "0",
        "--quiet",
    ]
    arguments += ["--out", str(tmp_path / "out"), "--architecture"]
    assert main(["train", *arguments, str(run / "architecture.json")]) == 0
    first = next(iter(architecture["choices"]))
    architecture["choices"][first] = "k5_e2" if architecture["choices"][first] == "k3_e2" else "k3_e2"
    (tmp_path / "other.json").write_text(json.dumps(architecture))
    assert main(["train", "--architecture", str(tmp_path / "other.json"), *arguments[:-1]]) == 2
    assert "holds a run of another architecture" in capsys.readouterr().err


def test_images_that_changed_since_a_run_began_are_noticed(tmp_path, folder, config, capsys):
    import shutil

    from proxyless.cli import main

    arguments = ["search", "--config", str(config), "--data", str(folder), "--out", str(tmp_path / "run"), "--quiet"]
    arguments += ["--search-batch-size", "4", "--training-batch-size", "4", "--search-epochs", "1"]
    assert main([*arguments, "--training-epochs", "1"]) == 0
    shutil.copy(folder / "one" / "1.png", folder / "one" / "new.png")
    assert main([*arguments, "--training-epochs", "1"]) == 2
    assert "its images have changed" in capsys.readouterr().err


def test_a_learning_rate_that_diverges_is_one_line(tmp_path, config, capsys):
    from proxyless.cli import main

    arguments = ["search", "--config", str(config), "--out", str(tmp_path / "run"), "--quiet"]
    assert main([*arguments, "--search-learning-rate", "1e30"]) == 2
    assert "lower search.learning_rate" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tree", "nas-bench-macro"])
def test_other_spaces_are_searched_by_the_same_command(name, tmp_path, capsys):
    from proxyless.cli import main

    arguments = ["search", "--data", "digits", "--space-name", name, "--search-loss", "none", "--quiet"]
    arguments += ["--out", str(tmp_path / "run"), "--search-warmup-epochs", "0", "--search-epochs", "1"]
    arguments += ["--training-epochs", "1", "--measure-rounds", "3", "--measure-limit-s", "0"]
    if name == "tree":
        arguments += ["--space-blocks", "1", "--space-stem", "4", "--space-final-width", "16"]
    assert main(arguments) == 0
    assert "test accuracy" in capsys.readouterr().out


def test_measuring_a_published_table_writes_it(tmp_path, capsys):
    from proxyless.cli import main

    assert main(["measure", "--device", "pixel1", "--out", str(tmp_path / "table.json"), "--quiet"]) == 0
    assert "21 choices" in capsys.readouterr().out
