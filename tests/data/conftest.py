"""Small images on disk for the tests of data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WriteImages = Callable[..., list[Path]]


@pytest.fixture
def write_images() -> WriteImages:
    """Write ``count`` random images of ``size`` (width, height) into a folder; returns their paths."""

    def write(
        folder: Path,
        count: int,
        *,
        size: tuple[int, int] = (12, 12),
        mode: str = "RGB",
        suffix: str = ".png",
        seed: int = 0,
        low: int = 0,
        high: int = 256,
    ) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([seed, *folder.name.encode()])
        depth = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
        paths = []
        for number in range(count):
            pixels = rng.integers(low, high, (size[1], size[0], *depth), dtype=np.uint8)
            paths.append(folder / f"{number:03d}{suffix}")
            Image.fromarray(pixels).save(paths[-1])
        return paths

    return write
