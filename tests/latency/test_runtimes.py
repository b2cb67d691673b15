import logging
import os
import shutil
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from proxyless import ProxylessError, Supernet, Zero
from proxyless.architecture import derive
from proxyless.choice import settled
from proxyless.export.onnx import to_onnx
from proxyless.export.onnx_session import session
from proxyless.export.quantize import quantized
from proxyless.latency.device import Precision, device, devices
from proxyless.latency.runtimes import RUNTIMES, Format, gpu, runtime, torch_cpu, why_unavailable
from proxyless.latency.runtimes.onnxruntime_cuda import _Bound, half
from proxyless.modules.operators import example_inputs

FLOAT32 = ("cpu", "cpu-torch", "cpu-openvino")
ON_GPU = tuple(name for name, known in devices().items() if known.here and RUNTIMES.get(known.runtime).gpu)


def usable(name: str):
    """The device called ``name``, or a skipped test where what it needs is not here."""
    reason = why_unavailable(device(name).runtime)
    if reason:
        pytest.skip(reason)
    return device(name)


def prepared(name: str, module: nn.Module, inputs, **changes):
    chosen = replace(usable(name), **changes)
    return runtime(chosen.runtime).prepare(module, inputs, chosen)


def arrays(inputs) -> list[np.ndarray]:
    return [x.numpy() for x in inputs]


def expected(module: nn.Module, inputs) -> np.ndarray:
    module.eval()
    with torch.no_grad():
        return module(*inputs).numpy()


class Block(nn.Module):
    """An inverted bottleneck with its shortcut, and running statistics that are not those of a new network."""

    def __init__(self, channels: int = 8, wide: int = 24) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        for norm in self.body:
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.uniform_(norm.running_mean, -0.5, 0.5)
                nn.init.uniform_(norm.running_var, 0.5, 2.0)

    def forward(self, x):
        return x + self.body(x)


