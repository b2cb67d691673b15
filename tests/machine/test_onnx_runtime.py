"""ONNX Runtime's telemetry is off wherever the package starts it."""

import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import nn

import proxyless
from proxyless import ProxylessError
from proxyless.bundle import application
from proxyless.export.onnx import to_onnx
from proxyless.machine.onnx_runtime import CPU, XNNPACK, open_session

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
import sys
sys.path.insert(0, {program!r})
from proxyless.machine.onnx_runtime import import_onnxruntime
assert {program!r} in sys.modules["proxyless"].__file__
import_onnxruntime().InferenceSession({model!r})
"""


@pytest.mark.parametrize("code", [QUANTIZE, VERSION, BUNDLE], ids=["quantize", "version", "bundle"])
def test_a_process_without_a_home_writes_nothing_and_prints_nothing(code, tmp_path):
    model, program, temporary = tmp_path / "model.onnx", tmp_path / "run.pyz", tmp_path / "tmp"
    temporary.mkdir()
    model.write_bytes(to_onnx(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), [torch.zeros(2, 3, 8, 8)]))
    application.write(program)
    kept = {key: value for key, value in os.environ.items() if key not in ("HOME", "ORT_DISABLE_TELEMETRY")}
    source = str(Path(proxyless.__file__).parent.parent)
    environment = kept | {"TMPDIR": str(temporary), "PYTHONPATH": source}
    done = subprocess.run(
        [sys.executable, "-c", code.format(model=str(model), program=str(program))],
        env=environment, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(temporary.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "run.pyz", "tmp"]


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


class Session:
    """A loaded model, run by ``provider``."""

    def __init__(self, provider):
        self.provider = provider

    def get_providers(self):
        return [self.provider]


def test_a_provider_that_cannot_be_loaded_is_an_error_and_not_replaced_by_the_cpu(monkeypatch):
    def open_(model, options, providers, enable_fallback):
        assert not enable_fallback  # to the CPU, which would be timed instead
        return Session(CPU)  # what ONNX Runtime does where CUDA's libraries are missing

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_)
    with pytest.raises(ProxylessError, match=r"runs the model by CPU[A-Za-z]*, since CUDA[A-Za-z]* cannot be loaded"):
        open_session(b"", providers=["CUDAExecutionProvider", CPU])


def test_xnnpack_gets_the_threads_and_onnx_runtime_one(monkeypatch):
    asked = []

    def open_(model, options, providers, enable_fallback):
        assert not enable_fallback  # to the CPU, which would be timed instead
        asked.append((options, providers))
        return Session(providers[0][0] if isinstance(providers[0], tuple) else providers[0])

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_)
    open_session(b"", threads=4, providers=[XNNPACK, CPU])
    open_session(b"", threads=4, providers=[CPU])
    (options, providers), (others, _) = asked
    assert options.intra_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert providers == [(XNNPACK, {"intra_op_num_threads": "4"}), CPU]
    assert others.intra_op_num_threads == 4
