"""Weight gradients in strips as a part of a job: decided by a timing, on record, and the same when a run goes on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import wide_job

from proxyless import ProxylessError, files
from proxyless.job.checkpoints import Checkpoints
from proxyless.job.fast_gradients import plan_of_stage

RECORDS = ("search/gradients.json", "training/gradients.json")
BEGUN = ("config.yaml", "data.json", "initial.pt", "latency.json")
"""What a run folder holds before the search."""


def start(out: Path, batches: int) -> int:
    """Run the job in a process that kills itself after so many batches."""
    return subprocess.run([sys.executable, wide_job.__file__, str(out), str(batches)], capture_output=True).returncode


def test_a_run_that_was_killed_has_the_bits_of_one_that_was_not(tmp_path):
    """Two timings may differ, so both are given the same decisions: for strips, everywhere."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    assert start(killed, 11) == -9
    timed = files.read_json(killed / RECORDS[0])
    assert {name.split(", ")[1] for name in timed} == {"kernel 5 x 5", "kernel 7 x 7"}
    assert all(name.startswith("16 x 48 x 30 x 30, ") and value in (True, False) for name, value in timed.items())
    strips = dict.fromkeys(timed, True)
    for run in (killed, whole):
        for name in RECORDS:
            files.write_json(run / name, strips)
    for name in BEGUN:
        shutil.copy(killed / name, whole / name)
    assert [start(killed, batches) for batches in (20, 42, 10**9)] == [-9, -9, 0]
    wide_job.run(whole)
    for name in ("model.safetensors", "architecture.json", "model.onnx", *RECORDS):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    assert (killed / "log.jsonl").read_text().count("going on after epoch") == 2
    events = [json.loads(line) for line in (killed / "log.jsonl").read_text().splitlines()]
    assert any("of the training" in event.get("text", "") for event in events), "it was never killed in the training"


def stage(folder: Path) -> tuple[Path, Checkpoints]:
    kept = Checkpoints(folder / "checkpoint.pt", folder / "checkpoint.previous.pt", folder / "history.jsonl")
    return folder / "gradients.json", kept


def test_a_stage_that_an_earlier_version_began_keeps_ordinary_gradients(tmp_path):
    record, checkpoints = stage(tmp_path)
    checkpoints.newest.touch()
    assert plan_of_stage(record, checkpoints, wanted=True) is None
    assert not record.exists()


def test_a_new_stage_is_recorded_at_once_and_goes_on_with_its_record(tmp_path):
    record, checkpoints = stage(tmp_path)
    assert plan_of_stage(record, checkpoints, wanted=True).known == {}
    assert files.read_json(record) == {}
    files.write_json(record, {"a convolution": True})
    checkpoints.newest.touch()
    assert plan_of_stage(record, checkpoints, wanted=True).known == {"a convolution": True}


def test_it_can_be_switched_off(tmp_path):
    record, checkpoints = stage(tmp_path)
    assert plan_of_stage(record, checkpoints, wanted=False) is None
    assert not record.exists()


def test_a_record_that_holds_something_else_is_refused_in_a_line(tmp_path):
    record, checkpoints = stage(tmp_path)
    for wrong in ([True], {"a convolution": 1}):
        files.write_json(record, wrong)
        with pytest.raises(ProxylessError, match=r"gradients\.json: does not hold true or false .* remove it"):
            plan_of_stage(record, checkpoints, wanted=True)
