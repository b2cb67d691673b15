"""A space to a device without this package and back, on the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from proxyless.cli import main
from proxyless.latency.table import LatencyTable

SPACE = "--image-size 8 --channels 1 --classes 3 --space-width 0.25 --space-kernels 3 --space-expansions 1 2"
SPACE = [*SPACE.split(), "--space-depths", *"111111"]
QUICK = ["--rounds", "3", "--loadings", "1", "--burst-ms", "0.1", "--limit-s", "0"]


def bundle(out) -> int:
    return main(["bundle", *SPACE, "--measure-networks", "4", "--quiet", "--out", str(out)])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "bundle"
    assert bundle(out) == 0
    return out


@pytest.fixture(scope="module")
def timed(written, tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "results.json"
    command = [sys.executable, written / "run.pyz", *QUICK, "--name", "board", "--out", out]
    subprocess.run(command, check=True, capture_output=True)
    return out


def test_there_and_back(written, timed, tmp_path, capsys):
    assert main(["measure", "--from", str(timed), "--out", str(tmp_path / "table.json"), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "board: onnxruntime" in printed
    assert "4 whole networks" in printed
    table = LatencyTable.load(tmp_path / "table.json")
    times = json.loads(timed.read_text())["times"]
    for row in table.entries.values():
        for entry in row.values():
            assert entry.ms == times[entry.operator]["ms"]
    assert 0 < table.smallest() <= table.largest()


def test_a_busy_device_is_told_of(timed, tmp_path, capsys):
    values = json.loads(timed.read_text())
    values["conditions"] |= {"busy": True, "disturbed": 2, "rounds": 3, "other_cores": 1.5}
    (tmp_path / "results.json").write_text(json.dumps(values))
    assert main(["measure", "--from", str(tmp_path / "results.json"), "--out", str(tmp_path / "table.json")]) == 0
    assert "busy in 2 of 3 rounds" in capsys.readouterr().err


def test_the_image_size_is_that_of_the_config_unless_a_flag_gives_another(tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text("device: cpu-int8\nimages: {size: 12}\n")
    arguments = ["bundle", "--config", str(config), *SPACE[2:], "--measure-networks", "4"]
    for flags, size in (([], 12), (["--image-size", "8"], 8)):
        out = tmp_path / f"bundle-{size}"
        assert main([*arguments, *flags, "--out", str(out)]) == 0
        assert json.loads((out / "manifest.json").read_text())["input_shape"] == [1, size, size]
    assert "device cpu-int8 has no effect" in capsys.readouterr().err
    table = tmp_path / "table.json"
    measure = ["measure", "--config", str(config), "--device", "cpu", *SPACE[2:], "--measure-networks", "4"]
    measure += [
        "--measure-rounds",
        "3",
        "--measure-loadings",
        "1",
        "--measure-limit-s",
        "0",
        "--measure-cache",
        "null",
        "--quiet",
    ]
    assert main([*measure, "--out", str(table)]) == 0
    operators = {entry.operator for row in LatencyTable.load(table).entries.values() for entry in row.values()}
    assert operators == set(json.loads((tmp_path / "bundle-12" / "manifest.json").read_text())["operators"])


def test_a_bundle_is_replaced_but_nothing_else(written, tmp_path, capsys):
    out = tmp_path / "bundle"
    out.mkdir()
    assert bundle(out) == 0  # an empty folder is as good as none
    first = (out / "manifest.json").read_bytes()
    assert first == (written / "manifest.json").read_bytes()
    (out / "operators" / "left.over").touch()
    assert bundle(out) == 0
    assert not (out / "operators" / "left.over").exists()
    assert (out / "manifest.json").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    capsys.readouterr()
    (out / "results.json").touch()
    assert bundle(out) == 2
    assert "holds results.json beside a bundle" in capsys.readouterr().err
    assert (out / "results.json").exists()


@pytest.mark.parametrize("name", ["notes.txt", "README.md"])
def test_a_folder_of_other_things_is_refused(name, tmp_path, capsys):
    (tmp_path / name).touch()
    assert bundle(tmp_path) == 2
    errors = capsys.readouterr().err
    assert "is not empty and holds no bundle" in errors
    assert errors.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_in_the_way_is_refused(tmp_path, capsys):
    (tmp_path / "bundle").touch()
    assert bundle(tmp_path / "bundle") == 2
    assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "r.json", "--space-width", "0.5"], "--space-width does not go with --from"),
        (["--from", "r.json", "--space", "tree"], "--space does not go with --from"),
        (["--from", "r.json", "--device", "cpu"], "--device does not go with --from"),
        (["--from", "r.json", "--image-size", "8"], "--image-size does not go with --from"),
        (["--from", "r.json"], "r.json: no such file"),
        (["--from", "r.csv"], "give the bundle's folder by --bundle"),
        (["--bundle", "b"], "--bundle goes with --from"),
        (["--adapt", "t.json"], "--adapt goes with --from"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["measure", *arguments, "--out", "table.json", "--quiet"]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_known_table_is_adapted_to_a_few_networks(written, timed, tmp_path, capsys):
    known, times = tmp_path / "known.json", tmp_path / "networks.json"
    assert main(["measure", "--from", str(timed), "--out", str(known), "--quiet"]) == 0
    command = [sys.executable, written / "run.pyz", *QUICK, "--networks-only", "--out", times]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "0 operators and 4 networks" in printed
    assert "--adapt" in printed
    arguments = ["--from", str(times), "--adapt", str(known), "--out", str(tmp_path / "table.json"), "--quiet"]
    assert main(["measure", *arguments]) == 0
    assert "predicted" in capsys.readouterr().out
    table = LatencyTable.load(tmp_path / "table.json")
    assert table.smallest() < table.largest()