class Gated(nn.Module):
    """Reads an image and a vector; not the third input."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.linear = nn.Linear(7, 5)

    def forward(self, image, vector, unread):
        return self.conv(image) * self.linear(vector)[:, :, None, None]


class Decomposed(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x)


class Broken(nn.Module):
    def forward(self, x):
        raise ValueError("no good\nat all")


class Threads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def __deepcopy__(self, memo):
        return self

    def forward(self, x):
        self.seen.add(torch.get_num_threads())
        return x


BLOCK = example_inputs(((2, 8, 10, 10),))


# -- what is timed is what was asked for --


@pytest.mark.parametrize("name", FLOAT32)
def test_a_block_computes_what_pytorch_does(name):
    module = Block()
    found = prepared(name, module, BLOCK).outputs()
    assert len(found) == 1
    assert found[0] == pytest.approx(expected(module, BLOCK), abs=1e-5)


@pytest.mark.parametrize("name", FLOAT32)
def test_a_candidate_and_a_whole_network_compute_what_pytorch_does_on_two_threads(name, tiny_net):
    supernet = Supernet(tiny_net)
    candidate = settled(supernet.choices["first"], 1)
    for module, shape in ((candidate, (2, 4, 6, 6)), (derive(supernet, [1, 0]), (3, 2, 6, 6))):
        inputs = example_inputs((shape,))
        found = prepared(name, module, inputs, threads=2).outputs()
        assert found[0] == pytest.approx(expected(module, inputs), abs=1e-5)


@pytest.mark.parametrize("name", FLOAT32)
def test_inputs_reach_the_arguments_they_belong_to_and_an_unread_one_does_no_harm(name):
    module, inputs = Gated(), example_inputs(((2, 3, 8, 8), (2, 7), (2, 3, 8, 8)))
    assert prepared(name, module, inputs).outputs()[0] == pytest.approx(expected(module, inputs), abs=1e-5)


@pytest.mark.parametrize("name", [*FLOAT32, "cpu-int8"])
@pytest.mark.parametrize("module", [Zero(), nn.Identity(), nn.AvgPool2d(2), nn.MaxPool2d(2), nn.ReLU()], ids=repr)
def test_a_module_without_weights_runs(name, module):
    inputs = example_inputs(((1, 4, 6, 6),))
    reference = expected(module, inputs)
    found = prepared(name, module, inputs).outputs()[0]
    assert np.broadcast_to(found, reference.shape) == pytest.approx(reference, abs=0.02)


@pytest.mark.parametrize("name", [*FLOAT32, "cpu-int8"])
def test_every_inference_has_a_time_and_the_module_keeps_its_mode_and_layout(name):
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4).eval())
    times = prepared(name, module, example_inputs(((1, 2, 6, 6),))).times_ms(7)
    assert times.shape == (7,)
    assert (times > 0).all()
    assert [part.training for part in module.modules()] == [True, True, False]
    assert module[0].weight.is_contiguous()


@pytest.mark.parametrize("name", ["cpu", "cpu-openvino"])
def test_an_exported_file_with_a_free_batch_computes_what_pytorch_does(name, tmp_path):
    module, path = Block(), tmp_path / "model.onnx"
    path.write_bytes(to_onnx(module, [x[:1] for x in BLOCK]))
    chosen = usable(name)
    program = runtime(chosen.runtime)
    assert RUNTIMES.get(chosen.runtime).format is Format.ONNX
    assert program.load(path, arrays(BLOCK), chosen).outputs()[0] == pytest.approx(expected(module, BLOCK), abs=1e-5)


@pytest.mark.parametrize("name", ["cpu-torch", "cpu-torch-compile"])
def test_pytorch_measures_modules_and_refuses_onnx_files(name):
    program = runtime(device(name).runtime)
    assert RUNTIMES.get(device(name).runtime).format is Format.MODULE
    with pytest.raises(ProxylessError, match=r"^PyTorch cannot run an exported file; measure the module$"):
        program.load(Path("model.onnx"), arrays(BLOCK), device(name))


# -- threads and precision --


def test_onnx_runtime_has_the_threads_of_the_device():
    options = prepared("cpu", nn.ReLU(), BLOCK, threads=2).session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)


@pytest.mark.skipif(os.cpu_count() == 1, reason="a second thread has no core to spin on")
def test_the_threads_of_onnx_runtime_leave_the_cores_to_the_next_session_at_once():
    found = prepared("cpu", nn.Conv2d(16, 64, 3), [torch.randn(1, 16, 64, 64)], threads=2)
    spent = []
    for _ in range(5):
        found.times_ms(3)
        before = time.process_time()
        time.sleep(0.04)
        spent.append(time.process_time() - before)
    assert min(spent) < 0.01


def test_openvino_has_the_threads_of_the_device_and_stays_in_float32():
    compiled = prepared("cpu-openvino", Block(), BLOCK, threads=2).compiled
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 2
    assert compiled.get_property("NUM_STREAMS") == 1
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"


def test_pytorch_has_the_threads_of_the_device_during_inference_only():
    before, module = torch.get_num_threads(), Threads()
    found = prepared("cpu-torch", module, BLOCK, threads=before + 1)
    found.times_ms(2)
    assert module.seen == {before + 1}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("name", "precision"), [("cpu", "float16"), ("cpu-torch", "int8"), ("cpu-openvino", "int8")])
def test_a_precision_that_a_runtime_has_not_is_refused(name, precision):
    with pytest.raises(ProxylessError, match=f"^device {name}: .* here, not {precision}$"):
        prepared(name, nn.ReLU(), BLOCK, precision=Precision(precision))


# -- int8 --


def test_an_int8_block_is_near_pytorch_and_not_the_same():
    module = Block()
    reference = expected(module, BLOCK)
    difference = np.abs(prepared("cpu-int8", module, BLOCK).outputs()[0] - reference).max()
    assert 0 < difference < 0.05 * np.abs(reference).max()


def test_every_convolution_and_its_bias_is_quantised_where_biases_are_equal():
    """A new network: its norms are folded into zero biases, which the exporter writes once for all that are alike."""
    module = nn.Sequential(
        *(layer for _ in range(3) for layer in (nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU6()))
    ).eval()
    inputs = example_inputs(((1, 4, 5, 5),))
    graph = onnx.load_from_string(quantized(to_onnx(module, inputs), [[x.numpy() for x in inputs]])).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 3
    assert {made_by[name] for node in convolutions for name in node.input} == {"DequantizeLinear"}
    assert "Clip" not in made_by.values()  # done by the range of what follows


def test_each_output_channel_of_the_weights_has_its_own_scale():
    module = nn.Conv2d(1, 2, 1, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([1.0, 0.001]).reshape(2, 1, 1, 1))
    x = example_inputs(((1, 1, 3, 3),))
    graph = onnx.load_from_string(quantized(to_onnx(module, x), [[v.numpy() for v in x]])).graph
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    (weights,) = (node for node in graph.node if len(values.get(node.input[0], np.empty(0)).shape) == 4)
    integers, scales = values[weights.input[0]], values[weights.input[1]]
    assert (integers.ravel() * scales.ravel()).tolist() == pytest.approx([1.0, 0.001], rel=0.01)


def test_the_ranges_are_those_of_all_samples():
    module = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(module.weight)
    narrow, wide = np.full((1, 1, 1, 1), 0.1, np.float32), np.full((1, 1, 1, 1), 50.0, np.float32)
    model = to_onnx(module, [torch.from_numpy(wide)])
    clipped = session(quantized(model, [[narrow]])).run(None, {"input": wide})[0]
    whole = session(quantized(model, [[narrow], [wide]])).run(None, {"input": wide})[0]
    assert clipped.item() == pytest.approx(0.1, abs=0.01)
    assert whole.item() == pytest.approx(50, abs=0.5)


def test_quantising_keeps_the_free_batch_and_the_metadata_and_adds_none():
    module = Block()
    model = onnx.load_from_string(to_onnx(module, BLOCK))
    onnx.helper.set_model_props(model, {"classes": "[1, 2]"})
    found = quantized(model.SerializeToString(), [[x.numpy() for x in BLOCK]])
    assert {item.key: item.value for item in onnx.load_from_string(found).metadata_props} == {"classes": "[1, 2]"}
    onnx.checker.check_model(found)
    x = example_inputs(((5, 8, 10, 10),))[0].numpy()
    assert session(found).run(None, {"input": x})[0].shape == (5, 8, 10, 10)


def test_quantising_is_silent_and_leaves_logging_and_temporary_files_as_they_were(capfd, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    handlers, disabled = list(logging.root.handlers), logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared("cpu-int8", Block(), BLOCK).times_ms(2)
    assert capfd.readouterr() == ("", "")
    assert logging.root.handlers == handlers
    assert logging.root.manager.disable == disabled
    assert list(tmp_path.iterdir()) == []


def test_quantising_without_samples_is_refused():
    with pytest.raises(ProxylessError, match="no samples"):
        quantized(to_onnx(nn.ReLU(), BLOCK), [])


# -- torch.compile --


def test_compiled_modules_compute_what_pytorch_does_with_their_weights_frozen(capfd):
    if shutil.which(torch_cpu._compiler()) is None:
        pytest.skip("torch.compile needs a C++ compiler, and there is none")
    from torch._dynamo.utils import counters
    from torch._inductor import config

    inputs = example_inputs(((1, 2, 4, 4),))
    module = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False), nn.BatchNorm2d(3)).eval()
    nn.init.uniform_(module[1].running_mean)
    counters.clear()
    made = prepared("cpu-torch-compile", module, inputs)
    folded = counters["inductor"]["binary_folding_conv"]
    assert folded > 0, "the norm was not folded into the convolution"
    assert made.outputs()[0] == pytest.approx(expected(module, inputs), abs=1e-5)
    made.times_ms(2)
    assert counters["stats"]["unique_graphs"] == 1, "compiled again when it was timed"
    assert not config.freezing
    assert capfd.readouterr() == ("", "")


def test_compiled_modules_of_one_class_do_not_share_their_code():
    # From the ninth graph of one code object on, PyTorch runs the module uncompiled.
    runs = [torch_cpu._apart(nn.ReLU()) for _ in range(10)]
    assert len({id(run.__code__) for run in runs}) == 10
    assert runs[3](torch.tensor([-1.0, 2.0])).tolist() == [0, 2]


def test_torch_compile_without_a_compiler_is_one_line(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no-such-compiler is not found" in str(why_unavailable("torch-compile"))
    with pytest.raises(ProxylessError, match=r"^torch.compile needs a C\+\+ compiler[^\n]*cpu-torch$"):
        runtime("torch-compile").prepare(nn.ReLU(), BLOCK, device("cpu-torch-compile"))


# -- what cannot be run --


@pytest.mark.parametrize("name", ["cpu", "cpu-int8", "cpu-openvino"])
def test_an_operator_that_onnx_has_not_is_one_line_with_the_class_and_the_operator(name):
    with pytest.raises(ProxylessError, match=r"^Decomposed cannot be exported to ONNX: [^\n]*svd[^\n]*$"):
        prepared(name, Decomposed(), example_inputs(((1, 1, 3, 3),)))


@pytest.mark.parametrize("name", ["cpu-torch"])
def test_a_module_that_raises_is_one_line_with_its_class_and_the_runtime(name):
    with pytest.raises(ProxylessError, match=r"^Broken cannot be run by PyTorch: no good$"):
        prepared(name, Broken(), BLOCK)


@pytest.mark.parametrize(("name", "title"), [("cpu", "ONNX Runtime"), ("cpu-openvino", "OpenVINO")])
def test_a_file_that_is_no_model_is_one_line_with_the_runtime(name, title, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    chosen = usable(name)
    with pytest.raises(ProxylessError, match=rf"^[^\n]*{title}[^\n]*$"):
        runtime(chosen.runtime).load(path, arrays(BLOCK), chosen)


@pytest.mark.parametrize("name", ["cpu", "cpu-openvino"])
def test_a_file_is_run_whatever_its_folder_is_called(name, tmp_path):
    chosen = usable(name)
    folder = tmp_path / os.fsdecode(b"r\xe9sultats\xff")  # not UTF-8, which these libraries want
    folder.mkdir()
    path = folder / "model.onnx"
    path.write_bytes(to_onnx(Block().eval(), BLOCK))
    found = runtime(chosen.runtime).load(path, arrays(BLOCK), chosen).outputs()[0]
    assert found.shape == tuple(Block().eval()(*BLOCK).shape)


def test_an_unknown_runtime_names_those_there_are():
    with pytest.raises(ProxylessError, match="no runtime called 'paper': there is onnxruntime, torch"):
        runtime("paper")


@pytest.mark.parametrize("name", RUNTIMES.names())
def test_a_missing_package_is_one_line_with_what_to_install(name, monkeypatch):
    program = RUNTIMES.get(name)
    monkeypatch.setitem(sys.modules, program.packages[0], None)
    mend = f"{program.packages[0]} is not installed: pip install {program.install}"
    assert why_unavailable(name) == mend
    with pytest.raises(ProxylessError) as raised:
        runtime(name)
    assert str(raised.value) == f"{program.title}: {mend}"


@pytest.mark.parametrize("name", [name for name in RUNTIMES.names() if RUNTIMES.get(name).gpu])
def test_a_missing_gpu_is_one_line(name, monkeypatch):
    monkeypatch.setattr(gpu, "names", lambda: ())
    assert why_unavailable(name) == "needs an NVIDIA GPU, and none is found"
    with pytest.raises(ProxylessError, match=r"^[\w. ]+: needs an NVIDIA GPU, and none is found$"):
        runtime(name)


def test_a_package_without_gpu_support_says_so(monkeypatch):
    import onnxruntime

    monkeypatch.setattr(gpu, "names", lambda: ("some GPU",))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert "has no CUDAExecutionProvider: pip install" in str(why_unavailable("onnxruntime-cuda"))
    assert "has no TensorrtExecutionProvider: pip install" in str(why_unavailable("onnxruntime-tensorrt"))


def test_a_broken_package_is_a_reason_and_no_error(monkeypatch):
    class Torn:
        def version(self):
            raise OSError("libtorn.so: cannot open shared object file\nmore")

    monkeypatch.setattr(torch_cpu, "TorchCpu", Torn)
    assert why_unavailable("torch") == "PyTorch: libtorn.so: cannot open shared object file"


# -- on a GPU --


@pytest.mark.parametrize("name", ON_GPU)
def test_on_a_gpu_a_block_computes_what_pytorch_does(name):
    module, chosen = Block(), usable(name)
    made = prepared(name, module, BLOCK)
    tolerance = 0.05 if chosen.precision is Precision.FLOAT16 else 5e-3  # of TF32
    assert made.outputs()[0] == pytest.approx(expected(module, BLOCK), abs=tolerance)
    times = made.times_ms(5)
    assert times.shape == (5,)
    assert (times > 0).all()


def test_bound_inputs_and_outputs_are_those_of_the_model():
    """The binding itself, in the host's memory, so that it is tested without a GPU."""
    module, inputs = Gated(), example_inputs(((2, 3, 8, 8), (2, 7), (2, 3, 8, 8)))
    bound = _Bound(session(to_onnx(module, inputs, dynamic_batch=False)), arrays(inputs), "cpu")
    assert bound.outputs()[0] == pytest.approx(expected(module, inputs), abs=1e-5)
    assert (bound.times_ms(3) > 0).all()
    assert bound.outputs()[0] == pytest.approx(expected(module, inputs), abs=1e-5)


def test_half_precision_covers_inputs_and_outputs():
    module = Block()
    bound = _Bound(session(half(to_onnx(module, BLOCK, dynamic_batch=False))), arrays(BLOCK), "cpu")
    found = bound.outputs()[0]
    assert found.dtype == np.float16
    assert found.astype(np.float32) == pytest.approx(expected(module, BLOCK), abs=0.05)
