"""The process that times models, and its parent: with real processes, and loaders that misbehave."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from proxyless import ProxylessError
from proxyless.latency.timing.statistics import Effort, Round
from proxyless.latency.timing.worker import Input, Model, Workers

QUICK = Effort(rounds=2, burst_ms=0.1, width=1.0, limit_s=0.0, loadings=1)
INPUTS = (Input("image", (2, 3)), Input("mask", (4,), "int64"))


class Constant:
    """Takes the ms that its file says."""

    def __init__(self, ms: float) -> None:
        self.ms = ms

    def times_ms(self, count: int) -> np.ndarray:
        return np.full(count, self.ms)


def obedient(file: Path, inputs) -> Constant:
    assert {name: (array.shape, str(array.dtype)) for name, array in inputs.items()} == {
        "image": ((2, 3), "float32"),
        "mask": ((4,), "int64"),
    }
    return Constant(float(file.read_text()))


def refusing(file: Path, inputs) -> Constant:
    if file.name == "bad":
        raise ProxylessError("is not to my taste")
    return obedient(file, inputs)


def crashing(file: Path, inputs) -> Constant:
    if file.name == "bad":
        os.abort()
    return obedient(file, inputs)


def talkative(file: Path, inputs) -> Constant:
    os.write(1, b"x" * 200_000)  # as native code prints: more than a pipe holds
    print("loaded")
    return obedient(file, inputs)


def leaving(file: Path, inputs) -> Constant:
    os._exit(0)


def failing(file: Path, inputs) -> Constant:
    raise MemoryError("too large")


@pytest.fixture
def models(tmp_path):
    for name, ms in (("good", 0.5), ("bad", 2.0)):
        (tmp_path / name).write_text(str(ms))
    return {name: Model(f"the {name} one", tmp_path / name, INPUTS) for name in ("good", "bad")}


def timed(models, load, order=("good", "bad")) -> tuple[list[Round], list[float]]:
    rounds: list[Round] = []
    shares: list[float] = []
    Workers(models, load, "Program", threads=1)(order, QUICK, rounds.append, shares.append)
    return rounds, shares


@pytest.mark.parametrize("load", [obedient, talkative])
def test_models_are_loaded_and_timed_in_another_process(load, models):
    rounds, shares = timed(models, load)
    assert [done.bursts for done in rounds[:2]] == [{"good": 0.5, "bad": 2.0}] * 2
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)


def test_a_model_that_is_refused_is_named_with_the_reason(models):
    with pytest.raises(ProxylessError, match=r"^the bad one: is not to my taste$"):
        timed(models, refusing)


def test_a_crash_while_a_model_is_loaded_names_the_model_and_the_signal(models):
    with pytest.raises(ProxylessError, match=r"^the bad one: cannot be run by Program: its process ended by SIGABRT$"):
        timed(models, crashing, ("bad", "good"))


def test_a_crash_that_may_be_of_any_model_names_none(models):
    with pytest.raises(ProxylessError, match=r"^one of 2 models: cannot be run by Program: .*SIGABRT$"):
        timed(models, crashing)


def test_a_process_that_ends_too_early_is_an_error_whatever_its_exit_code(models):
    with pytest.raises(ProxylessError, match=r"^the good one: cannot be run by Program: its process ended early$"):
        timed(models, leaving)


def test_a_process_that_fails_tells_its_last_words(models):
    with pytest.raises(ProxylessError, match=r"^the good one: cannot be run by Program: MemoryError: too large$"):
        timed(models, failing)


def test_it_needs_no_temporary_folder(models, tmp_path):
    code = f"""
import sys
sys.path[:] = {sys.path!r}
from pathlib import Path
import test_worker
models = {{"good": test_worker.Model("good", Path({str(tmp_path / "good")!r}), test_worker.INPUTS)}}
print(len(test_worker.timed(models, test_worker.obedient, ("good",))[0]))
"""
    nowhere = {name: str(tmp_path / "missing") for name in ("TMPDIR", "TEMP", "TMP")}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | nowhere, capture_output=True, text=True)
    assert int(done.stdout) >= 2, done.stderr
