"""Timings of a bundle read back as a latency table."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnxruntime
import pytest
import torch

from proxyless import ProxylessError, derive, spaces
from proxyless.architecture import Architecture
from proxyless.bundling import table_from_results, write_bundle
from proxyless.export import litert
from proxyless.latency import runtimes
from proxyless.latency.bundle_readme import README
from proxyless.latency.device import device
from proxyless.latency.measure import measure_table
from proxyless.latency.rounds import Effort
from proxyless.settings import Settings
from proxyless.stages import supernet_of

SMALLEST = {
    "space.width": 0.25,
    "space.depths": [2, 1, 1, 1, 1, 1],
    "space.kernels": [3],
    "space.expansions": [1, 2],
    "measure.networks": 6,
    "measure.batch": 2,
}
FIXED_MS = 0.03


class Notes:
    """A reporter that keeps the shares it is told."""

    def __init__(self):
        self.shares = []

    def stage(self, name):
        self.name = name

    def advance(self, done, total, metrics):
        self.shares.append(done / total)

    def note(self, text):
        raise AssertionError(text)

    def close(self):
        pass


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A bundle, its manifest as written, and the course of its writing."""
    out, notes = tmp_path_factory.mktemp("bundles") / "bundle", Notes()
    write_bundle(Settings().replace(SMALLEST), out, classes=3, channels=1, size=8, reporter=notes)
    return out, json.loads((out / "manifest.json").read_text()), notes


@pytest.fixture
def timed(written, tmp_path):
    """A results.json of the bundle with made-up times: a network takes what its candidates take, and a fixed part."""
    out = written[0]
    manifest = json.loads((out / "manifest.json").read_text())
    rng = np.random.default_rng(0)
    times = {key: rng.uniform(0.1, 1.0) for key in manifest["operators"]}
    for number, network in enumerate(manifest["networks"]):
        keys = [manifest["candidates"][name][op] for name, op in network["choices"].items()]
        times[f"network-{number:03}"] = FIXED_MS + sum(times[key] for key in keys if key)
    values = {
        "format": "proxyless results 1",
        "bundle": hashlib.sha256((out / "manifest.json").read_bytes()).hexdigest(),
        "device": {
            "name": "board",
            "runtime": "onnxruntime",
            "runtime_version": "1.2.3",
            "providers": ["CPUExecutionProvider"],
            "threads": 2,
            "machine": "a board, 4 cores",
        },
        "conditions": {
            "rounds": 9,
            "disturbed": 0,
            "other_cores": None,
            "seconds": 1.0,
            "wide": 0,
            "busy": False,
        },
        "times": {name: {"ms": ms, "low_ms": 0.9 * ms, "high_ms": 1.2 * ms} for name, ms in times.items()},
        "manifest": manifest,
    }
    path = tmp_path / "results.json"
    path.write_text(json.dumps(values))
    return path, values


def test_a_bundle_is_whole(written):
    out, manifest, notes = written
    models = [*manifest["operators"].values(), *manifest["networks"]]
    files = {item["file"] for item in models} | {"manifest.json", "run.py", "README.md"}
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == files
    assert all(hashlib.sha256((out / m["file"]).read_bytes()).hexdigest() == m["sha256"] for m in models)
    assert not list(out.parent.glob(".partial*"))
    assert notes.name == "bundle"
    assert notes.shares[-1] == 1.0
    assert all(a < b for a, b in pairwise(notes.shares))


def test_the_networks_of_a_bundle_compute_what_their_choices_say(written):
    out, manifest, _ = written
    settings = Settings().replace(SMALLEST)
    space = spaces.make(manifest["space"]["name"], manifest["space"]["arguments"])
    supernet = supernet_of(settings, space)
    images = torch.randn(2, *manifest["input_shape"], generator=torch.Generator().manual_seed(3))
    for item in manifest["networks"]:
        assert item["inputs"] == [{"name": "input", "dtype": "float32", "shape": [2, 1, 8, 8]}]
        network = derive(supernet, Architecture(item["choices"])).eval()
        found = onnxruntime.InferenceSession(out / item["file"]).run(None, {"input": images.numpy()})[0]
        np.testing.assert_allclose(found, network(images).detach().numpy(), atol=1e-5)


