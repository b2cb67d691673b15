"""Trained networks as TFLite files."""

import numpy as np
import pytest
import torch
from torch import nn

from proxyless import ProxylessError, Supernet
from proxyless.architecture import derive
from proxyless.export import litert, litert_session

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
        litert.export(network, images, path, int8=True)
        session = litert_session.Session(path.read_bytes())
        scales.append(float(session.inputs["args_0"]["quantization"][0]))
    assert scales[1] > 1.2 * scales[0]
    reference = expected(network, images[:-1])
    assert np.abs(litert_session.run(session, images[:-1].numpy()) - reference).max() < 0.1 * np.abs(reference).max()


def test_a_file_that_computes_something_else_is_not_written(tiny_net, tmp_path, monkeypatch):
    supernet, convert = Supernet(tiny_net), litert.to_tflite
    other = derive(supernet, [0, 0])
    monkeypatch.setattr(litert, "to_tflite", lambda module, inputs: convert(other, inputs))
    with pytest.raises(ProxylessError, match="outputs differ"):
        litert.export(derive(supernet, [1, 0]), torch.rand(2, 2, 6, 6), tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())
