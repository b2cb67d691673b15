"""ONNX Runtime's telemetry is off wherever the package starts it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import proxyless
from proxyless.bundle.writing import runner_source
from proxyless.export.onnx import to_onnx

QUANTIZE = """
import numpy as np
from proxyless.export.quantize import quantized
from proxyless.export.onnx_session import run, session
images = np.ones((2, 3, 8, 8), np.float32)
run(session(quantized(open({model!r}, "rb").read(), [[images]])), images)
"""
VERSION = """
from proxyless.latency.runtimes import why_unavailable
assert why_unavailable("onnxruntime") is None
"""
BUNDLE = """
import runpy, sys
module = runpy.run_path({runner!r}, run_name="runner")
module["_onnxruntime"]().InferenceSession({model!r})
"""


@pytest.mark.parametrize("code", [QUANTIZE, VERSION, BUNDLE], ids=["quantize", "version", "bundle"])
def test_a_process_without_a_home_writes_nothing_and_prints_nothing(code, tmp_path):
    model, runner, temporary = tmp_path / "model.onnx", tmp_path / "run.py", tmp_path / "tmp"
    temporary.mkdir()
    model.write_bytes(to_onnx(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), [torch.zeros(2, 3, 8, 8)]))
    runner.write_text(runner_source())
    kept = {key: value for key, value in os.environ.items() if key not in ("HOME", "ORT_DISABLE_TELEMETRY")}
    source = str(Path(proxyless.__file__).parent.parent)
    environment = kept | {"TMPDIR": str(temporary), "PYTHONPATH": source}
    done = subprocess.run(
        [sys.executable, "-c", code.format(model=str(model), runner=str(runner))],
        env=environment, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(temporary.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "run.py", "tmp"]


def test_the_users_own_choice_is_kept():
    code = (
        "import os; from proxyless.machine.onnx_runtime import import_onnxruntime;"
        "import_onnxruntime(); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    for given, seen in ((None, "1"), ("0", "0")):
        environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
        environment |= {"ORT_DISABLE_TELEMETRY": given} if given else {}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == seen
