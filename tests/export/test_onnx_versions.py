"""ONNX files import what their nodes use, in the lowest versions that mean the same."""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from proxyless.export.onnx import to_onnx
from proxyless.export.onnx_session import run, session
from proxyless.export.onnx_versions import with_lowest_versions
from proxyless.export.quantize import quantized


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


def imported(model: onnx.ModelProto) -> dict[str, int]:
    return {item.domain: item.version for item in model.opset_import}


def test_float_and_int8_files_import_onnx_alone_in_a_version_that_old_runtimes_know():
    images = torch.randn(4, 3, 8, 8)
    content = to_onnx(network(), [images])
    for model in (onnx.load_from_string(content), onnx.load_from_string(quantized(content, [[images.numpy()]]))):
        assert imported(model) == {"": 13}  # Clip, Gemm and QuantizeLinear with an axis are of version 13
        assert model.ir_version == 7
        onnx.checker.check_model(model, full_check=True)


def test_an_operator_that_changed_later_keeps_its_version():
    model = onnx.load_from_string(to_onnx(nn.Hardswish(), [torch.randn(1, 3)]))
    assert imported(model) == {"": 14}  # HardSwish came with it


def test_operators_inside_branches_and_of_other_domains_count():
    def graph(node, name):
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)])

    inside = [
        graph(helper.make_node("HardSwish", ["x"], ["b"]), "yes"),
        graph(helper.make_node("Relu", ["x"], ["b"]), "no"),
    ]
    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=inside[0], else_branch=inside[1]),
        helper.make_node("Gelu", ["y"], ["z"], domain="com.microsoft"),
    ]
    inputs = [helper.make_tensor_value_info("c", TensorProto.BOOL, []), helper.make_tensor_value_info("x", 1, [2])]
    whole = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("z", 1, None)])
    opsets = [
        helper.make_opsetid("", 17),
        helper.make_opsetid("com.microsoft", 1),
        helper.make_opsetid("ai.onnx.ml", 3),
    ]
    model = helper.make_model(whole, opset_imports=opsets)
    with_lowest_versions(model)
    assert imported(model) == {"": 16, "com.microsoft": 1}  # If is of version 16


def test_a_model_with_lowest_versions_computes_what_it_did_before():
    net, images = network(), torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        expected = net(images).numpy()
    assert np.allclose(run(session(to_onnx(net, [images])), images.numpy()), expected, atol=1e-5)
