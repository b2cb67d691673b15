"""Modules timed in processes of their own: real processes, real models."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from proxyless import ProxylessError
from proxyless.latency import session
from proxyless.latency.device import device
from proxyless.latency.measure import measure_files, measure_networks
from proxyless.latency.runtimes import Format
from proxyless.latency.session import timing_session
from proxyless.latency.timing.repeated_loading import MOST_LOADINGS
from proxyless.latency.timing.statistics import Effort, Round

CPU, SHAPES = device("cpu"), ((1, 3, 8, 8),)
QUICK = Effort(rounds=3, burst_ms=0.1, width=1.0, limit_s=0.0, loadings=1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where temporary files are made meanwhile."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def script(path: Path, lines: str) -> str:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return str(path)


def workers_of(parent: int) -> list[Path]:
    """Folders in /proc of the running processes that ``parent`` started to time models."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            of = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if of == parent and b"latency.timing.worker" in (path / "cmdline").read_bytes():
                found.append(path)
        except OSError:
            continue
    return found


def test_every_loading_is_a_process_of_its_own_and_nothing_is_left_behind(folder, monkeypatch):
    workers: list[subprocess.Popen] = []

    class Noted(subprocess.Popen):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            workers.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    rounds: list[Round] = []
    with timing_session(CPU) as place:
        place.add("small", nn.Conv2d(3, 4, 1), SHAPES, called="small")
        place.add("large", nn.Conv2d(3, 64, 3), SHAPES, called="large")
        found, conditions = place.time(Effort(6, 0.5, 1.0, 30, loadings=2), on_round=rounds.append)
        assert list(folder.iterdir())
    assert 0 < found["small"].ms < found["large"].ms
    assert 2 <= len(workers) <= MOST_LOADINGS * 2  # more than asked where this machine has other work meanwhile
    assert len({worker.pid for worker in workers}) == len({done.loading for done in rounds}) == len(workers)
    assert not any(worker.poll() is None for worker in workers)
    assert conditions.rounds == len(rounds) >= 6
    assert list(folder.iterdir()) == []


def test_what_loads_a_model_needs_no_pytorch():
    code = """
import sys
from proxyless.latency.timing import worker
from proxyless.latency.runtimes import loading
for name in ("onnxruntime_cpu", "openvino_cpu", "litert_cpu"):
    __import__(f"proxyless.latency.runtimes.{name}")
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_a_file_that_is_no_model_is_named(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(ProxylessError, match=r"broken\.onnx on cpu \(onnxruntime\): .*ONNX Runtime.*: \S") as caught:
        measure_files([tmp_path / "broken.onnx"], SHAPES, CPU, QUICK)
    assert "\n" not in str(caught.value)


def test_a_module_that_cannot_be_converted_is_named(folder):
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    with pytest.raises(ProxylessError, match=r"^Odd on cpu \(onnxruntime\): Odd cannot be exported to ONNX: "):
        measure_networks([Odd()], SHAPES, CPU, QUICK)
    assert list(folder.iterdir()) == []


def test_a_runtime_that_crashes_is_one_line_that_names_device_and_signal(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", script(tmp_path / "crash", "kill -SEGV $$"))
    with pytest.raises(ProxylessError, match=r"on cpu \(onnxruntime\): cannot be run by ONNX Runtime: .*SIGSEGV$"):
        measure_networks([nn.Conv2d(3, 4, 1)], SHAPES, CPU, QUICK)


def test_a_process_that_fails_tells_its_last_words(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", script(tmp_path / "fail", "echo 'MemoryError: too large' >&2; exit 1"))
    with pytest.raises(ProxylessError, match=r"MemoryError: too large$"):
        measure_networks([nn.Conv2d(3, 4, 1)], SHAPES, CPU, QUICK)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are looked up in /proc")
def test_an_interruption_ends_the_process_too(folder):
    def stop(share: float) -> None:
        if share > 0.5:
            assert len(workers_of(os.getpid())) == 1
            raise KeyboardInterrupt

    with timing_session(CPU) as place:
        place.add("a", nn.Conv2d(3, 4, 1), SHAPES, called="a")
        with pytest.raises(KeyboardInterrupt):
            place.time(Effort(1000, 1.0, 0.0, 100, loadings=1), advance=stop)
        assert workers_of(os.getpid()) == []
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are looked up in /proc")
def test_a_measurement_that_is_killed_hard_leaves_no_process_and_no_files(tmp_path):
    code = """
from torch import nn
from proxyless.latency.device import device
from proxyless.latency.timing.repeated_loading import MOST_LOADINGS
from proxyless.latency.measure import measure_networks
from proxyless.latency.timing.statistics import Effort
measure_networks([nn.Conv2d(3, 4, 1)], ((1, 3, 8, 8),), device("cpu"), Effort(10**6, 1.0, 0.0, 10**6, loadings=1))
"""
    parent = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"TMPDIR": str(tmp_path)})
    try:
        wait_until(lambda: workers_of(parent.pid))
        (worker,) = workers_of(parent.pid)
        time.sleep(0.5)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_until(lambda: not worker.exists())
    assert list(tmp_path.glob("proxyless-*")) == []


def wait_until(happened) -> None:
    """At most half a minute."""
    for _ in range(300):
        if happened():
            return
        time.sleep(0.1)
    pytest.fail("did not happen within 30 s")


class Loaded:
    """Takes 2.5 ms, in whichever process."""

    def times_ms(self, count):
        return np.full(count, 2.5)

    def outputs(self):
        return []


class Elsewhere:
    """A runtime of another package, whose files say which process wrote them."""

    format = Format.ONNX

    def version(self):
        return "1"

    def convert(self, module, inputs, device):
        return str(os.getpid()).encode()

    def prepare(self, module, inputs, device):
        return Loaded()

    def load(self, model, inputs, device):
        assert int(model.read_text()) != os.getpid()
        assert [x.shape for x in inputs] == list(SHAPES)
        return Loaded()


def measured_by(runtime, monkeypatch) -> int:
    """Number of the loadings in worker processes that a network is measured in by ``runtime``; it takes 2.5 ms."""
    monkeypatch.setattr(session, "runtime", lambda name: runtime)
    loadings: set[str] = set()
    with timing_session(CPU) as place:
        place.add("network", nn.ReLU(), SHAPES, called="network")
        effort = place.effort(Effort(rounds=4, burst_ms=0.1, width=1.0, limit_s=0.0, loadings=2))
        found, _ = place.time(effort, on_round=lambda done: loadings.add(done.loading))
    assert found["network"].ms == pytest.approx(2.5)
    return len(loadings - {""})


def test_files_of_a_runtime_of_another_package_are_loaded_in_processes_of_their_own(monkeypatch):
    assert measured_by(Elsewhere(), monkeypatch) >= 1


def test_a_runtime_that_another_process_cannot_import_is_run_in_this_one(monkeypatch):
    class Local(Elsewhere):
        """As of a notebook."""

    assert measured_by(Local(), monkeypatch) == 0
