"""ONNX files that take pixels and normalise them themselves."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from proxyless.data import Preprocessing
from proxyless.export.onnx_pixels import export
from proxyless.export.onnx_session import pixels_of, run, session


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_in_give_what_normalised_images_give(tmp_path, channels):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU6(), nn.Flatten(), nn.Linear(144, 5)).eval()
    how = Preprocessing(8, channels, (0.48, 0.1, 0.9)[:channels], (0.2, 0.004, 0.3)[:channels])
    pixels = np.random.default_rng(0).integers(0, 256, (7, 8, 8, channels), dtype=np.uint8)
    pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255
    images = how.normalise(pixels.transpose(0, 3, 1, 2))
    assert np.array_equal(pixels_of(images, how.to_dict()), pixels)
    metadata = {"classes": ["a"], "preprocessing": how.to_dict()}
    export(network, torch.from_numpy(images), tmp_path / "model.onnx", metadata=metadata)
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    plain = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for count in (1, 7):
        np.testing.assert_allclose(
            plain.run(None, {"input": pixels[:count]})[0], expected[:count], rtol=1e-4, atol=1e-4
        )
    np.testing.assert_allclose(run(session(tmp_path / "model.onnx"), images), expected, rtol=1e-4, atol=1e-4)
    record = json.loads(plain.get_modelmeta().custom_metadata_map["preprocessing"])
    assert record["layout"] == "NHWC uint8"
    assert record["mean"] == list(how.mean)
