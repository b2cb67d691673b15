"""Timings of a bundle read back as a latency table."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from small_bundle import first_operator, networks_only

from proxyless import spaces
from proxyless.architecture import Architecture
from proxyless.bundle.readme import README
from proxyless.bundle.tables import table_from_results
from proxyless.latency.device import device
from proxyless.latency.measure import measure_table
from proxyless.latency.timing.statistics import Effort
from proxyless.supernet import Supernet


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
    assert values["conditions"].items() <= table.conditions.items()  # what was not told is as if nothing had been
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
    supernet = Supernet(space.network())
    effort = Effort(rounds=1, burst_ms=0.05, limit_s=0, loadings=1)
    here = measure_table(supernet, space.input_shape, device("cpu", batch=2), effort=effort, networks=6)
    there = table_from_results(path)
    there.check(supernet)
    assert [n.choices for n in there.networks] == [n.choices for n in here.networks]
    for name, row in here.entries.items():
        assert {op: e.operator for op, e in row.items()} == {op: e.operator for op, e in there.entries[name].items()}
    assert set(here.device) <= set(there.device)


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


OLDER = Path(__file__).parent.parent / "versions" / "0.1.0" / "bundle"


def test_a_bundle_of_version_0_1_0_still_runs_with_its_own_program_and_its_results_are_read(tmp_path):
    shutil.copytree(OLDER, tmp_path / "bundle")
    quick = ["--rounds", "3", "--loadings", "1", "--burst-ms", "0.1", "--limit-s", "0", "--out", "results.json"]
    command = [sys.executable, "-E", "bundle/run.py", *quick]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    table = table_from_results(tmp_path / "results.json", tmp_path / "bundle")
    assert table.networks
    assert table.conditions["rounds"] >= 3
