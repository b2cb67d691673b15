"""Output where there is no UTF-8 terminal, or none at all, in real processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from terminals import on_terminal

PROGRESS = """
from proxyless.job import terminal
terminal.prepare()
from proxyless.job.progress import shown
with shown() as reporter:
    reporter.stage("search")
    reporter.note("class caf\\u00e9 \\u4e2d \\udcff \\x1b[31m :smile: [bold]")
    reporter.advance(30, 100, {"loss": 2.0, "accuracy": 0.3, "expected_latency_ms": 0.13})
    reporter.advance(100, 100, {"loss": 2.0, "accuracy": 0.3, "expected_latency_ms": 0.13})
"""
ENDED = "class {} \\x1b[31m :smile: [bold]"
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ENCODINGS = {
    "UTF-8": ({"PYTHONIOENCODING": "utf-8"}, "café", "café 中 \\udcff"),
    "ASCII": ({"PYTHONIOENCODING": "ascii"}, "caf\\xe9", "caf\\xe9 \\u4e2d \\udcff"),
    "code page 1252": ({"PYTHONIOENCODING": "cp1252"}, "café", "café \\u4e2d \\udcff"),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_bar_on_a_terminal_of_any_encoding(name):
    environment, _, shown = ENCODINGS[name]
    text = on_terminal(["-c", PROGRESS], environment=environment)
    if name == "code page 1252":
        text = text.replace("\ufffd", "é")
    assert ENDED.format(shown) in text
    assert "\x1b[?25h" in text, "the cursor is not shown again"


@pytest.mark.parametrize(
    ("environment", "columns"),
    [({"TERM": "dumb"}, 80), ({"TERM": None}, 80), ({}, 10), ({}, 1), ({"COLUMNS": "0"}, 80)],
)
def test_a_terminal_that_cannot_draw_a_bar_gets_plain_lines(environment, columns):
    text = on_terminal(["-c", PROGRESS], columns=columns, environment=environment)
    lines = text.split("\r\n")
    assert lines[0] == "search ..."
    assert "\x1b" not in text
    assert not any("\r" in line for line in lines)


def test_a_terminal_that_does_not_know_its_width_is_taken_for_a_usual_one():
    assert "100%" in on_terminal(["-c", PROGRESS], columns=0)


def test_no_colour_where_none_is_wanted():
    colour = re.compile(r"\x1b\[[0-9;]*\b(3[0-7]|38|9[0-7])\b[0-9;]*m")
    assert colour.search(on_terminal(["-c", PROGRESS]))
    assert not colour.search(on_terminal(["-c", PROGRESS], environment={"NO_COLOR": "1"}))


def unfinished(folder: Path) -> Path:
    """A run that a report can be written of at once."""
    folder.mkdir()
    (folder / "config.yaml").write_text("data: digits\n")
    return folder


def report(folder, *arguments: str, shell: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The command in a shell that does with its output what ``shell`` says."""
    command = [sys.executable, "-m", "proxyless", "report", os.fspath(folder), *arguments]
    script = f'exec "$@" {shell}' if "|" not in shell else f'"$@" {shell}'
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}", "bash", *command],
        capture_output=True,
        env=os.environ | environment,
    )


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_path_that_the_encoding_does_not_hold_is_written_as_escapes(name, tmp_path):
    environment, shown, _ = ENCODINGS[name]
    done = report(unfinished(tmp_path / "café"), **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode(environment["PYTHONIOENCODING"]).endswith(f"{shown}/report.html\n")
    done = report(tmp_path / "café2", **environment)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"Error" not in done.stderr


@pytest.mark.parametrize("environment", [{}, C_LOCALE, {"PYTHONIOENCODING": "ascii"}], ids=["usual", "C", "ASCII"])
def test_a_name_that_is_no_text(environment, tmp_path):
    done = report(unfinished(tmp_path / os.fsdecode(b"run\xff")), **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(b"run\\udcff/report.html\n")


@pytest.mark.parametrize(
    ("shell", "code"),
    [
        (">&-", 0),
        ("2>&-", 0),
        ("<&- >&- 2>&-", 0),
        ("| true", 0),
        ("2>&1 | head -0", 0),
        (">/dev/full", 2),
        ("2>/dev/full", 0),
    ],
)
def test_output_that_nobody_takes_ends_without_a_traceback(shell, code, tmp_path):
    if "/dev/full" in shell and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    run = unfinished(tmp_path / "run")
    done = report(run, shell=shell)
    assert done.returncode == code, done.stderr
    assert (run / "report.html").read_text().endswith("</html>\n")
    if code:
        expected = b"proxyless report: the outcome cannot be printed: No space left on device\n"
        assert done.stderr == expected
    else:
        assert done.stderr == b""


def test_help_that_is_not_read_to_its_end(tmp_path):
    command = '"$@" search --help | head -1; exit ${PIPESTATUS[0]}'
    done = subprocess.run(["bash", "-c", command, "bash", sys.executable, "-m", "proxyless"], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"usage: proxyless search")


@pytest.mark.parametrize("shell", ["2>&-", "2>/dev/full", "2> >(true)"])
def test_progress_that_nobody_takes_does_not_stop_the_work(shell):
    program = PROGRESS + "import time; time.sleep(0.1); reporter.note('late'); terminal.say('done')"
    command = ["bash", "-c", f'exec "$@" {shell}', "bash", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_a_file_never_takes_the_place_of_a_closed_output(tmp_path):
    """Descriptor 1 would be the next file's, and what a library prints would go into it."""
    program = f"""
import os
from proxyless.job import terminal
terminal.prepare()
with open({str(tmp_path / "model")!r}, "wb") as file:
    os.write(1, b"printed by a library")
    os.write(2, b"and more")
    file.write(b"content")
"""
    subprocess.run(["bash", "-c", 'exec "$@" >&- 2>&-', "bash", sys.executable, "-c", program], check=True)
    assert (tmp_path / "model").read_bytes() == b"content"


def test_what_others_print_is_kept_apart_from_the_outcome():
    program = """
import os, subprocess
from proxyless.job import terminal
terminal.prepare()
with terminal.outcome_alone():
    print("a library")
    os.write(1, b"a compiled one\\n")
    subprocess.run(["echo", "a process"])
terminal.say("outcome")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "outcome\n"
    assert sorted(done.stderr.splitlines()) == ["a compiled one", "a library", "a process"]
