"""The program that times a bundle, where nothing of ours is installed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from proxyless import ProxylessError, Zero
from proxyless.bundle import application, program
from proxyless.export.onnx import to_onnx
from proxyless.latency.timing.interleaved import METHOD
from proxyless.machine.system import machine, usable_cores

QUICK = ["--rounds", "3", "--loadings", "1", "--burst-ms", "0.1", "--limit-s", "0"]
ENDLESS = ["--burst-ms", "0.1", "--rounds", "1000000", "--loadings", "1", "--limit-s", "100"]
NEEDED = (
    "numpy numpy.libs onnxruntime onnxruntime.libs flatbuffers google packaging sympy mpmath coloredlogs humanfriendly"
)


class Second(nn.Module):
    """Reads one of its two inputs only."""

    def forward(self, x, y):
        return 2 * y


MODELS = {
    "operators/conv.onnx": (nn.Conv2d(2, 3, 3), [(1, 2, 8, 8)]),
    "operators/zero.onnx": (Zero(), [(1, 2, 8, 8)]),
    "operators/second.onnx": (Second(), [(1, 2, 8, 8), (1, 2, 4, 4)]),
    "networks/network-000.onnx": (nn.Sequential(nn.Flatten(), nn.Linear(32, 3)), [(1, 2, 4, 4)]),
}


def write(folder: Path) -> Path:
    """A bundle by hand, of models that a space of ours does not have."""
    items = {}
    for file, (module, shapes) in MODELS.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        content = to_onnx(module, [torch.zeros(shape) for shape in shapes], dynamic_batch=False)
        (folder / file).write_bytes(content)
        names = ["input", "input1"]
        inputs = [{"name": n, "dtype": "float32", "shape": shape} for n, shape in zip(names, shapes, strict=False)]
        items[file] = {"file": file, "sha256": hashlib.sha256(content).hexdigest(), "inputs": inputs}
    *operators, network = items.values()
    manifest = {
        "format": "proxyless bundle 1",
        "operators": {Path(item["file"]).stem: item for item in operators},
        "networks": [network | {"choices": {}}],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    application.write(folder / "run.pyz")
    return folder


@pytest.fixture
def bundle(tmp_path):
    return write(tmp_path / "bundle")


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """The interpreter of a virtual environment with numpy and ONNX Runtime alone, whatever PYTHONPATH says."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    only = folder / "only"
    only.mkdir()
    installed = Path(np.__file__).parent.parent
    for name in NEEDED.split():
        if (installed / name).exists():
            (only / name).symlink_to(installed / name)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "only.pth").write_text(f"{only}\n")
    return [folder / "venv" / "bin" / "python", "-E"]


def run(*arguments) -> int:
    return program.main([*map(str, arguments)])


def wait_for_rounds(record: Path, count: int) -> None:
    """At most a minute."""
    until = time.monotonic() + 60
    while not (record.exists() and record.read_text().count("\n") > count) and time.monotonic() < until:
        time.sleep(0.05)


def times_of(path: Path) -> dict:
    return json.loads(path.read_text())["times"]


