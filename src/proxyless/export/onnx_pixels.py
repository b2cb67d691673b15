"""Networks as ONNX that take pixels of 8 bits, with division by 255, mean and standard deviation inside the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from proxyless.export import onnx
from proxyless.export.comparison import checked_difference
from proxyless.export.onnx_session import pixels_of
from proxyless.modules.modes import evaluation

INPUT = {"range": "0 to 255; mean and std are taken out inside the file", "layout": "NHWC uint8"}
"""Where the record of preprocessing in such a file differs from that in other files."""


class FromPixels(nn.Module):
    """A network that takes uint8 pixels (batch, height, width, channels), as Pillow and numpy lay images out."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        outputs: Tensor = self.network((pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std)
        return outputs


def export(network: nn.Module, images: Tensor, path: Path, *, metadata: Mapping[str, Any]) -> onnx.Exported:
    """Write a network as an ONNX file that takes uint8 pixels, once its outputs have been compared with PyTorch's.

    Args:
        network: the trained network, which takes normalised images.
        images: normalised images (batch, channels, height, width) of the data the network is for.
        path: the file.
        metadata: JSON values stored in the model; ``preprocessing`` among them has the mean and std.

    Raises:
        ProxylessError: the outputs differ by more than 1e-4 of their largest; nothing is written then.
    """
    preprocessing = metadata["preprocessing"]
    whole = FromPixels(network, preprocessing["mean"], preprocessing["std"])
    pixels = torch.from_numpy(pixels_of(images.numpy(), preprocessing))
    with evaluation(whole), torch.no_grad():
        expected, found = network(images).numpy(), whole(pixels).numpy()
    checked_difference(found, expected, path, most=1e-4, whose="outputs from pixels")
    return onnx.export(whole, pixels, path, metadata={**metadata, "preprocessing": {**preprocessing, **INPUT}})
