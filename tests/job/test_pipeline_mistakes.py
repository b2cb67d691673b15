"""Mistakes of a user: one line that says what is wrong and how to mend it, exit code 2, nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import proxyless


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
        "unknown space": (
            [*base, "--data", "./nowhere", "--space", "treee"],
            "did you mean tree?",
        ),
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


def test_a_published_table_of_another_space_is_one_line(tmp_path, capsys):
    from proxyless.cli import main

    arguments = ["search", "--data", "digits", "--device", "pixel1", "--latency", "80", "--out", str(tmp_path / "run")]
    assert main([*arguments, "--quiet"]) == 2
    assert "the published table pixel1 has no" in capsys.readouterr().err
    assert main([*arguments, "--quiet", "--measure-threads", "2"]) == 2
    assert "is a published table" in capsys.readouterr().err


def test_training_another_architecture_into_a_run_is_refused(finished, tmp_path, capsys):
    from proxyless.cli import main

    run, _ = finished
    architecture = json.loads((run / "architecture.json").read_text())
    arguments = [
        "--data",
        "digits",
        "--training-epochs",
        "1",
        "--measure-loadings",
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
