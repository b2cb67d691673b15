"""The pixels of a split: in memory in one size or in several, or in files that are decoded when they are needed."""

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
    """The images of a split, by number."""

    @property
    def reading(self) -> str:
        """What is being read at this moment, in words; empty where nothing is."""
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
    """Whole training images of different sizes in memory, so that random crops can reach every part.

    Large images are stored smaller than they were, and their squares are cut from the smaller image. Images of
    validation and test are stored as squares, in a :class:`Block`.

    All images are in one buffer. A tensor for each would need a file descriptor for each where worker processes are not
    forked.

    Args:
        images: uint8 (channels, height, width) each. The list is emptied, so that the data set is in memory once.
        kind: How images become squares.
    """

    reading = ""

    def __init__(self, images: list[np.ndarray], kind: Squares) -> None:
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
    """Images on disk that are decoded at every access.

    Args:
        root: The folder that the files lie below.
        names: The files.
        kind: How images become squares.
    """

    def __init__(self, root: Path, names: list[str], kind: Squares) -> None:
        self.root = root
        # An array, not a list: reading a list changes the reference counts of its strings, and so copies the memory of
        # a million of them into every forked process.
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
        self.reading = f"{path} has been read"  # for the message of a process that waits
        image, _ = self.kind.read(path)
        self.reading = ""
        return image


def _stack(images: Iterator[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(list(images)))
