"""Two processes at one place: the second is told so in a line, and the first comes to its end."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from proxyless.cli import main
from proxyless.files import lock

HOLD = """
import sys
from pathlib import Path
from proxyless.files.lock import held
with held(Path(sys.argv[1]), Path("x")):
    print(flush=True)
    input()
"""
COMMANDS = {
    "search": (["search", "--data", "digits", "--latency", "1", "--out", "PLACE", "--quiet"], "inside"),
    "export": (["export", "PLACE"], "inside"),
    "report": (["report", "PLACE"], "inside"),
    "measure": (["measure", "--device", "pixel1", "--out", "PLACE", "--quiet"], "beside"),
    "bundle": (["bundle", "--image-size", "8", "--out", "PLACE", "--quiet"], "beside"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_process_is_one_line_and_touches_nothing(command, tmp_path, capfd):
    words, where = COMMANDS[command]
    place = tmp_path / "place"
    if where == "inside":
        place.mkdir()
        (place / ".partial-of-the-first").touch()
    own = place / lock.NAME if where == "inside" else lock.beside(place)
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(own)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        first.stdout.readline()
        before = sorted(tmp_path.rglob("*"))
        assert main([str(place) if word == "PLACE" else word for word in words]) == 2
        shown = capfd.readouterr().err
        assert shown.count("\n") == 1
        assert f"another process (process {first.pid} on " in shown
        assert sorted(tmp_path.rglob("*")) == before
        assert json.loads(own.read_text())["pid"] == first.pid
    finally:
        first.kill()
        first.communicate()
