"""Where the pixels of a split lie: in memory as one block, in memory in different sizes, or in files decoded
on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from proxyless.data.decoding import to_array, to_image, without_warnings
from proxyless.data.preprocessing import Squares

if TYPE_CHECKING:
    from PIL import Image


class Pixels(Protocol):
    """The images of a split by number."""

    @property
    def reading(self) -> str:
        """What is being waited for at the moment, in words; empty where there is nothing to wait for."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> torch.Tensor:
        """One image as it is stored: uint8 (channels, height, width)."""
        ...

    def squares(self, indices: np.ndarray) -> torch.Tensor:
        """Images as evaluation sees them: uint8 (len(indices), channels, image_size, image_size)."""
        ...


class Block:
    """Square images of one size in memory: uint8 (images, channels, image_size, image_size)."""

    reading = ""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]

    def squares(self, indices: np.ndarray) -> torch.Tensor:
        return self.images[torch.from_numpy(indices)]


class Ragged:
    """Images of different sizes in memory, uncut, so that random crops reach all of them.

    Those that were made smaller to be stored are squares of the smaller image here: of training images, which
    augmentation crops anyway; what is evaluated is stored as squares.

    They lie back to back in one buffer: a tensor each would cost a file descriptor each where worker
    processes do not fork.
    """

    reading = ""

    def __init__(self, images: list[np.ndarray], kind: Squares) -> None:
        """``images``: uint8 (channels, height, width) each. The list is emptied on the way, to hold the set
        in memory once.
        """
        self.kind = kind
        self.shapes = np.array([image.shape for image in images], np.int64)
        self.ends = np.cumsum(self.shapes.prod(axis=1))
        self.buffer = torch.empty(int(self.ends[-1]), dtype=torch.uint8)
        flat = self.buffer.numpy()
        images.reverse()
        for end in self.ends:
            image = images.pop()
            flat[end - image.size : end] = image.reshape(-1)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> torch.Tensor:
        channels, height, width = (int(size) for size in self.shapes[index])
        end = int(self.ends[index])
        return self.buffer[end - channels * height * width : end].view(channels, height, width)

    def squares(self, indices: np.ndarray) -> torch.Tensor:
        return _stack(self.kind.cut(to_image(self[int(i)].numpy())) for i in indices)


class Files:
    """Images left on disk, decoded at every access."""

    def __init__(self, root: Path, names: list[str], kind: Squares) -> None:
        """``names``: paths below ``root``."""
        self.root = root
        # An array, not a list: a list of a million strings is copied page by page into every forked worker as
        # their reference counts are touched.
        self.names = np.array(names)
        self.kind = kind
        self.reading = ""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> torch.Tensor:
        with without_warnings():
            return torch.from_numpy(to_array(self._read(index)))

    def squares(self, indices: np.ndarray) -> torch.Tensor:
        with without_warnings():
            return _stack(self.kind.cut(self._read(int(i))) for i in indices)

    def _read(self, index: int) -> Image.Image:
        path = self.root / str(self.names[index])
        self.reading = f"{path} has been read"  # asked for by one who waits
        image, _ = self.kind.read(path)
        self.reading = ""
        return image


def _stack(images: Iterator[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(list(images)))
