"""Tables of labels, from the command line to what is handed over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from proxyless.cli import main

SMALL = "--space-width 0.1 --space-depths 1 1 1 1 1 1 --space-kernels 3 5 --space-expansions 2 --search-loss none"
SHORT = "--search-warmup-epochs 1 --search-epochs 1 --training-epochs 2 --search-batch-size 16 --training-batch-size 16"
QUICK = "--measure-rounds 2 --measure-loadings 1 --measure-limit-s 1"
SETTINGS = [*SMALL.split(), *SHORT.split(), *QUICK.split()]


def pictures(root: Path, count: int, seed: int = 0) -> np.ndarray:
    """Write images of one grey each, with a little noise; returns the greys."""
    rng = np.random.default_rng(seed)
    greys = rng.integers(20, 235, count)
    (root / "photos").mkdir(parents=True)
    for number, grey in enumerate(greys):
        noisy = grey + rng.integers(-15, 16, (8, 8))
        Image.fromarray(noisy.astype(np.uint8)).save(root / "photos" / f"{number}.png")
    return greys


def table(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def numbers(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("numbers")
    greys = pictures(root, 120)
    rows = [f"photos/{number}.png,{grey / 10},{1000 - grey}" for number, grey in enumerate(greys)]
    return table(root / "labels.csv", "path,bright,dark", rows)


@pytest.fixture(scope="module")
def run_of_numbers(numbers, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    assert main(["search", "--data", str(numbers), "--out", str(out), "--quiet", *SETTINGS]) == 0
    return out


def test_numbers_are_learnt_from_the_command_line(run_of_numbers, numbers, capsys):
    result = json.loads((run_of_numbers / "result.json").read_text())
    assert result["task"] == "regression"
    assert result["metric"] == {"name": "rmse", "higher_is_better": False, "percent": False}
    assert [metric["name"] for metric in result["metrics"]] == ["rmse", "mae", "r2"]
    assert result["test_rmse"] > 0
    assert [row[0] for row in result["tables"][0]["rows"]] == ["bright", "dark"]
    model = json.loads((run_of_numbers / "model.json").read_text())
    assert model["task"]["name"] == "regression"
    assert model["task"]["names"] == model["classes"] == ["bright", "dark"]
    assert 900 > model["task"]["mean"][1] > 800
    page = (run_of_numbers / "report.html").read_text()
    assert "Test RMSE" in page
    assert "<h3>By number</h3>" in page
    assert "task: regression, since 2 columns hold numbers" in page


def test_the_same_command_again_finds_the_run_finished_and_shows_its_figures(run_of_numbers, numbers, capsys):
    before = (run_of_numbers / "result.json").read_text()
    assert main(["search", "--data", str(numbers), "--out", str(run_of_numbers), "--quiet", *SETTINGS]) == 0
    assert (run_of_numbers / "result.json").read_text() == before
    assert f"test rmse       {json.loads(before)['test_rmse']:.4g} of" in capsys.readouterr().out


def test_the_config_of_a_run_repeats_it(run_of_numbers, tmp_path):
    assert "task: regression" in (run_of_numbers / "config.yaml").read_text()
    again = ["search", "--config", str(run_of_numbers / "config.yaml"), "--out", str(tmp_path / "again"), "--quiet"]
    assert main(again) == 0
    weights = [(run / "model.safetensors").read_bytes() for run in (run_of_numbers, tmp_path / "again")]
    assert weights[0] == weights[1]


def test_a_run_of_numbers_is_evaluated_and_exported(run_of_numbers, capsys):
    result = json.loads((run_of_numbers / "result.json").read_text())
    assert main(["export", str(run_of_numbers)]) == 0
    assert main(["evaluate", str(run_of_numbers)]) == 0
    told = capsys.readouterr().out
    assert told.count(f"{result['test_rmse']:.4g}") == 2  # PyTorch and ONNX Runtime
    assert main(["evaluate", str(run_of_numbers), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test_r2"] == pytest.approx(result["test_r2"])


def test_a_table_that_was_moved_with_its_images_is_found_and_new_images_are_evaluated(run_of_numbers, tmp_path, capsys):
    source = json.loads((run_of_numbers / "data.json").read_text())["source"]
    shutil.copytree(Path(source).parent, tmp_path / "moved")
    assert main(["evaluate", str(run_of_numbers), "--data", str(tmp_path / "moved" / "labels.csv")]) == 0
    assert "the images of the run" in capsys.readouterr().out
    greys = pictures(tmp_path / "new", 20, seed=9)
    rows = [f"photos/{number}.png,{grey / 10},{1000 - grey}" for number, grey in enumerate(greys)]
    new = table(tmp_path / "new" / "others.csv", "path,bright,dark", rows)
    assert main(["evaluate", str(run_of_numbers), "--data", str(new)]) == 0
    assert "20 test images" in capsys.readouterr().out
    for other, line in (
        ("path,bright", "is about bright, and the network about bright, dark"),
        ("path,a,b", "about a, b"),
    ):
        cut = [",".join(row.split(",")[: other.count(",") + 1]) for row in rows]
        wrong = table(tmp_path / "new" / "wrong.csv", other, cut)
        assert main(["evaluate", str(run_of_numbers), "--data", str(wrong)]) == 2
        assert line in capsys.readouterr().err
    assert main(["evaluate", str(run_of_numbers), "--data", str(tmp_path / "new")]) == 2
    assert "for regression give a table of labels" in capsys.readouterr().err


def test_several_labels_are_learnt_from_the_command_line(tmp_path, capsys):
    greys = pictures(tmp_path, 120)
    rows = [f"photos/{number}.png,{grey > 128:d},{grey > 60:d}" for number, grey in enumerate(greys)]
    source = table(tmp_path / "labels.csv", "path,bright,not dark", rows)
    assert main(["search", "--data", str(source), "--out", str(tmp_path / "run"), *SETTINGS]) == 0
    told = capsys.readouterr()
    assert "task: multi-label, since 2 columns hold 0 or 1; --task sets it" in told.err
    assert "test f1" in told.out
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert 0 <= result["test_exact"] <= result["test_f1"] <= 1
    assert [row[0] for row in result["tables"][0]["rows"]] == ["bright", "not dark"]


def test_the_task_can_be_said_and_balancing_is_for_classes(tmp_path, capsys):
    greys = pictures(tmp_path, 60)
    rows = [f"photos/{number}.png,{grey // 60}" for number, grey in enumerate(greys)]
    source = table(tmp_path / "labels.csv", "path,shade", rows)
    command = ["search", "--data", str(source), "--out", str(tmp_path / "run"), "--quiet", *SETTINGS]
    assert main(command) == 2
    assert "--task classification or --task regression" in capsys.readouterr().err
    assert main([*command, "--task", "regression", "--training-balance", "sampler"]) == 2
    assert "training.balance: sampler is for classes, not for regression" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*command, "--task", "regression"]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert [row[0] for row in result["tables"][0]["rows"]] == ["shade"]
