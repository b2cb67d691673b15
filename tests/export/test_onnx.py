import json

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
    difference = export(net, images, tmp_path / "model.onnx", metadata={"classes": ["a", "b"]})
    assert difference < 1e-4
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
