"""The state that a stage keeps: the newest, the one before it, and the course until then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from proxyless import ProxylessError, files
from proxyless.cli import main
from proxyless.job.checkpoints import Checkpoints
from proxyless.job.progress import Reporter


class Loop:
    """As much of a loop as its state takes."""

    epoch = 0

    def state_dict(self):
        return {"epoch": self.epoch, "weights": torch.zeros(3)}

    def load_state_dict(self, state):
        self.epoch = state["epoch"]


class Notes(Reporter):
    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


@pytest.fixture
def kept(tmp_path):
    found = Checkpoints(tmp_path / "checkpoint.pt", tmp_path / "checkpoint.previous.pt", tmp_path / "history.jsonl")
    for epoch in (1, 2, 3):
        for part in (0.5, 1):
            files.append_json_line(found.history, {"epoch": epoch - 1 + part})
        found.save({"epoch": epoch, "weights": torch.full((3,), float(epoch))})
    files.append_json_line(found.history, {"epoch": 3.5})  # of an epoch that a kill cut off
    return found


def epochs(kept):
    return [line["epoch"] for line in files.read_json_lines(kept.history)]


def resumed(kept):
    loop, notes = Loop(), Notes()
    kept.resume(loop, "search", notes)
    return loop.epoch, notes.texts


def test_a_stage_goes_on_from_the_newest_state_and_forgets_what_came_after_it(kept):
    assert resumed(kept) == (3, ["going on after epoch 3 of the search"])
    assert epochs(kept) == [0.5, 1, 1.5, 2, 2.5, 3]


@pytest.mark.parametrize("damage", ["cut", "empty", "zeros", "gone"])
def test_from_a_damaged_state_it_goes_back_to_the_one_before(kept, damage):
    content = kept.newest.read_bytes()
    ways = {"cut": content[: len(content) // 2], "empty": b"", "zeros": bytes(len(content))}
    kept.newest.unlink() if damage == "gone" else kept.newest.write_bytes(ways[damage])
    epoch, notes = resumed(kept)
    assert epoch == 2
    assert epochs(kept) == [0.5, 1, 1.5, 2]
    if damage != "gone":  # a kill between two renames
        assert "checkpoint.pt: no checkpoint of this run" in notes[0]
        assert notes[0].endswith("; taking the one before it")


def test_where_both_are_damaged_the_line_says_how_to_go_on(kept):
    kept.newest.write_bytes(b"x")
    kept.before.write_bytes(b"x")
    with pytest.raises(ProxylessError, match=r"checkpoint\.pt: no checkpoint .*; remove it to start the stage anew"):
        resumed(kept)
    kept.newest.unlink()
    kept.before.unlink()
    assert resumed(kept) == (0, [])
    assert epochs(kept) == [], "the course of a stage that begins anew"


def test_a_run_with_a_damaged_state_comes_to_the_very_same_result(finished, config, tmp_path):
    whole = finished[0]
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    for name in ("result.json", "model.safetensors", "architecture.json"):
        (run / name).unlink()
    for stage in ("search", "training"):
        path = run / stage / "checkpoint.pt"
        path.write_bytes(path.read_bytes()[:1000])
    assert main(["search", "--config", str(config), "--out", str(run), "--quiet"]) == 0
    for name in ("model.safetensors", "model.onnx", "architecture.json", "confusion.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert course(run) == course(whole)
    assert (run / "log.jsonl").read_text().count("taking the one before it") == 2


def course(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "training" / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]
