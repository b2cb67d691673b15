import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from proxyless import ProxylessError
from proxyless.export.onnx import export, to_onnx
from proxyless.export.onnx_session import run, session


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU6(), nn.Flatten(), nn.Linear(256, 5))


def test_the_file_gives_pytorchs_outputs_for_every_batch_size_and_holds_its_metadata(tmp_path):
    net, images = network().eval(), torch.randn(7, 3, 8, 8)
    exported = export(net, images, tmp_path / "model.onnx", metadata={"classes": ["a", "b"]})
    assert exported.difference < 1e-4
    model = session(tmp_path / "model.onnx")
    for count in (1, 3, 7):
        with torch.no_grad():
            expected = net(images[:count]).numpy()
        assert np.allclose(run(model, images[:count].numpy()), expected, atol=1e-4)
    properties = {p.key: p.value for p in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert json.loads(properties["classes"]) == ["a", "b"]


def test_the_module_keeps_its_mode():
    net = network().train()
    to_onnx(net, [torch.randn(1, 3, 8, 8)])
    assert all(module.training for module in net.modules())


def test_an_operator_without_onnx_is_one_clear_error():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    with pytest.raises(ProxylessError, match="Odd cannot be exported to ONNX") as caught:
        to_onnx(Odd(), [torch.randn(1, 3)])
    assert "\n" not in str(caught.value)


def test_a_model_whose_outputs_differ_is_not_written(tmp_path, monkeypatch):
    from proxyless.export import onnx as module

    monkeypatch.setattr(module, "run", lambda session, images: np.zeros((2, 5), dtype=np.float32))
    with pytest.raises(ProxylessError, match="differ from PyTorch's"):
        export(network(), torch.randn(2, 3, 8, 8), tmp_path / "model.onnx", metadata={})
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_model_is_one_clear_error(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ProxylessError, match="ONNX Runtime cannot load the model"):
        session(tmp_path / "model.onnx")


class Odd(nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)


class Uneven(nn.Module):
    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(x, (3, 5))


@pytest.mark.parametrize(("part", "operator"), [(Odd, "bessel_j0"), (Uneven, "adaptive_avg_pool2d")])
def test_a_failed_export_names_part_and_operator_and_prints_nothing(part, operator, capfd):
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(part()))
    with pytest.raises(ProxylessError) as caught:
        to_onnx(net, [torch.randn(2, 3, 8, 8)])
    assert f"1.0 ({part.__name__}) of Sequential cannot be exported to ONNX" in str(caught.value)
    assert operator in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_what_is_printed_around_an_export_is_shown_in_a_process_of_its_own(tmp_path):
    code = """
import torch
from proxyless import ProxylessError
from proxyless.export.onnx import to_onnx
class Odd(torch.nn.Module):
    def forward(self, x):
        print("inside")
        return torch.special.bessel_j0(x)
print("before")
try:
    to_onnx(Odd(), [torch.zeros(1, 3)])
except ProxylessError as error:
    print("Odd" in str(error))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "before\nTrue\n"


def test_a_damaged_file_is_one_line_and_nothing_is_printed(tmp_path, capfd):
    content = to_onnx(network(), [torch.randn(1, 3, 8, 8)])
    (tmp_path / "model.onnx").write_bytes(content[:-100])
    unreadable = content.replace(b"Conv", b"\xe7\xff\xfe\x80")  # the message of which is no UTF-8
    for model in (tmp_path / "model.onnx", b"no model", unreadable):
        with pytest.raises(ProxylessError) as error:
            session(model)
        assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")