def test_the_table_holds_the_times_of_the_results(timed):
    path, values = timed
    table = table_from_results(path)
    for name, row in values["manifest"]["candidates"].items():
        for operation, key in row.items():
            entry = table.entries[name][operation]
            expected = values["times"][key] if key else {"ms": 0.0, "low_ms": 0.0, "high_ms": 0.0}
            assert (entry.ms, entry.low_ms, entry.high_ms) == tuple(expected.values())
            assert entry.operator == key
    assert any(key is None for row in values["manifest"]["candidates"].values() for key in row.values())
    assert [n.measured_ms for n in table.networks] == [
        values["times"][f"network-{number:03}"]["ms"] for number in range(6)
    ]
    assert table.conditions == values["conditions"]
    assert table.device == values["device"] | {"batch": 2, "precision": "float32"}


def test_the_table_is_corrected_by_the_whole_networks(timed):
    path, values = timed
    table = table_from_results(path)
    for number, network in enumerate(values["manifest"]["networks"]):
        measured = values["times"][f"network-{number:03}"]["ms"]
        assert table.of(Architecture(network["choices"])) == pytest.approx(measured, rel=0.01)


def test_the_table_is_of_the_operators_and_networks_that_measuring_here_takes(timed):
    path, values = timed
    space = spaces.make(values["manifest"]["space"]["name"], values["manifest"]["space"]["arguments"])
    supernet = supernet_of(Settings(), space)
    effort = Effort(rounds=1, burst_ms=0.05, limit_s=0, loadings=1)
    here = measure_table(supernet, space.input_shape, device("cpu", batch=2), effort=effort, networks=6)
    there = table_from_results(path)
    there.check(supernet)
    assert [n.choices for n in there.networks] == [n.choices for n in here.networks]
    for name, row in here.entries.items():
        assert {op: e.operator for op, e in row.items()} == {op: e.operator for op, e in there.entries[name].items()}
    assert set(here.device) <= set(there.device)


def test_results_of_this_bundle_are_told_from_those_of_another(timed, written, tmp_path):
    path, values = timed
    assert table_from_results(path, written[0]).networks
    path.write_text(json.dumps(values | {"bundle": "0" * 64}))
    with pytest.raises(ProxylessError, match="results of another bundle"):
        table_from_results(path, written[0])
    with pytest.raises(ProxylessError, match="no bundle, it has no manifest"):
        table_from_results(path, tmp_path)


def first_operator(values):
    """Name of the first choice, its first candidate, and that one's signature."""
    name, row = next(iter(values["manifest"]["candidates"].items()))
    return name, *next(iter(row.items()))


def without_a_candidate(values):
    name, operation, key = first_operator(values)
    del values["times"][key]
    return f"no time of {operation} of choice {name}, which is operators/{key}.onnx"


def without_a_network(values):
    del values["times"]["network-003"]
    return "no time of the whole network networks/network-003.onnx"


def of_another_space(values):
    values["manifest"]["space"]["arguments"]["width"] = 0.5
    name, operation, _ = first_operator(values)
    return f"{operation} of choice {name} is another operator than in the bundle"


def of_other_images(values):
    values["manifest"]["input_shape"] = [1, 16, 16]
    return r"takes inputs of \(1, 8, 8\), not \(1, 16, 16\)"


def with_another_signature(values):
    name, operation, _ = first_operator(values)
    values["manifest"]["candidates"][name][operation] = "0" * 24
    return f"{operation} of choice {name} is another operator"


def without_an_operator_in_the_manifest(values):
    name, operation, key = first_operator(values)
    del values["manifest"]["operators"][key]
    return f"has no file of {operation} of choice {name}"


def with_an_unknown_candidate_in_a_network(values):
    values["manifest"]["networks"][2]["choices"][first_operator(values)[0]] = "k99"
    return "network-002.onnx: choice .* has no candidate 'k99'"


def of_another_format(values):
    values["format"] = "proxyless results 9"
    return "results of another format"


def of_a_bundle_of_another_format(values):
    values["manifest"]["format"] = "proxyless bundle 9"
    return "bundle of another format"


def without_a_manifest(values):
    del values["manifest"]
    return "not the manifest of a bundle"


def without_a_device(values):
    del values["device"]
    return "not the results of a bundle"


def with_a_negative_time(values):
    values["times"]["network-001"]["low_ms"] = -1.0
    return "is no interval"


def with_an_unknown_space(values):
    values["manifest"]["space"]["name"] = "resnet"
    return "no search space called 'resnet'"


def nothing_of_ours(values):
    values.clear()
    return "not the results of a bundle; it is run.py"


