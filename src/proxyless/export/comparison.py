"""How far the outputs of an exported network may be from those of PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyless.errors import ProxylessError


def checked_difference(
    found: NDArray[Any], expected: NDArray[Any], path: Path, *, most: float, whose: str = "ONNX Runtime's outputs"
) -> float:
    """The largest absolute difference between two outputs of a network for the same images.

    Args:
        found: what the exported network computes.
        expected: what PyTorch computes.
        path: of the file that is to be written, for the message.
        most: the difference allowed, as a share of the largest expected output, which counts as 1 at least.
        whose: what is compared, for the message.

    Raises:
        ProxylessError: the difference is larger.
    """
    difference = float(np.abs(found - expected).max())
    if difference > most * max(1.0, float(np.abs(expected).max())):
        raise ProxylessError(f"{path}: {whose} differ from PyTorch's by {difference:.2g}; not written")
    return difference
