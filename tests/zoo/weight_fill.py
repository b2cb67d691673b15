"""The made-up weights and the input under which golden.json gives outputs of the published networks."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

GOLDEN: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("golden.json").read_text())


def filled(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A value for every tensor of an official state dict that depends on its name and shape alone."""
    return {name: _value(name, tensor) for name, tensor in state.items()}


def _value(name: str, tensor: Tensor) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return tensor
    phase = zlib.crc32(name.encode()) % 1000
    wave = torch.sin(0.731 * torch.arange(tensor.numel(), dtype=torch.float64) + phase)
    if name.endswith("running_var"):
        value = 1 + 0.5 * wave.abs()
    elif name.endswith("running_mean"):
        value = 0.1 * wave
    elif tensor.dim() == 1:
        value = 1 + 0.1 * wave if name.endswith("weight") else 0.1 * wave
    else:
        value = wave * (3 / tensor[0].numel()) ** 0.5
    return value.float().view(tensor.shape)


def wave_image(size: int) -> Tensor:
    """(1, 3, size, size)."""
    return torch.sin(0.137 * torch.arange(3 * size * size, dtype=torch.float64)).float().view(1, 3, size, size)
