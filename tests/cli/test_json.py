"""``--json``: one value on standard output with the documented keys, everything else on standard error."""

from __future__ import annotations

import json
import re
from pathlib import Path

from command_line import proxyless as process

from proxyless.cli import COMMANDS, main, parser
from proxyless.cli.output import as_json
from proxyless.latency.device import devices
from proxyless.zoo import catalogue

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()


def value(text: str):
    def refused(name: str):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refused)


def documented(command: str) -> set[str]:
    """The keys that the page lists for a command."""
    (line,) = re.findall(rf"^\| `{command}` \| (.*) \|$", PAGE, re.MULTILINE)
    return set(re.findall(r"`(\w+)`", line))


def test_every_command_has_it_and_the_page_tells_of_each():
    for name in COMMANDS:
        assert "--json" in parser().others[name].format_help()
        assert documented(name)


def test_the_summary_of_a_search_is_its_result(finished):
    run = finished[0]
    done = process("search", "--config", run / "config.yaml", "--out", run, "--json")
    found = value(done.stdout)
    assert found == {"run": str(run), **json.loads((run / "result.json").read_text())}
    assert "is finished already" in done.stderr
    assert documented("search") <= set(found)


def test_evaluate_tells_what_it_prints(finished, capsys):
    run = finished[0]
    assert main(["evaluate", str(run), "--json"]) == 0
    found = value(capsys.readouterr().out)
    assert documented("evaluate") <= set(found)
    assert found["run"] == str(run)
    assert found["test_accuracy"] == json.loads((run / "result.json").read_text())["test_accuracy"]
    assert set(found["test_accuracy_files"]) == {path.name for path in run.glob("model*.onnx")}


def test_report_and_export_name_their_files(finished, capsys):
    run = finished[0]
    assert main(["report", str(run), "--json"]) == 0
    assert value(capsys.readouterr().out) == {"report": str(run / "report.html")}
    assert main(["export", str(run), "--json"]) == 0
    found = value(capsys.readouterr().out)
    assert documented("export") <= set(found)
    assert found["files"] == [str(run / "model.onnx")]
    assert 0 <= found["onnx_max_difference"] < 1e-4


def test_devices_and_zoo_are_lists(capsys):
    assert main(["devices", "--json"]) == 0
    listed = value(capsys.readouterr().out)
    assert [device["name"] for device in listed] == list(devices())
    assert all(set(device) == documented("devices") for device in listed)
    assert next(device for device in listed if device["name"] == "cpu")["available"] is True
    assert "Pixel 1" in next(device for device in listed if device["name"] == "pixel1")["measured_on"]
    assert main(["zoo", "--json"]) == 0
    networks = value(capsys.readouterr().out)
    assert [network["name"] for network in networks] == [network.name for network in catalogue()]
    for found, network in zip(networks, catalogue(), strict=True):
        assert found == {name: getattr(network, name) for name in documented("zoo")}


def test_a_table_that_was_measured(tmp_path, capsys):
    out = tmp_path / "table.json"
    words = (
        "measure --image-size 8 --channels 1 --classes 3 --space-width 0.25 --space-kernels 3 --space-expansions 1 2"
    )
    words += " --space-depths 1 1 1 1 1 1 --measure-rounds 2 --measure-loadings 1 --measure-limit-s 0"
    words += " --measure-burst-ms 0.1 --measure-networks 4 --measure-cache null --json"
    assert main([*words.split(), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    found = value(printed.out)
    assert set(found) == documented("measure")
    assert found["table"] == str(out)
    assert 0 < found["smallest_network_ms"] <= found["largest_network_ms"]
    assert found["networks"] == 4
    assert "measure ..." in printed.err


def test_a_mistake_prints_no_value(capsys):
    assert main(["zoo", "proxyless_cpu", "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1


def test_what_is_no_number_is_null_and_what_is_no_text_is_escaped():
    text = as_json({"loss": float("nan"), "a": [float("inf"), 1.5], "path": Path("caf\u00e9\udcff")})
    assert text.isascii()
    assert value(text) == {"loss": None, "a": [None, 1.5], "path": "caf\u00e9\udcff"}
