"""What the tests of the report make up is what the pipeline writes, and all kinds of runs have a page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxyless.report import read_run, render, search

SAMPLES = Path(__file__).parents[1] / "versions" / "0.1.0"
BY_NAME = ("choices", "versions", "preprocessing", "per_class")
"""Keys whose value has names for keys: of choices and packages, or of what the report only copies."""


def keys(value: Any, where: str = "") -> Iterator[str]:
    """The keys of nested objects, such as ``networks.role=check``."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, str) and name in ("role", "stage"):
                yield f"{where}{name}={inner}"
            else:
                yield where + name
                if name not in BY_NAME:
                    yield from keys(inner, f"{where}{name}.")
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner, where)


def written(run: Path) -> dict[str, set[str]]:
    """The keys of each file of a run that the report reads."""
    lines = {
        name: [json.loads(line) for line in (run / name).read_text().splitlines()]
        for name in ("search/history.jsonl", "training/history.jsonl")
    }
    names = ("latency", "architecture", "result", "data", "model", "confusion")
    wholes = {f"{name}.json": json.loads((run / f"{name}.json").read_text()) for name in names}
    return {name: set(keys(value)) for name, value in (lines | wholes).items()}


def test_the_made_up_run_holds_nothing_that_no_run_writes(run: Path, finished) -> None:
    real = written(finished[0])
    for name, made_up in written(run).items():
        assert made_up <= real[name], name


@pytest.mark.parametrize("name", ["finished", "in-search", "in-training", "of-photos"])
def test_a_run_of_version_0_1_0_has_its_page(name: str) -> None:
    page = render(read_run(SAMPLES / name))
    assert 'id="settings"' in page
    assert ('id="result"' in page) == ('id="latency"' in page) is True
    assert "in the stages that have been timed" in page


def test_a_finished_run_is_drawn_with_its_warmup_and_every_block(finished) -> None:
    run = read_run(finished[0])
    page = render(run)
    assert f"of the {len(run.choices)} blocks of its space" in page
    assert 'class="shade"' in str(search.section(run))
    assert "networks it had not seen" in page
