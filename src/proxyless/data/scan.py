"""Decoding every image file once before training: damage is found now, small sets stay in memory, and mean
and std are taken.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from proxyless.data.augmentation import SMALL
from proxyless.data.decoding import Header, cpu_count, read_header
from proxyless.data.folder import FileList
from proxyless.data.pixels import Block, Pixels, Ragged
from proxyless.data.preprocessing import Squares, shrink
from proxyless.errors import ProxylessError

SAMPLE = 1000  # headers read to choose image size and channels
CHUNK = 32  # files a thread takes at a time
LARGEST_DEFAULT = 224
# Random crops keep 0.675 of the area on average, so 0.82 of a side: stored this much larger than needed, they
# are not blown up.
OVERSIZE = 1.25

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, sum and sum of squares of pixel values by channel, exact whatever the order they are added in."""

    count: int
    total: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, pixels: np.ndarray) -> Moments:
        """Of uint8 (channels, ...)."""
        flat = pixels.reshape(len(pixels), -1)
        squares = np.square(flat, dtype=np.uint32)
        return cls(flat.shape[1], flat.sum(axis=1, dtype=np.int64), squares.sum(axis=1, dtype=np.int64))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)

    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of values scaled to 0..1, to six digits; the latter at least 1/255, for
        constant images.
        """
        mean = self.total / self.count
        std = np.sqrt(np.maximum(self.squares / self.count - mean**2, 1.0))
        return tuple(round(float(v) / 255, 6) for v in mean), tuple(round(float(v) / 255, 6) for v in std)


@dataclass
class Scan:
    """What came of decoding files: those that are sound, their pixels where kept, moments where asked, and
    what was wrong.
    """

    files: FileList
    images: list[np.ndarray] = field(default_factory=list)
    moments: Moments | None = None
    damaged: dict[str, str] = field(default_factory=dict)

    def pixels(self, kind: Squares) -> Pixels:
        """The kept images: one tensor where all are squares of that size. ``images`` is emptied on the way, to hold
        the set in memory once.
        """
        size = kind.image_size
        if all(image.shape[1:] == (size, size) for image in self.images):
            block = torch.empty((len(self.images), *self.images[0].shape), dtype=torch.uint8)
            for index in range(len(block) - 1, -1, -1):
                block[index] = torch.from_numpy(self.images.pop())
            return Block(block)
        return Ragged(self.images, kind)


def scan(
    root: Path,
    files: FileList,
    *,
    kind: Squares,
    training: bool,
    keep: bool,
    advance: Callable[[int], None] = lambda count: None,
) -> Scan:
    """Decode all ``files`` below ``root`` by a pool of threads (Pillow decodes outside Python's lock).

    ``training``: take the moments of the squares that evaluation sees, and keep images uncut where random
    crops are usual, at ``image_size`` of 64 and more. ``advance`` is told how many more files are done.
    """

    image_size = kind.image_size

    def work(names: Sequence[str]) -> list[tuple[np.ndarray | None, Moments | None] | str]:
        results: list[tuple[np.ndarray | None, Moments | None] | str] = []
        for name in names:
            try:
                image = kind.read(root / name)
            except ProxylessError as error:
                results.append(str(error))
                continue
            pixels = kind.cut(image) if training or keep else None
            moments = Moments.of(pixels) if training and pixels is not None else None
            if keep and training and image_size >= SMALL and image.size != (image_size, image_size):
                pixels = shrink(image, math.ceil(OVERSIZE * image_size))
            results.append((pixels if keep else None, moments))
        return results

    outcome = Scan(files)
    chunks = [files.names[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    pool = ThreadPoolExecutor(cpu_count())
    try:
        for names, results in zip(chunks, pool.map(work, chunks), strict=True):
            for name, result in zip(names, results, strict=True):
                if isinstance(result, str):
                    outcome.damaged[name] = result
                    continue
                pixels, moments = result
                if pixels is not None:
                    outcome.images.append(pixels)
                if moments is not None:
                    outcome.moments = moments if outcome.moments is None else outcome.moments + moments
            advance(len(names))
    finally:
        pool.shutdown(cancel_futures=True)  # so that an interrupt does not wait for all the files
    outcome.files = files.without(set(outcome.damaged))
    return outcome


def sample_headers(root: Path, files: FileList) -> list[Header]:
    """Headers of up to 1,000 of ``files``, evenly spread; those that cannot be read are left out."""
    step = max(1, len(files) // SAMPLE)
    with ThreadPoolExecutor(cpu_count()) as pool:
        headers = pool.map(read_header, [root / name for name in files.names[::step]])
        return [header for header in headers if header is not None]


def usual_size(headers: Sequence[Header]) -> int:
    """A square size in pixels for images of these sizes, at most 224.

    The shorter side that most images share; where there is none, the median, rounded to a multiple of 32 from
    64 on.
    """
    sides = [min(header.width, header.height) for header in headers]
    size, count = Counter(sides).most_common(1)[0]
    if 2 * count <= len(sides):
        size = int(np.median(sides))
        if size >= SMALL:
            size = 32 * round(size / 32)
    return min(size, LARGEST_DEFAULT)


def stored_bytes(headers: Sequence[Header], train: int, held_out: int, image_size: int, channels: int) -> int:
    """Estimated memory in bytes of ``train`` uncut and ``held_out`` square images."""
    square_bytes = channels * image_size**2
    if image_size < SMALL:
        return (train + held_out) * square_bytes
    uncut = []
    for header in headers:
        ratio = min(1.0, OVERSIZE * image_size / min(header.width, header.height))
        uncut.append(channels * header.width * header.height * ratio**2)
    return int(train * float(np.mean(uncut)) + held_out * square_bytes)
