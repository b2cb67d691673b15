"""Signals that end a command: as Ctrl-C does, with nothing left behind, and a second one changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import repeat
from pathlib import Path

import pytest

SEARCH = (
    "search --data digits --device cpu --latency 1 --space-width 0.1 --search-warmup-epochs 1 --search-epochs 90"
    " --measure-rounds 9 --measure-loadings 2 --measure-limit-s 60 --measure-networks 4 --measure-cache null --quiet"
)
UNIGNORED = "import signal; [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)];"


def started(words, tmp_path):
    """The command in a group of its own, whose temporary files are in a folder of their own."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    code = f"{UNIGNORED} signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += f"import sys; sys.argv[1:] = {words!r}\nfrom proxyless.cli import main; sys.exit(main())"
    environment = os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    return process, temporary


def waited(process, for_what):
    deadline = time.monotonic() + 120
    while not for_what() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert process.poll() is None, process.stderr.read()


def times_models(process, temporary):
    """Whether a folder of /proc is that of a worker of ours."""
    with suppress(OSError):
        ours = f"TMPDIR={temporary}".encode() in (process / "environ").read_bytes()
        return ours and b"latency.timing.worker" in (process / "cmdline").read_bytes()
    return False


MOMENTS = {
    "while models are converted": lambda out, temporary: any(temporary.glob("proxyless-*/2.model")),
    "while they are timed": lambda out, temporary: any(
        map(times_models, Path("/proc").glob("[0-9]*"), repeat(temporary))
    ),
    "in the search": lambda out, temporary: (out / "search" / "checkpoint.pt").exists(),
}


@pytest.mark.parametrize(
    ("moment", "number", "whole_group"),
    [
        ("while models are converted", signal.SIGTERM, False),
        ("while they are timed", signal.SIGHUP, True),
        ("in the search", signal.SIGTERM, True),
    ],
)
def test_a_signal_ends_the_job_with_one_line_and_leaves_nothing(moment, number, whole_group, tmp_path):
    out = tmp_path / "run"
    process, temporary = started([*SEARCH.split(), "--out", str(out)], tmp_path)
    waited(process, lambda: MOMENTS[moment](out, temporary))
    for _ in range(2):  # an impatient one
        (os.killpg if whole_group else os.kill)(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert errors.splitlines() == ["stopped; the same command goes on from here"]
    assert list(temporary.iterdir()) == []
    if moment == "in the search":
        assert not (out / ".lock").exists()
        assert not list(out.rglob(".partial-*"))
        assert '"error": "Stopped"' in (out / "log.jsonl").read_text()
    else:
        assert not out.exists()


STUBBORN = """
import sys, time
from proxyless.machine.stopping import Stopped, stoppable

class Thing:
    def __del__(self):
        print("putting away", flush=True)
        time.sleep(0.5)  # the signal comes here, where Python lets exceptions go

with stoppable() as stop:
    try:
        thing = Thing()
        del thing
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(stop.exit_code)
"""


def test_a_signal_that_comes_where_exceptions_are_let_go_is_not_lost():
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "putting away\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (143, "")


def test_a_signal_that_is_ignored_stays_ignored():
    """As nohup asks for."""
    code = "import signal, os; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    code += "from proxyless.machine.stopping import stoppable\n"
    code += "with stoppable(): os.kill(os.getpid(), signal.SIGHUP)\nprint('alive')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "alive\n"


def test_library_use_leaves_signals_alone():
    code = "import signal; before = [signal.getsignal(n) for n in (2, 15, 1)]\n"
    code += "import proxyless, proxyless.job.pipeline, proxyless.cli\n"
    code += "print(before == [signal.getsignal(n) for n in (2, 15, 1)])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True\n"
