"""Exported files hold no weights that make a processor slow."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from proxyless.export.onnx import export
from proxyless.export.subnormals import without_subnormals


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    ).eval()


@pytest.mark.parametrize("where", ["weight", "scale of the norm", "bias"])
def test_weights_below_the_normal_numbers_are_zero_in_the_file_and_counted(where, tmp_path):
    net = network()
    with torch.no_grad():
        if where == "weight":
            net[0].weight[0] = 1e-39
        elif where == "scale of the norm":
            net[1].weight[0] = 1e-39  # small only once the norm is folded into the convolution
        else:
            net[5].bias[0] = -1e-40
    exported = export(net, torch.randn(4, 3, 8, 8), tmp_path / "model.onnx", metadata={})
    assert exported.subnormals == (1 if where == "bias" else 27)
    values = [numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer]
    magnitudes = np.abs(np.concatenate([value.ravel() for value in values if value.dtype == np.float32]))
    assert (magnitudes[magnitudes > 0] >= np.finfo(np.float32).tiny).all()


def test_the_smallest_normal_number_stays_and_constants_in_nodes_count():
    smallest = np.finfo(np.float32).tiny
    value = numpy_helper.from_array(np.array([smallest, -smallest / 2, 0, 1], np.float32))
    node = helper.make_node("Constant", [], ["y"], value=value)
    model = helper.make_model(helper.make_graph([node], "g", [], [helper.make_tensor_value_info("y", 1, [4])]))
    assert without_subnormals(model) == 1
    assert numpy_helper.to_array(model.graph.node[0].attribute[0].t).tolist() == [smallest, 0, 0, 1]
