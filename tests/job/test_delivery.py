"""What fails at the end of a job costs only itself."""

from __future__ import annotations

import json
import shutil

from proxyless import report
from proxyless.cli import main
from proxyless.export import onnx


def test_what_fails_at_the_end_is_told_beside_what_is_kept_and_tried_again_alone(
    finished, config, tmp_path, monkeypatch, capfd
):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    for name in ("result.json", "report.html", "model.onnx"):
        (run / name).unlink()
    before = json.loads((finished[0] / "result.json").read_text())
    words = ["search", "--config", str(config), "--out", str(run), "--quiet"]

    def unwritable(*arguments, **named):
        raise UnicodeEncodeError("utf-8", "\udce9", 0, 1, "surrogates not allowed")

    with monkeypatch.context() as broken:
        broken.setattr(onnx, "export", unwritable)
        broken.setattr(report, "write_report", unwritable)
        assert main(words) == 1
    shown = capfd.readouterr()
    assert shown.err.count("\n") == 1
    assert "model.onnx failed: 'utf-8' codec" in shown.err
    assert "report.html failed: 'utf-8' codec" in shown.err
    assert "the same command tries this again" in shown.err
    assert f"{before['test_accuracy']:.2%}" in shown.out
    result = json.loads((run / "result.json").read_text())
    assert set(result["failures"]) == {"model.onnx", "measuring", "report.html"}
    assert result["test_accuracy"] == before["test_accuracy"]
    assert "unwritable" in (run / "log.jsonl").read_text()
    confused = (run / "confusion.json").stat().st_mtime_ns
    assert main(words) == 0
    after = json.loads((run / "result.json").read_text())
    assert after["failures"] == {}
    assert after["onnx_max_difference"] == before["onnx_max_difference"]
    assert (run / "report.html").exists()
    assert (run / "confusion.json").stat().st_mtime_ns == confused, "what had not failed was done again"
