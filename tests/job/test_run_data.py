"""The images of a run after they were moved, renamed, or put among others."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import TINY
from PIL import Image

from proxyless.cli import main

VERSIONS = Path(__file__).parents[1] / "versions"


def write_pictures(folder: Path, seed: int, count: int = 24, start: int = 0) -> None:
    """Noise, of which the network learns nothing: its accuracy differs from one part of them to another."""
    for name in ("dark", "light"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(start, start + count):
            pixels = np.random.default_rng([seed, number, len(name)]).integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.bmp")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run and its pictures, in an undivided folder."""
    place = tmp_path_factory.mktemp("trained")
    write_pictures(place / "pictures", seed=0)
    (place / "config.yaml").write_text(TINY)
    architecture = VERSIONS / "0.1.0" / "architecture.json"
    arguments = [
        "train",
        "--architecture",
        architecture,
        "--config",
        place / "config.yaml",
        "--data",
        place / "pictures",
    ]
    arguments += ["--out", place / "run", "--training-batch-size", 8, "--quiet"]
    assert main([str(argument) for argument in arguments]) == 0
    return place / "run", place / "pictures"


@pytest.fixture
def moved(trained: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """The same, where the place that the run names is no more."""
    run, pictures = trained
    shutil.copytree(run, tmp_path / "run")
    shutil.copytree(pictures, tmp_path / "elsewhere")
    for path in (tmp_path / "run" / "data.json", tmp_path / "run" / "config.yaml"):
        path.write_text(path.read_text().replace(str(pictures), str(tmp_path / "gone")))
    return tmp_path / "run", tmp_path / "elsewhere"


def figures(run: Path) -> tuple[int, str]:
    result = json.loads((run / "result.json").read_text())
    return result["test_images"], f"{result['test_accuracy']:.2%}"


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["evaluate", *(str(argument) for argument in arguments)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("renamed", [False, True])
def test_the_moved_images_are_evaluated_on_the_recorded_test_split(moved, renamed: bool, capsys) -> None:
    run, elsewhere = moved
    count, accuracy = figures(run)
    if renamed:
        for path in elsewhere.rglob("*.bmp"):
            path.rename(path.with_name(f"{99 - int(path.stem)}.dib"))
    told = evaluated(capsys, run, "--data", elsewhere)
    assert f"{count} test images" in told
    assert "the images of the run, of which its test split is taken" in told
    assert told.count(accuracy) >= 2  # with PyTorch and with ONNX Runtime


def test_images_that_the_network_was_made_with_are_left_out_and_counted(moved, tmp_path, capsys) -> None:
    run, elsewhere = moved
    count, _ = figures(run)
    write_pictures(elsewhere, seed=1, count=10, start=30)
    told = evaluated(capsys, run, "--data", elsewhere)
    assert f"{count + 20} test images" in told
    assert f"left out {48 - count} images that the network was made with" in told
    for path in elsewhere.rglob("*.bmp"):  # other bytes, the same pixels
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    assert f"{count + 20} test images" in evaluated(capsys, run, "--data", elsewhere)
    write_pictures(tmp_path / "new", seed=2, count=5)
    told = evaluated(capsys, run, "--data", tmp_path / "new")
    assert "10 test images" in told
    assert "made with" not in told
    assert "16 or 32 bits" not in told


def test_deep_greys_that_training_had_none_of_are_told(moved, tmp_path, capsys) -> None:
    for name in ("dark", "light"):
        (tmp_path / "new" / name).mkdir(parents=True)
        Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / "new" / name / "1.png")
    told = evaluated(capsys, moved[0], "--data", tmp_path / "new")
    assert "greys of 16 or 32 bits, of which training had none: 0 to 65535 is taken for black to white" in told


def test_images_whose_classes_were_exchanged_are_others(moved, capsys) -> None:
    run, elsewhere = moved
    for number in range(24):  # all files are of one size
        dark, light = (elsewhere / name / f"{number:02d}.bmp" for name in ("dark", "light"))
        before = dark.read_bytes()
        dark.write_bytes(light.read_bytes())
        light.write_bytes(before)
    count, _ = figures(run)
    told = evaluated(capsys, run, "--data", elsewhere)
    assert f"left out {48 - count} images that the network was made with" in told
    assert main(["report", str(run), "--data", str(elsewhere)]) == 2
    assert "has changed since it was recorded" in capsys.readouterr().err


def test_colours_that_are_read_as_grey_and_files_that_are_not_read_are_told(moved, tmp_path, capsys) -> None:
    for name in ("dark", "light"):
        (tmp_path / "new" / name).mkdir(parents=True)
        pixels = np.random.default_rng(len(name)).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "new" / name / "0.png")
        (tmp_path / "new" / name / "1.heic").write_text("photo")
    told = evaluated(capsys, moved[0], "--data", tmp_path / "new")
    assert "left out of the folder: not an image that can be opened (.heic) 2" in " ".join(told.split())
    assert "2 images in colour, which are read as grey" in " ".join(told.split())


