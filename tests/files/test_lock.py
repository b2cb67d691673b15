"""One process at a time works at a place, and no process that is over keeps others out."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys

import pytest

from proxyless import ProxylessError
from proxyless.files import lock
from proxyless.files.lock import LockedError, Owner, held

HOLD = """
import sys, time
from pathlib import Path
from proxyless.files.lock import held
with held(Path(sys.argv[1]), Path("the run")):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / lock.NAME


@pytest.fixture
def other(path):
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_lock_is_gone_after_its_use(path):
    with held(path, path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()


def test_another_process_is_named_and_keeps_others_out_until_it_is_killed(path, other):
    with pytest.raises(LockedError, match=rf"the run: another process \(process {other.pid} on .*\) is at work on it"):
        held(path, "the run").__enter__()
    assert json.loads(path.read_text())["pid"] == other.pid, "the refused one changed it"
    other.send_signal(signal.SIGKILL)
    other.wait()
    with held(path, path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()


def test_a_process_is_kept_from_itself(path):
    with held(path, path):
        with pytest.raises(LockedError, match="this process is at work on it already"):
            held(path, path).__enter__()
        assert path.exists()


def written(path, **changes):
    path.write_text(json.dumps(dataclasses.asdict(dataclasses.replace(Owner.this(), **changes))))


@pytest.mark.parametrize(
    "changes",
    [
        {"pid": 2**22 + 1},  # above the largest that Linux gives
        {"started": "1"},  # our number, given to another process before
        {"machine": "before-the-restart pid:[1]"},
    ],
    ids=["gone", "number used again", "restarted"],
)
def test_a_lock_of_a_process_that_is_over_is_taken_over(path, changes, monkeypatch):
    written(path, **changes)
    with held(path, path):
        pass
    written(path, **changes)
    monkeypatch.setattr(lock, "_lock", lambda handle: None)  # a file system without locks
    with held(path, path):
        pass


def test_a_process_that_cannot_be_seen_from_here_keeps_its_lock_and_the_line_says_how_to_remove_it(path):
    written(path, machine="another-machine pid:[1]", host="far-away")
    with pytest.raises(LockedError, match=rf"on far-away.*if that process is over, remove {path}"):
        held(path, path).__enter__()


def test_where_the_system_has_no_locks_a_living_process_is_seen(path, monkeypatch):
    monkeypatch.setattr(lock, "_lock", lambda handle: None)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        written(path, pid=process.pid, started=lock._started(process.pid))
        with pytest.raises(LockedError, match=f"process {process.pid}"):
            held(path, path).__enter__()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', '{"pid": -1}'])
def test_a_lock_that_says_nothing_is_taken_over(path, content):
    path.write_text(content)
    with held(path, path):
        pass


def test_a_link_where_the_lock_should_be_is_not_followed(path, tmp_path):
    (tmp_path / "precious").write_text("kept")
    path.symlink_to("precious")
    with pytest.raises(ProxylessError, match="a link, and in the way"), held(path, path):
        pass
    assert (tmp_path / "precious").read_text() == "kept"


def test_the_lock_of_a_file_stands_beside_it_however_long_its_name_and_by_whatever_link(tmp_path):
    assert lock.beside(tmp_path / "table.json").name == ".table.json.lock"
    with held(lock.beside(tmp_path / ("x" * 250)), tmp_path):
        pass
    (tmp_path / "link").symlink_to(tmp_path / "table.json")
    assert lock.beside(tmp_path / "link") == lock.beside(tmp_path / "table.json")
