"""Batches by worker processes: real ones, that are killed, stopped, and left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from proxyless import ProxylessError, data
from proxyless.data.pool import Pool
from proxyless.data.workers import Batch


class Numbers:
    """A batch of 3 x 4 numbers, labelled with the process that made it; ``trouble`` in any process but this."""

    def __init__(self, trouble: str = "") -> None:
        self.trouble = trouble
        self.home = os.getpid()

    def largest(self) -> Batch:
        return torch.empty(3, 4), torch.empty(1, dtype=torch.int64)

    def prepare(self) -> None:
        pass

    def doing(self) -> str:
        return f"number file has been read by {os.getpid()}"

    def __getitem__(self, number: int) -> Batch:
        if os.getpid() != self.home and number >= 2:
            if self.trouble == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.trouble == "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            elif self.trouble == "exit":
                os._exit(3)
            elif self.trouble == "slow":
                time.sleep(0.5)
            elif self.trouble == "error":
                raise MemoryError("no room")
        return torch.full((3, 4), float(number)), torch.tensor([os.getpid()])


def pool(trouble: str = "", workers: int = 2, patience_s: float = 30.0) -> tuple[Pool, list[str]]:
    notes: list[str] = []
    return Pool({"a": Numbers(trouble)}, ["a"], workers=workers, note=notes.append, patience_s=patience_s), notes


def values(batches: list[Batch]) -> list[float]:
    return [float(images.mean()) for images, _ in batches]


def makers(batches: list[Batch]) -> set[int]:
    return {int(label) for _, label in batches}


def children() -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.add(int(path.parent.name))
    return found


def test_the_same_processes_make_one_epoch_after_the_other_in_order() -> None:
    before = children()
    loading, notes = pool()
    with loading:
        epochs = [list(loading.batches("a", range(start, start + 9))) for start in (0, 9, 18)]
        assert [values(epoch) for epoch in epochs] == [[float(n) for n in range(s, s + 9)] for s in (0, 9, 18)]
        assert makers(epochs[0]) == makers(epochs[2]) == children() - before
        assert len(makers(epochs[0])) == 2
    assert children() == before
    assert notes == []


def test_streams_run_beside_one_another_and_may_be_let_go_of() -> None:
    loading, _ = pool()
    with loading:
        endless = loading.batches("a", iter(range(100, 10**9)))
        for number, (images, _) in enumerate(loading.batches("a", range(12))):
            assert float(images.mean()) == number
            if number % 3 == 0:
                assert float(next(endless)[0].mean()) == 100 + number // 3
        dropped = loading.batches("a", range(50, 90))
        next(dropped)
        del dropped
        assert values(list(loading.batches("a", range(5)))) == [0, 1, 2, 3, 4]
        assert float(next(endless)[0].mean()) == 104
        assert len(loading.streams) <= 8  # what was let go of is forgotten


@pytest.mark.parametrize(
    ("trouble", "said"),
    [("killed", "ended by SIGKILL, most often by the system"), ("exit", "ended with exit code 3")],
)
def test_where_a_process_ends_this_one_goes_on_and_says_so(trouble: str, said: str) -> None:
    before = children()
    loading, notes = pool(trouble)
    with loading:
        found = list(loading.batches("a", range(8)))
        assert values(found) == list(range(8))
        assert os.getpid() in makers(found)
        assert children() == before
        assert makers(list(loading.batches("a", range(3)))) == {os.getpid()}
    (note,) = notes
    assert said in note
    assert note.endswith("now loaded in this process, as with images.workers 0")


def test_a_process_that_no_longer_answers_is_told_of_and_then_given_up() -> None:
    before = children()
    loading, notes = pool("stopped", workers=1, patience_s=0.2)
    with loading:
        assert values(list(loading.batches("a", range(6)))) == list(range(6))
    still, given_up = notes
    assert "still waiting" in still
    assert "no batch has come from the processes that load images for 1 s; images are now" in given_up
    assert children() == before


def test_a_process_that_takes_long_says_at_what() -> None:
    loading, notes = pool("slow", workers=1, patience_s=0.2)
    with loading:
        found = list(loading.batches("a", range(4)))
        assert values(found) == list(range(4))
        (worker,) = makers(found)
    assert f"number file has been read by {worker} for 0.2 s now" in notes


def test_what_a_process_cannot_make_is_made_here() -> None:
    loading, notes = pool("error")
    with loading:
        assert values(list(loading.batches("a", range(8)))) == list(range(8))
    (note,) = notes
    assert "MemoryError: no room" in note


def test_an_image_that_vanished_is_one_line_with_its_name(tmp_path: Path, write_images) -> None:
    for name in ("a", "b"):
        write_images(tmp_path / name, 16)
    images = data.load(tmp_path, memory_limit_bytes=0)
    victim = images.train.pixels.root / str(images.train.pixels.names[-1])
    victim.unlink()
    for workers in (0, 2):
        with pytest.raises(ProxylessError, match=rf"^{victim}: ") as caught:
            list(images.loader("train", batch_size=4, workers=workers))
        assert "\n" not in str(caught.value)


def test_a_file_that_is_never_read_to_its_end_is_named_while_it_is_waited_for(tmp_path: Path, write_images) -> None:
    for name in ("a", "b"):
        write_images(tmp_path / name, 16)
    images = data.load(tmp_path, memory_limit_bytes=0)
    victim = images.train.pixels.root / str(images.train.pixels.names[-1])
    victim.unlink()
    os.mkfifo(victim)  # as a drive that no longer answers
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        victim.write_bytes(b"")  # it answers

    batches = images.batches("train", batch_size=4)
    with Pool({"": batches}, [""], workers=0, note=note, patience_s=0.2) as loading, pytest.raises(ProxylessError):
        list(loading.batches("", range(len(batches))))
    assert notes == [f"{victim} has been read for 0.2 s now"]


def test_processes_that_cannot_be_started_are_done_without(monkeypatch) -> None:
    def refused() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    loading, notes = pool()
    with loading:
        assert values(list(loading.batches("a", range(3)))) == [0, 1, 2]
    (note,) = notes
    assert "cannot be started ([Errno 11] Resource temporarily unavailable)" in note


SCRIPT = """
import multiprocessing, os, sys
from pathlib import Path
import torch
from proxyless import data