def test_a_set_of_images_that_the_network_was_made_with_alone_is_refused(moved, capsys) -> None:
    run, elsewhere = moved
    from proxyless.job.run_data import recorded_data
    from proxyless.job.run_folder import RunFolder

    names = recorded_data(RunFolder(run), str(elsewhere)).train.images().numpy()
    kept = {pixels.tobytes() for pixels in names}
    for path in list(elsewhere.rglob("*.bmp")):
        if np.asarray(Image.open(path)).tobytes() not in kept:
            path.unlink()
    assert main(["evaluate", str(run), "--data", str(elsewhere)]) == 2
    assert "the network was made with all" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_images_that_are_gone_are_asked_for(moved, command: str, capsys) -> None:
    run, _ = moved
    assert main([command, str(run)]) == 2
    told = capsys.readouterr().err
    assert "its images are no longer in" in told
    assert "--data" in told
    assert told.count("\n") == 1


def test_a_moved_run_is_exported_reported_and_finished_with_its_moved_images(moved, capsys) -> None:
    run, elsewhere = moved
    before = (run / "model.onnx").read_bytes()
    (run / "model.onnx").unlink()
    assert main(["export", str(run), "--data", str(elsewhere)]) == 0
    assert (run / "model.onnx").read_bytes() == before
    assert main(["report", str(run), "--data", str(elsewhere)]) == 0
    page = (run / "report.html").read_text()
    assert str(elsewhere) in page
    (run / "result.json").unlink()
    weights = (run / "model.safetensors").read_bytes()
    arguments = [
        "train",
        "--architecture",
        str(run / "architecture.json"),
        "--config",
        str(run / "config.yaml"),
        "--out",
        str(run),
    ]
    assert main([*arguments, "--quiet"]) == 2
    assert "--data" in capsys.readouterr().err
    assert main([*arguments, "--data", str(elsewhere), "--quiet"]) == 0
    assert (run / "model.safetensors").read_bytes() == weights
    assert json.loads((run / "result.json").read_text())["data"] == str(elsewhere)


@pytest.mark.parametrize("command", ["export", "report"])
def test_other_images_are_not_taken_for_those_of_the_run(moved, tmp_path, command: str, capsys) -> None:
    run, _ = moved
    write_pictures(tmp_path / "others", seed=3)
    assert main([command, str(run), "--data", str(tmp_path / "others")]) == 2
    told = capsys.readouterr().err
    assert "has changed since it was recorded" in told
    assert told.count("\n") == 1


def test_a_run_of_before_takes_up_its_moved_pictures(tmp_path, capsys) -> None:
    shutil.copytree(VERSIONS / "0.1.0" / "of-photos", tmp_path / "run")
    shutil.copytree(VERSIONS / "0.1.0" / "photos", tmp_path / "photos")
    count, accuracy = figures(tmp_path / "run")
    told = evaluated(capsys, tmp_path / "run", "--data", tmp_path / "photos")
    assert f"{count} test images" in told
    assert accuracy in told
    assert main(["export", str(tmp_path / "run"), "--data", str(tmp_path / "photos")]) == 0
    for path in (tmp_path / "photos").rglob("*.*"):
        path.rename(path.with_name(f"renamed-{path.name}"))
    told = evaluated(capsys, tmp_path / "run", "--data", tmp_path / "photos")
    assert "is not known: the run is of an earlier version" in told


def test_names_that_are_no_utf_8_go_through_a_whole_run(tmp_path, capsys) -> None:
    write_pictures(tmp_path / "pictures", seed=0, count=12)
    odd = tmp_path / os.fsdecode(b"p\xedctures")
    (tmp_path / "pictures").rename(odd)
    (odd / "dark").rename(odd / os.fsdecode(b"d\xe4rk"))
    for path in (odd / "light").iterdir():
        path.rename(path.with_name(os.fsdecode(b"\xff-") + path.name))
    (tmp_path / "config.yaml").write_text(TINY)
    arguments = [
        "train",
        "--architecture",
        VERSIONS / "0.1.0" / "architecture.json",
        "--config",
        tmp_path / "config.yaml",
    ]
    arguments += ["--data", odd, "--out", tmp_path / "run", "--training-batch-size", 8, "--quiet"]
    assert main([str(argument) for argument in arguments]) == 0
    assert json.loads((tmp_path / "run" / "model.json").read_text())["classes"] == ["d\\xe4rk", "light"]
    assert f"{figures(tmp_path / 'run')[0]} test images" in evaluated(capsys, tmp_path / "run")
    assert main(["export", str(tmp_path / "run")]) == 0
    assert main(["report", str(tmp_path / "run")]) == 0
    assert "d\\xe4rk" in (tmp_path / "run" / "report.html").read_text()
