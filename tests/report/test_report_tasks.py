"""Reports of runs whose task is another one than classification."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxyless.report import read_run, render

METRICS = [
    {"name": "rmse", "higher_is_better": False, "percent": False},
    {"name": "r2", "higher_is_better": True, "percent": False},
]
TABLE = {
    "title": "By number",
    "columns": ["Number", "Images", "RMSE", "Found"],
    "rows": [["age", 1200, 3.14159, 0.5], ["<height>", 7, None, 1.0]],
    "percent": ["Found"],
}


@pytest.fixture
def of_numbers(run: Path) -> Path:
    """The made-up run, as one in which a number was learnt."""
    result = json.loads((run / "result.json").read_text())
    for name in ("test_accuracy", "valid_accuracy", "test_balanced_accuracy", "worst_class"):
        result.pop(name, None)
    result |= {"task": "regression", "metric": METRICS[0], "metrics": METRICS, "tables": [TABLE]}
    result |= {"test_rmse": 3.25, "valid_rmse": 3.5, "test_r2": 0.81}
    (run / "result.json").write_text(json.dumps(result))
    data = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps(data | {"classes": ["age"], "labelling": "regression"}))
    (run / "confusion.json").unlink()
    for stage in ("search", "training"):
        path = run / stage / "history.jsonl"
        path.write_text(path.read_text().replace('accuracy"', 'rmse"'))
    return run


def test_the_metrics_of_the_task_stand_where_accuracy_does(of_numbers):
    page = render(read_run(of_numbers))
    assert "Test RMSE" in page
    assert "3.25" in page
    assert "3.5 on validation images" in page
    assert "R2 0.81" in page
    assert "Line chart of RMSE by epoch" in page
    assert ">1 number, images" in page
    assert "ccuracy" not in page


def test_tables_of_the_task_are_shown_as_they_are(of_numbers):
    page = render(read_run(of_numbers))
    assert "<h3>By number</h3>" in page
    for cell in ("1,200", "3.142", "50.0 %", "&lt;height&gt;", "–"):
        assert f">{cell}</" in page


def test_an_unfinished_run_shows_the_metric_of_its_history(of_numbers):
    (of_numbers / "result.json").unlink()
    assert "Line chart of RMSE by epoch" in render(read_run(of_numbers))


def test_runs_of_two_tasks_are_listed_side_by_side_each_with_its_metric(of_numbers, tmp_path):
    from made_up_run import build_run

    other = build_run(tmp_path / "other")
    page = render(read_run(of_numbers), [read_run(other)])
    assert ">Test RMSE</th>" in page
    assert "(accuracy)" in page


@pytest.mark.parametrize(
    "tables", [None, [1], [{"title": 3}], [{"columns": [], "rows": []}], [{"columns": ["a"], "rows": [5]}]]
)
def test_tables_of_another_form_are_left_out(of_numbers, tables):
    result = json.loads((of_numbers / "result.json").read_text())
    (of_numbers / "result.json").write_text(json.dumps(result | {"tables": tables}))
    render(read_run(of_numbers))
