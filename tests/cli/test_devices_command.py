import sys

import pytest

from proxyless.cli import main
from proxyless.latency.device import devices
from proxyless.latency.runtimes import gpu


@pytest.fixture
def listed(capsys):
    """Runs the command and returns the row of each device."""

    def run() -> dict[str, str]:
        assert main(["devices"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["device", "runtime", "precision", "threads", "state"]
        assert "--device phone.json" in lines[-1]
        return {line.split()[0]: line for line in lines[1:-1]}

    return run


def test_every_device_has_a_row_with_its_precision_and_state(listed):
    import onnxruntime

    rows = listed()
    assert list(rows) == list(devices())
    assert rows["cpu"].split() == f"cpu ONNX Runtime {onnxruntime.__version__} float32 1 available here".split()
    assert " int8 " in rows["cpu-int8"]
    assert " float16 " in rows["cuda-fp16"]


def test_published_tables_are_listed_with_what_was_measured_and_their_source(listed):
    row = listed()["pixel1"]
    assert "published table" in row
    assert "Google Pixel 1, batch 1; Cai, Zhu, Han: ProxylessNAS" in row


@pytest.mark.parametrize(
    ("package", "name", "mend"),
    [
        ("openvino", "cpu-openvino", "pip install 'proxyless[openvino]'"),
        ("onnxruntime", "cpu", "pip install onnxruntime"),
        ("ai_edge_litert", "cpu-litert", "pip install 'proxyless[litert]'"),
    ],
)
def test_a_missing_package_is_named_and_the_others_are_still_listed(package, name, mend, listed, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    rows = listed()
    assert rows[name].endswith(f"{package} is not installed: {mend}")
    assert rows["cpu-torch"].endswith("available here")


def test_without_a_gpu_its_devices_say_so(listed, monkeypatch):
    monkeypatch.setattr(gpu, "names", lambda: ())
    rows = listed()
    assert all(rows[name].endswith("needs an NVIDIA GPU, and none is found") for name in rows if name[:4] == "cuda")