SPOILED = [
    without_a_candidate,
    without_a_network,
    of_another_space,
    of_other_images,
    with_another_signature,
    without_an_operator_in_the_manifest,
    with_an_unknown_candidate_in_a_network,
    of_another_format,
    of_a_bundle_of_another_format,
    without_a_manifest,
    without_a_device,
    with_a_negative_time,
    with_an_unknown_space,
    nothing_of_ours,
]


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
def test_spoiled_results_are_refused_in_one_line(spoil, timed):
    path, values = timed
    message = spoil(values)
    path.write_text(json.dumps(values))
    with pytest.raises(ProxylessError, match=message) as refused:
        table_from_results(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"format": "proxy', "not readable as JSON"), ("[1, 2]", "not the results of a bundle"), (None, "no such file")],
)
def test_a_file_that_is_no_results_is_refused(content, message, tmp_path):
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ProxylessError, match=message):
        table_from_results(path)


def csv_lines(values, form="{}"):
    manifest = values["manifest"]
    files = [item["file"] for item in [*manifest["operators"].values(), *manifest["networks"]]]
    stem = {file: file.split("/")[1].removesuffix(".onnx") for file in files}
    return [f"{form.format(file)},{values['times'][stem[file]]['ms']!r}" for file in files]


@pytest.mark.parametrize("form", ["{}", "/data/local/tmp/bundle/{}", "bundle\\{}"])
@pytest.mark.parametrize("header", [[], ["file,ms"]])
def test_times_of_any_tool_make_the_same_table_with_intervals_of_no_width(form, header, timed, written, tmp_path):
    path, values = timed
    times = tmp_path / "pixel8.csv"
    times.write_text("\n".join([*header, *csv_lines(values, form), ""]))
    table, expected = table_from_results(times, written[0]), table_from_results(path)
    assert table.rows == expected.rows
    assert table.fixed_ms == expected.fixed_ms
    assert all(e.low_ms == e.ms == e.high_ms for row in table.entries.values() for e in row.values())
    assert table.device["name"] == "pixel8"
    assert table.device["batch"] == 2


def test_several_times_of_a_file_count_as_their_median(timed, written, tmp_path):
    _, values = timed
    name, operation, key = first_operator(values)
    lines = [line for line in csv_lines(values) if key not in line]
    converted = [f"operators/{key}.tflite,{ms}" for ms in (3, 1, 2.5)]
    (tmp_path / "a.csv").write_text("\n".join([*lines, *converted]))
    entry = table_from_results(tmp_path / "a.csv", written[0]).entries[name][operation]
    assert (entry.ms, entry.low_ms, entry.high_ms) == (2.5, 1, 3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run.py,1.0", "line 2: the bundle has no model called run.py"),
        ("networks/network-000.onnx", "line 2 must be a file's name and its ms"),
        ("networks/network-000.onnx,fast", "line 2 must be a file's name and its ms"),
        ("networks/network-000.onnx,", "line 2 must be a file's name and its ms"),
        ("networks/network-000.onnx,-1", "-1 is no latency"),
        ("networks/network-000.onnx,nan", "nan is no latency"),
        ("networks/network-000.onnx,1", "no time of .* of choice"),
    ],
)
def test_a_mistake_in_a_csv_file_is_one_line(line, message, written, tmp_path):
    (tmp_path / "a.csv").write_text(f"file,ms\n{line}\n")
    with pytest.raises(ProxylessError, match=message):
        table_from_results(tmp_path / "a.csv", written[0])


def test_a_csv_file_needs_its_bundle(tmp_path):
    (tmp_path / "a.csv").write_text("file,ms\n")
    with pytest.raises(ProxylessError, match="give the bundle's folder by --bundle"):
        table_from_results(tmp_path / "a.csv")


def test_a_candidate_that_cannot_be_exported_is_named_and_nothing_is_left(tmp_path, monkeypatch):
    from proxyless import bundling

    def refuse(*arguments, **keywords):
        raise ProxylessError("cannot be exported to ONNX")

    monkeypatch.setattr(bundling, "to_onnx", refuse)
    with pytest.raises(ProxylessError, match=r"k3_e1 of choice stage1\.block0: cannot be exported"):
        write_bundle(Settings().replace(SMALLEST), tmp_path / "bundle", classes=3, channels=1, size=8)
    assert not list(tmp_path.iterdir())


PERF_TEST = """#!/bin/sh
echo 'Average inference time cost: 0.9 ms'
echo 'P50 Latency: 0.00025 s'
echo 'P90 Latency: 0.1 s'
"""

