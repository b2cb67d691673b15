"""Timings that are not those of a bundle, or not whole, are refused in one line."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from small_bundle import first_operator, networks_only

from proxyless import ProxylessError
from proxyless.bundle.tables import table_from_results


def test_results_of_this_bundle_are_told_from_those_of_another(timed, written, tmp_path):
    path, values = timed
    assert table_from_results(path, written[0]).networks
    path.write_text(json.dumps(values | {"bundle": "0" * 64}))
    with pytest.raises(ProxylessError, match="results of another bundle"):
        table_from_results(path, written[0])
    with pytest.raises(ProxylessError, match="no bundle, it has no manifest"):
        table_from_results(path, tmp_path)


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
    return "not the results of a bundle; it is run.pyz"


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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run.pyz,1.0", "line 2: the bundle has no model called run.pyz"),
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
