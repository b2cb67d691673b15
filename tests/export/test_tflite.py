"""Trained networks as TFLite files."""

import numpy as np
import pytest
import torch
from torch import nn

from proxyless import ProxylessError, Supernet
from proxyless.architecture import derive
from proxyless.export import litert, litert_session
from proxyless.export.calibration import Method
from proxyless.job import model_files
from proxyless.job.run_folder import RunFolder
from proxyless.tasks import Classification

pytest.importorskip("litert_torch", reason="LiteRT is not installed: pip install 'proxyless[litert]'")


def expected(network: nn.Module, images: torch.Tensor) -> np.ndarray:
    network.eval()
    with torch.no_grad():
        return network(images).numpy()


def test_a_file_that_is_no_model_is_one_line():
    with pytest.raises(ProxylessError, match=r"^LiteRT cannot load the model: [^\n]*$"):
        litert_session.Session(b"no model")


@pytest.mark.parametrize("batch", [1, 3])
def test_an_exported_file_computes_what_pytorch_does_for_any_number_of_images(batch, tiny_net, tmp_path):
    network, images = derive(Supernet(tiny_net), [1, 0]), torch.rand(7, 2, 6, 6)
    litert.export(network, images, tmp_path / "model.tflite", batch=batch)
    found = litert_session.run(litert_session.Session((tmp_path / "model.tflite").read_bytes()), images.numpy())
    assert found == pytest.approx(expected(network, images), abs=1e-5)


def test_int8_takes_its_ranges_from_all_the_images(tiny_net, tmp_path):
    network, path = derive(Supernet(tiny_net), [1, 0]), tmp_path / "model.tflite"
    images, scales = torch.rand(6, 2, 6, 6), []
    for largest in (1.0, 10.0):
        images[-1] *= largest
        litert.export(network, images, path)
        session = litert_session.Session(litert.quantized(path.read_bytes(), litert.samples(images, 1)))
        scales.append(float(session.inputs["args_0"]["quantization"][0]))
    assert scales[1] > 1.2 * scales[0]
    reference = expected(network, images[:-1])
    assert np.abs(litert_session.run(session, images[:-1].numpy()) - reference).max() < 0.1 * np.abs(reference).max()


def test_weights_below_the_normal_numbers_are_zero_in_the_file_and_stay_in_the_network():
    from ai_edge_litert.interpreter import Interpreter

    network = nn.Conv2d(2, 4, 3).eval()
    with torch.no_grad():
        network.weight[0] = 1e-39
    interpreter = Interpreter(model_content=litert.to_tflite(network, [torch.rand(1, 2, 6, 6)]))
    interpreter.allocate_tensors()
    found = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_tensor_details() if detail["name"]]
    (weights,) = [values for values in found if values.shape == (4, 3, 3, 2)]
    assert np.count_nonzero(weights) == 54
    assert (np.abs(weights[weights != 0]) > 1.2e-38).all()
    assert (network.weight[0] == 1e-39).all()


def test_samples_fill_whole_inferences():
    images = torch.arange(7.0).reshape(7, 1, 1, 1).expand(7, 2, 3, 4)
    found = litert.samples(images, 3)
    assert [[array.shape for array in sample] for sample in found] == [[(3, 3, 4, 2)]] * 2
    assert [sample[0][:, 0, 0, 0].tolist() for sample in litert.samples(images[:2], 3)] == [[0.0, 1.0, 0.0]]


def test_an_int8_file_is_compared_with_the_float32_one_that_is_written_beside_it(tiny_net, tmp_path):
    network, images, run = derive(Supernet(tiny_net), [1, 0]), torch.rand(12, 2, 6, 6), RunFolder(tmp_path)
    with torch.no_grad():
        labels = network.eval()(images).argmax(dim=1)
    samples = model_files.Samples(images, [(images, labels)], images[:4])
    comparison = model_files.write(run, run.tflite_int8, network, samples, Classification(), batch=2)
    assert comparison is not None
    assert (comparison.samples, comparison.score) == (12, 1.0)
    assert comparison.best.score == model_files.metric_of(run.tflite_int8, [(images, labels)], Classification())
    assert run.tflite.stat().st_size > 0
    times = model_files.briefly_measured(run.tflite_int8, run.tflite, (2, 2, 6, 6))
    assert times.int8.ms > 0 < times.float32.ms


def test_a_file_that_computes_something_else_is_not_written(tiny_net, tmp_path, monkeypatch):
    supernet, convert = Supernet(tiny_net), litert.to_tflite
    other = derive(supernet, [0, 0])
    monkeypatch.setattr(litert, "to_tflite", lambda module, inputs: convert(other, inputs))
    with pytest.raises(ProxylessError, match="outputs differ"):
        litert.export(derive(supernet, [1, 0]), torch.rand(2, 2, 6, 6), tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", [method for method in litert.METHODS if method is not None], ids=str)
def test_ranges_of_int8_do_not_depend_on_the_order_of_the_samples(method, tiny_net):
    """LiteRT's own do: for its moving average the last samples count most."""
    network = derive(Supernet(tiny_net), [1, 0])
    images = torch.rand(12, 2, 6, 6) * torch.linspace(0.1, 3, 12)[:, None, None, None]
    model = litert.to_tflite(network, [images[:1]])
    one, other = (litert.quantized(model, litert.samples(order, 1), method) for order in (images, images.flip(0)))
    assert one == other


def test_rare_large_values_are_left_out_by_percentiles(tiny_net):
    network, images = derive(Supernet(tiny_net), [1, 0]), torch.rand(200, 2, 6, 6)
    images[7, 0, 0, 0] = 1000.0
    model = litert.to_tflite(network, [images[:1]])
    steps = {}
    for method in (Method.MINMAX, Method.PERCENTILE):
        session = litert_session.Session(litert.quantized(model, litert.samples(images, 1), method))
        steps[method] = float(session.inputs["args_0"]["quantization"][0])
    assert steps[Method.MINMAX] == pytest.approx(1000 / 255, rel=0.02)
    assert steps[Method.PERCENTILE] < 0.1 * steps[Method.MINMAX]