ADB = """#!/bin/sh
case "$*" in
  *--graph*) echo 'Inference timings in us: Init: 20, Warmup (avg): 300, Inference (avg): 250.0' ;;
esac
"""


@pytest.mark.parametrize(("tool", "script"), [("onnxruntime_perf_test", PERF_TEST), ("adb", ADB)])
def test_the_command_lines_of_the_readme_make_a_file_that_is_read(tool, script, written, tmp_path):
    """With programs that print what the real ones print."""
    folder = tmp_path / "bundle"
    shutil.copytree(written[0], folder)
    for model in folder.glob("*/*.onnx"):
        shutil.copy(model, model.with_suffix(".tflite"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / tool).write_text(script)
    (tmp_path / "bin" / tool).chmod(0o755)
    (code,) = [block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if f"{tool} " in block]
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["sh", "-ec", code], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    table = table_from_results(folder / "pixel8.csv", folder)
    assert {e.ms for row in table.entries.values() for e in row.values()} == {0.0, 0.25}
    assert {network.measured_ms for network in table.networks} == {0.25}


def networks_only(values: dict) -> dict:
    return values | {"times": {name: t for name, t in values["times"].items() if name.startswith("network")}}


def test_a_table_is_adapted_to_whole_networks_alone(timed, tmp_path):
    path, values = timed
    table = table_from_results(path)
    twice = {
        n: {op: replace(e, in_network_ms=2 * e.in_network_ms) for op, e in r.items()} for n, r in table.entries.items()
    }
    replace(table, entries=twice, fixed_ms=2 * table.fixed_ms).save(tmp_path / "slower.json")
    path.write_text(json.dumps(networks_only(values)))
    adapted = table_from_results(path, known=[tmp_path / "slower.json"])
    assert adapted.device["name"] == "board"
    assert len(adapted.networks) == 6
    errors = [adapted.of(Architecture(n.choices)) / n.measured_ms - 1 for n in adapted.networks]
    assert max(map(abs, errors)) < 0.05  # the known table is right but for its scale
    entries = [entry for row in adapted.entries.values() for entry in row.values()]
    assert all(entry.measured == (entry.operator is None) for entry in entries)
    assert all(entry.low_ms < entry.ms < entry.high_ms for entry in entries if entry.operator)
    adapted.save(tmp_path / "table.json")


def test_mistakes_in_adapting_are_one_line(timed, written, tmp_path):
    path, values = timed
    table = table_from_results(path)
    first = next(iter(table.entries))
    others = {name: row for name, row in table.entries.items() if name != first}
    replace(table, entries=others, networks=()).save(tmp_path / "other.json")
    with pytest.raises(ProxylessError, match=rf"other\.json: the ms table has no choice {re.escape(first)}"):
        table_from_results(path, known=[tmp_path / "other.json"])
    table.save(tmp_path / "known.json")
    elsewhere = {
        n: {op: replace(e, operator=e.operator and "of another size") for op, e in r.items()}
        for n, r in table.entries.items()
    }
    replace(table, entries=elsewhere).save(tmp_path / "larger.json")
    with pytest.raises(ProxylessError, match=r"larger\.json: .* was measured with other shapes"):
        table_from_results(path, known=[tmp_path / "larger.json"])
    values = networks_only(values)
    path.write_text(json.dumps(values | {"times": dict(list(values["times"].items())[:1])}))
    with pytest.raises(ProxylessError, match=r"results\.json: 1 timed networks are too few"):
        table_from_results(path, known=[tmp_path / "known.json"])


def test_tflite_files_need_litert_and_say_so_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    with pytest.raises(ProxylessError, match=r"proxyless\[litert\]"):
        write_bundle(Settings().replace(SMALLEST), tmp_path / "b", classes=3, channels=1, size=8, tflite=True)
    assert not list(tmp_path.iterdir())


def test_tflite_files_lie_beside_the_onnx_files(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(runtimes, "missing", lambda program: None)
    monkeypatch.setattr(litert, "to_tflite", lambda module, inputs: made.append(module) or b"TFL3")
    write_bundle(Settings().replace(SMALLEST), tmp_path / "b", classes=3, channels=1, size=8, tflite=True)
    onnx = {path.relative_to(tmp_path).with_suffix("") for path in tmp_path.rglob("*.onnx")}
    assert {path.relative_to(tmp_path).with_suffix("") for path in tmp_path.rglob("*.tflite")} == onnx
    assert len(made) == len(onnx)