def main():
    images = data.load({folder!r}, image_size=64, memory_limit_bytes={limit})
    batches = images.endless("train", batch_size=4, augment=True, seed=3)
    notes = []
    with data.pool_of({{"": batches}}, workers=2, note=notes.append) as pool:
        made = [list(pool.batches("", batches.epoch(epoch))) for epoch in range(3)]
        workers = len(multiprocessing.active_children())
    alone = [[batches[number] for number in batches.epoch(epoch)] for epoch in range(3)]
    same = all(torch.equal(a, c) and torch.equal(b, d)
               for one, other in zip(made, alone) for (a, b), (c, d) in zip(one, other))
    print(same, workers, len(multiprocessing.active_children()), notes)
    print(sorted(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else [])
"""
GUARDED = "\nif __name__ == '__main__':\n    multiprocessing.set_start_method({method!r})\n    main()\n"
UNGUARDED = "\nmultiprocessing.set_start_method({method!r}, force=True)\nmain()\n"


@pytest.fixture
def folder(tmp_path: Path, write_images) -> Path:
    for name in ("a", "b"):
        write_images(tmp_path / "images" / name, 12, size=(80, 70))
    return tmp_path / "images"


def run_script(path: Path, text: str, *before: str) -> list[str]:
    path.write_text(text)
    done = subprocess.run([*before, sys.executable, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


TINY = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=16k none /dev/shm && exec "$@"', "sh"]


def may_mount() -> bool:
    try:
        return subprocess.run([*TINY, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


def test_processes_that_are_spawned_make_the_same_batches_and_leave_nothing_behind(tmp_path: Path, folder: Path):
    """Also where the folder of shared memory has no room, if this process may make it so."""
    tiny = may_mount()
    before = [] if tiny or not os.path.isdir("/dev/shm") else sorted(os.listdir("/dev/shm"))
    text = (SCRIPT + GUARDED).format(folder=str(folder), limit=2**30, method="spawn")
    assert run_script(tmp_path / "script.py", text, *(TINY if tiny else [])) == ["True 2 0 []", str(before)]


def test_a_script_without_a_main_guard_is_told_so_and_loads_in_its_own_process(tmp_path: Path, folder: Path):
    text = (SCRIPT + UNGUARDED).format(folder=str(folder), limit=2**30, method="spawn")
    (line, _) = run_script(tmp_path / "script.py", text)
    assert line.startswith("True 0 0 ")
    assert "script.py would be run again by each process that loads images: put what it does under `if __name__" in line
    assert "images.workers 0" in line


def test_a_script_from_standard_input_loads_in_its_own_process_and_is_told_so(folder: Path):
    text = (SCRIPT + UNGUARDED).format(folder=str(folder), limit=2**30, method="spawn")
    done = subprocess.run([sys.executable, "-"], input=text, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0
    assert "would look for the script <stdin> in vain" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def processes(text: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_one_that_started_them_however_it_ends(tmp_path: Path, folder: Path, how) -> None:
    text = f"""
import itertools
from proxyless import data
images = data.load({str(folder)!r}, image_size=64)
for number, batch in enumerate(images.cycle("train", batch_size=4, augment=True, workers=2)):
    if number == 3:
        print("going", flush=True)
"""
    script = tmp_path / f"endless{how}.py"
    script.write_text(text)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # which is ignored in the background of a shell
    )
    assert process.stdout
    assert process.stdout.readline() == "going\n"
    assert len(processes(str(script))) == 3
    process.send_signal(how)
    process.wait(30)
    process.stdout.close()
    for _ in range(100):
        if not processes(str(script)):
            break
        time.sleep(0.1)
    assert processes(str(script)) == []
