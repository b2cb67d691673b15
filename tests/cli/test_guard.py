"""Whatever goes wrong in a command: one line, an exit code, and where it arose for those who ask."""

from __future__ import annotations

import errno
import json
import subprocess
import sys

import pytest

from proxyless import ProxylessError
from proxyless.cli import main
from proxyless.cli.guard import guarded
from proxyless.errors import Incomplete
from proxyless.job.run_folder import RunFolder


def raises(error):
    def work():
        raise error

    return work


ERRORS = {
    "mistake": (ProxylessError("--out r: is a file"), 2, "--out r: is a file"),
    "incomplete": (Incomplete("model.int8.onnx could not be made"), 1, "model.int8.onnx could not be made"),
    "full disk": (
        OSError(errno.ENOSPC, "No space left on device", "r/x"),
        2,
        "r/x: No space left on device; make room",
    ),
    "system": (PermissionError(errno.EACCES, "Permission denied", "r"), 2, "r: Permission denied"),
    "missing package": (ModuleNotFoundError("No module named 'PIL'", name="PIL.Image"), 2, "pip install pillow"),
    "of ours": (ImportError("cannot import name 'x'", name="proxyless.y"), 1, "internal error: ImportError"),
    "memory": (MemoryError(), 1, "not enough memory"),
    "memory of PyTorch": (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9"), 1, "smaller batches"),
    "depth": (RecursionError("maximum recursion depth"), 1, "internal error: RecursionError: maximum recursion depth"),
    "lines": (RuntimeError("first\nsecond"), 1, "internal error: RuntimeError: first; --debug shows where"),
    "no words": (KeyError(), 1, "internal error: KeyError; --debug shows where"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_exception_is_one_line_and_a_code(case, capfd):
    error, code, text = ERRORS[case]
    assert guarded(raises(error), command="search", debug=False, ending=False) == code
    shown = capfd.readouterr().err
    assert shown.startswith("proxyless search: ")
    assert text in shown
    assert shown.count("\n") == 1


def test_where_it_arose_is_shown_when_asked_for_before_and_after_the_command(capfd):
    for words in (["--debug", "report", "/nowhere"], ["report", "/nowhere", "--debug"]):
        assert main(words) == 2
        shown = capfd.readouterr().err
        assert shown.startswith("Traceback")
        assert shown.endswith("proxyless report: /nowhere: no such run folder\n")


def test_what_is_unexpected_stands_in_the_log_of_the_run_with_where_it_arose(tmp_path):
    run = RunFolder(tmp_path)
    run.log.touch()
    with pytest.raises(ZeroDivisionError), run.at_work():
        _ = 1 / 0
    (line,) = run.log.read_text().splitlines()
    value = json.loads(line)
    assert value["event"] == "error"
    assert value["error"] == "ZeroDivisionError"
    assert "_ = 1 / 0" in value["traceback"]


def test_a_full_standard_output_is_one_line():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "proxyless", "zoo"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


def test_a_home_that_nobody_knows_is_one_line(capfd):
    assert main(["search", "--data", "~nobody-of-that-name/photos", "--latency", "1", "--out", "/tmp/never"]) == 2
    shown = capfd.readouterr().err
    assert "~nobody-of-that-name/photos: the home folder is not known here; give the whole path" in shown