def test_it_runs_where_there_is_no_torch_and_nothing_of_ours(bundle, bare_python):
    for name in ("torch", "proxyless"):
        assert subprocess.run([*bare_python, "-c", f"import {name}"], capture_output=True).returncode == 1
    command = [*bare_python, "run.pyz", *QUICK, "--name", "board", "--out", "found/results.json"]
    done = subprocess.run(command, cwd=bundle, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "3 operators and 1 networks" in done.stdout
    results = json.loads((bundle / "found" / "results.json").read_text())
    assert set(results["times"]) == {"conv", "zero", "second", "network-000"}
    assert all(0 < t["low_ms"] <= t["ms"] <= t["high_ms"] for t in results["times"].values())
    assert results["manifest"] == json.loads((bundle / "manifest.json").read_text())
    assert results["bundle"] == hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    assert results["device"]["name"] == "board"
    assert results["device"]["machine"]
    assert not list(bundle.rglob(".partial*"))


def test_without_numpy_it_says_what_to_install(bundle, bare_python):
    done = subprocess.run([*bare_python, "-S", "run.pyz"], cwd=bundle, capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install numpy onnxruntime" in done.stderr
    assert done.stderr.count("\n") == 1


def test_it_needs_neither_the_site_packages_nor_a_folder_for_temporary_files(bundle, bare_python, tmp_path):
    """Nor to be started in its own folder."""
    only = bare_python[0].parent.parent.parent / "only"
    nowhere = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(tmp_path / "missing"))
    command = [bare_python[0], "-S", "bundle/run.pyz", *QUICK, "--networks-only", "--out", "here.json"]
    environment = os.environ | nowhere | {"PYTHONPATH": str(only)}
    done = subprocess.run(command, cwd=bundle.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(times_of(bundle.parent / "here.json")) == {"network-000"}


def test_a_signal_ends_it_with_one_line_and_keeps_the_rounds(bundle, bare_python):
    record = bundle / "results.rounds.jsonl"
    running = subprocess.Popen([*bare_python, "run.pyz", *ENDLESS], cwd=bundle, stderr=subprocess.PIPE, text=True)
    wait_for_rounds(record, 3)
    running.send_signal(signal.SIGTERM)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 128 + signal.SIGTERM
    assert errors.splitlines()[-1] == "stopped; the same command goes on from here"
    assert record.read_text().count("\n") > 3


def test_after_a_kill_the_same_command_goes_on(bundle, bare_python):
    out, record = bundle / "results.json", bundle / "results.rounds.jsonl"
    running = subprocess.Popen([*bare_python, "run.pyz", *ENDLESS], cwd=bundle, stderr=subprocess.DEVNULL)
    wait_for_rounds(record, 6)
    running.kill()
    running.wait()
    assert not out.exists()
    kept = record.read_text().splitlines(keepends=True)
    *kept, last = kept[:6]
    record.write_text("".join(kept) + last[:20])  # cut off within a line
    assert subprocess.run([*bare_python, "run.pyz", *QUICK], cwd=bundle, capture_output=True).returncode == 0
    lines = record.read_text().splitlines(keepends=True)
    assert lines[:5] == kept
    assert lines[5].rstrip("\n") == last[:20]
    rounds = [json.loads(line) for line in lines[1:5] + lines[6:]]
    results = json.loads(out.read_text())
    assert results["conditions"]["rounds"] == len(rounds) >= 4
    everything = [r["bursts"]["conv"] for r in rounds if "conv" in r["bursts"]]
    assert min(everything) <= results["times"]["conv"]["ms"] <= max(everything)


def test_what_is_known_well_enough_is_not_timed_again(bundle, tmp_path, capsys):
    out = tmp_path / "results.json"
    enough = [*QUICK, "--width", "1000", "--bundle", bundle, "--out", out]
    setup = {"bundle": hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest(), "runtime": "onnxruntime"}
    setup |= {"runtime_version": onnxruntime.__version__, "providers": ["CPUExecutionProvider"], "threads": 1}
    setup |= {"machine": machine(), "timing": METHOD}
    done = {
        "bursts": {"conv": 0.5, "zero": 0.25, "second": 2.0, "network-000": 4.0},
        "other_cores": 0.0,
        "loading": "a",
        "seconds": 1.5,
    }
    lines = "".join(json.dumps(line) + "\n" for line in [setup, done, done, done])
    (tmp_path / "results.rounds.jsonl").write_text(lines)
    assert run(*enough) == 0
    assert {name: t["ms"] for name, t in times_of(out).items()} == done["bursts"]
    assert json.loads(out.read_text())["conditions"]["seconds"] == 4.5
    assert (tmp_path / "results.rounds.jsonl").read_text() == lines


def test_rounds_of_another_setup_or_bundle_are_not_mixed_in(bundle, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(program, "usable_cores", lambda: 2)
    out = tmp_path / "results.json"
    assert run("--bundle", bundle, "--out", out, *QUICK) == 0
    before = out.read_bytes()
    capsys.readouterr()
    assert run("--bundle", bundle, "--out", out, "--threads", "2", *QUICK) == 2
    assert "its rounds are of threads 1, not 2; choose another --out" in capsys.readouterr().err
    monkeypatch.setattr(program, "METHOD", METHOD + 1)
    assert run("--bundle", bundle, "--out", out, *QUICK) == 2
    assert f"its rounds are of timing {METHOD}, not {METHOD + 1}; choose another" in capsys.readouterr().err
    monkeypatch.setattr(program, "METHOD", METHOD)
    manifest = bundle / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    assert run("--bundle", bundle, "--out", out, *QUICK) == 2
    assert "another bundle" in capsys.readouterr().err
    assert out.read_bytes() == before


def remove(bundle: Path) -> None:
    (bundle / "operators" / "conv.onnx").unlink()


def change(bundle: Path) -> None:
    (bundle / "operators" / "conv.onnx").write_bytes(b"")


def break_model(bundle: Path) -> None:
    change(bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["operators"]["conv"]["sha256"] = hashlib.sha256(b"").hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def truncate(bundle: Path) -> None:
    text = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(text[: len(text) // 2])


def older(bundle: Path) -> None:
    text = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(text.replace("bundle 1", "bundle 0"))


def no_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").unlink()


def foreign_rounds(bundle: Path) -> None:
    (bundle / "results.rounds.jsonl").write_text("shopping list\n")


def folder_in_the_way(bundle: Path) -> None:
    (bundle / "results.json").mkdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove, "conv.onnx: missing"),
        (change, "conv.onnx: changed since the bundle was written"),
        (break_model, "conv.onnx: ONNX Runtime cannot load the model"),
        (truncate, "manifest.json: not the manifest of a bundle, or only part of it"),
        (older, "'proxyless bundle 0'"),
        (no_manifest, "it has no manifest.json"),
        (foreign_rounds, "results.rounds.jsonl: in the way"),
        (folder_in_the_way, "results.json: is a folder"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(spoil, message, bundle, capsys):
    spoil(bundle)
    assert run("--bundle", bundle, "--out", bundle / "results.json", *QUICK) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert not list(bundle.glob(".partial*"))


def test_without_onnx_runtime_it_says_what_to_install(bundle, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert run("--bundle", bundle, "--out", bundle / "results.json") == 2
    errors = capsys.readouterr().err
    assert "pip install onnxruntime" in errors
    assert errors.count("\n") == 1


def test_providers_are_found_by_their_short_names_and_unknown_ones_refused():
    available = ["XnnpackExecutionProvider", "CPUExecutionProvider"]
    assert program.providers(["xnnpack", "CPU"], available) == available
    assert program.providers(["CPUExecutionProvider"], available) == ["CPUExecutionProvider"]
    with pytest.raises(ProxylessError, match=r"--providers nnapi: this ONNX Runtime has Xnnpack"):
        program.providers(["nnapi"], available)


def test_more_threads_than_cores_are_refused(bundle, tmp_path, capsys):
    assert run("--bundle", bundle, "--out", tmp_path / "r.json", "--threads", usable_cores() + 1, *QUICK) == 2
    assert f"--threads {usable_cores() + 1}: this process may use {usable_cores()} cores" in capsys.readouterr().err


def test_the_rounds_of_two_results_are_kept_apart():
    names = {program.rounds_path(Path("r") / name).name for name in ("run.1", "run.2", "run.json", "run")}
    assert names == {"run.1.rounds.jsonl", "run.2.rounds.jsonl", "run.rounds.jsonl"}


@pytest.mark.parametrize("flags", [["--threads", "0"], ["--rounds", "x"], ["--limit-s", "nan"]])
def test_flags_are_checked(flags, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(*flags)
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert flags[0] in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "meant"), [("--round", "--rounds"), ("--limits", "--limit-s"), ("--netwroks-only", "--networks-only")]
)
def test_a_misspelt_flag_says_what_was_meant(flag, meant, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(flag, "3")
    assert stopped.value.code == 2
    assert f"did you mean {meant}?" in capsys.readouterr().err
