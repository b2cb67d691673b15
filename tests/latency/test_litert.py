import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from proxyless import ProxylessError, Supernet, Zero
from proxyless.architecture import derive
from proxyless.choice import settled
from proxyless.export import litert
from proxyless.latency.device import Device, Precision
from proxyless.latency.runtimes.litert_cpu import LiteRTCpu
from proxyless.modules.operators import example_inputs

DEVICE = Device("phone", runtime="litert")
INT8 = replace(DEVICE, precision=Precision.INT8)

needs_litert = pytest.mark.skipif(
    find_spec("litert_torch") is None or find_spec("ai_edge_litert") is None,
    reason="LiteRT is not installed: pip install 'proxyless[litert]'",
)


def output(prepared) -> np.ndarray:
    """What an inference computes, as real numbers, images channels first."""
    (found,) = prepared.outputs()
    return found


def expected(module: nn.Module, inputs) -> np.ndarray:
    module.eval()
    with torch.no_grad():
        return module(*inputs).numpy()


class Gated(nn.Module):
    """Reads an image and a vector; not the third input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.linear = nn.Linear(7, 5)

    def forward(self, image, vector, unread):
        return self.conv(image) * self.linear(vector)[:, :, None, None]


class Decomposed(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x)


@needs_litert
def test_a_candidate_with_its_shortcut_computes_what_pytorch_does(tiny_net):
    choice = Supernet(tiny_net).choices["first"]
    inputs = example_inputs(((2, 4, 6, 6),))
    module = settled(choice, choice.operations.index("k3"))
    found = output(LiteRTCpu().prepare(module, inputs, DEVICE))
    assert found == pytest.approx(expected(module, inputs), abs=1e-5)


@needs_litert
def test_a_whole_network_computes_what_pytorch_does_on_two_threads(tiny_net):
    network = derive(Supernet(tiny_net), [1, 0])
    inputs = example_inputs(((3, 2, 6, 6),))
    found = output(LiteRTCpu().prepare(network, inputs, replace(DEVICE, threads=2)))
    assert found == pytest.approx(expected(network, inputs), abs=1e-5)


@needs_litert
def test_inputs_reach_the_arguments_they_belong_to_and_an_unread_one_does_no_harm():
    torch.manual_seed(0)
    module, inputs = Gated(), example_inputs(((2, 3, 8, 8), (2, 7), (2, 3, 8, 8)))
    found = output(LiteRTCpu().prepare(module, inputs, DEVICE))
    assert found.shape == (2, 5, 4, 4)
    assert found == pytest.approx(expected(module, inputs), abs=1e-5)


@needs_litert
@pytest.mark.parametrize("device", [DEVICE, INT8], ids=["float32", "int8"])
def test_zero_without_a_shortcut_runs(device):
    assert not output(LiteRTCpu().prepare(Zero(), example_inputs(((1, 4, 6, 6),)), device)).any()


@needs_litert
def test_every_inference_has_a_time():
    times = LiteRTCpu().prepare(nn.Conv2d(2, 4, 3), example_inputs(((1, 2, 6, 6),)), DEVICE).times_ms(7)
    assert times.shape == (7,)
    assert (times > 0).all()


@needs_litert
def test_int8_runs_with_int8_tensors_and_stays_near_pytorch():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU6(), nn.Conv2d(8, 8, 3, padding=1, groups=8))
    inputs = example_inputs(((1, 3, 8, 8),))
    prepared = LiteRTCpu().prepare(module, inputs, INT8)
    assert prepared.session.interpreter.get_input_details()[0]["dtype"] == np.int8
    reference = expected(module, inputs)
    difference = np.abs(output(prepared) - reference).max()
    assert 0 < difference < 0.1 * np.abs(reference).max()


@needs_litert
def test_images_enter_and_leave_without_transpositions():
    block = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6), nn.Conv2d(6, 4, 1))
    interpreter = LiteRTCpu().prepare(block, example_inputs(((1, 3, 8, 8),)), DEVICE).session.interpreter
    assert list(interpreter.get_input_details()[0]["shape"]) == [1, 8, 8, 3]
    assert "TRANSPOSE" not in {operator["op_name"] for operator in interpreter._get_ops_details()}


@needs_litert
def test_the_module_keeps_its_mode():
    module = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2).eval())
    LiteRTCpu().prepare(module, example_inputs(((1, 2, 4, 4),)), DEVICE)
    assert [part.training for part in module.modules()] == [True, True, False]


@needs_litert
def test_an_unknown_operator_is_one_line_with_the_runtime_the_module_and_the_operator():
    with pytest.raises(ProxylessError, match=r"^Decomposed cannot be converted to LiteRT: .*svd[^\n]*$"):
        LiteRTCpu().prepare(Decomposed(), example_inputs(((1, 3, 8, 8),)), DEVICE)


@needs_litert
def test_nothing_is_printed_and_printing_works_again_afterwards():
    """In a process of its own, so that the libraries' first words are heard as well."""
    script = """
import sys, logging, torch
from proxyless.latency.device import Device, Precision
from proxyless.latency.runtimes.litert_cpu import LiteRTCpu
device = Device("phone", runtime="litert", precision=Precision.INT8)
LiteRTCpu().prepare(torch.nn.Conv2d(2, 2, 1), [torch.ones(1, 2, 4, 4)], device).times_ms(1)
print("out")
print("error", file=sys.stderr)
logging.getLogger("mine").warning("logged")
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "out\n"
    first, second = done.stderr.splitlines()
    assert first == "error"
    assert second.endswith("logged")


@needs_litert
def test_the_version_names_the_interpreter_and_the_converter():
    interpreter, converter = LiteRTCpu().version().split(", ")
    assert interpreter[0].isdigit()
    assert converter.startswith("litert-torch ")


@pytest.mark.skipif(find_spec("litert_torch") is not None, reason="LiteRT is installed")
def test_without_the_package_one_line_says_what_to_install():
    for attempt in (
        LiteRTCpu().version,
        lambda: LiteRTCpu().prepare(nn.ReLU(), example_inputs(((1, 2),)), DEVICE),
    ):
        with pytest.raises(
            ProxylessError, match=r"^LiteRT cannot be imported [^\n]*pip install 'proxyless\[litert\]'$"
        ):
            attempt()


@needs_litert
def test_a_measured_file_is_loaded_as_it_is(tiny_net, tmp_path):
    network, path = derive(Supernet(tiny_net), [1, 0]), tmp_path / "model.tflite"
    inputs = example_inputs(((1, 2, 6, 6),))
    litert.export(network, inputs[0], path)
    assert output(LiteRTCpu().load(path, [x.numpy() for x in inputs], DEVICE)) == pytest.approx(
        expected(network, inputs), abs=1e-5
    )
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ProxylessError, match=r"LiteRT"):
        LiteRTCpu().load(path, [x.numpy() for x in inputs], DEVICE)


def test_a_precision_it_does_not_run_is_refused():
    half = replace(DEVICE, precision=Precision.FLOAT16)
    with pytest.raises(ProxylessError, match="float16"):
        LiteRTCpu().prepare(nn.ReLU(), example_inputs(((1, 2),)), half)
