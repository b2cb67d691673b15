import io
import json
import re

from rich.console import Console

from proxyless.job.progress import Bar, Logged, PlainLines, Reporter

METRICS = {"loss": 2.012, "accuracy": 0.317, "expected_latency_ms": 0.1312, "probabilities": [[0.5, 0.5]]}


def test_eighty_columns_hold_stage_time_left_loss_accuracy_and_expected_latency():
    file = io.StringIO()
    bar = Bar(Console(file=file, force_terminal=True, width=80))
    bar.stage("search")
    bar.advance(30, 100, METRICS)
    bar.progress.refresh()
    bar.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())
    assert re.search(r"search .* 30% +\S+ left loss 2\.01  accuracy 31\.7%  expected 0\.131 ms", shown)


def test_plain_lines_tell_the_time_left_of_this_process_alone(capsys, monkeypatch):
    """A resumed stage begins at 50 %: the first half took this process no time."""
    clock = [0.0]
    monkeypatch.setattr("proxyless.job.progress.time.monotonic", lambda: clock[0])
    lines = PlainLines(seconds=10)
    lines.stage("search")
    lines.advance(50, 100, METRICS)
    clock[0] = 20.0
    lines.advance(60, 100, METRICS)
    assert "60%" in capsys.readouterr().err.splitlines()[-1]
    clock[0] = 40.0
    lines.advance(70, 100, METRICS)
    assert "60 s left" in capsys.readouterr().err


def test_the_log_holds_what_came_before_its_file_had_a_name(tmp_path):
    log = Logged(Reporter())
    log.stage("data")
    log.note("before")
    log.write_to(tmp_path / "log.jsonl")
    log.stage("search")
    log.advance(1, 1, METRICS)
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["stage", "note", "stage", "progress"]
    assert events[-1]["loss"] == 2.012
    assert "probabilities" not in events[-1]
