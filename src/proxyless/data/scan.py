"""Decodes every image file once before training.

This finds damaged files, keeps small data sets in memory, and measures mean and standard deviation.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from proxyless.data.augmentation import SMALL
from proxyless.data.decoding import Header, read_header
from proxyless.data.fingerprints import digest, digest_of_file
from proxyless.data.folder import FileList
from proxyless.data.pixels import Block, Pixels, Ragged
from proxyless.data.preprocessing import Squares, shrink
from proxyless.data.threads import on_each
from proxyless.errors import ProxylessError

SAMPLE = 1000  # headers read to choose image size and channels
LARGEST_DEFAULT = 224
# Random crops keep 0.675 of the area on average, which is 0.82 of a side. Images that are stored this much larger than
# the network needs them are not enlarged again after the crop.
OVERSIZE = 1.25

LARGEST_HELD = 64 << 20  # bytes of a file that is read into memory as a whole

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, sum and sum of squares of pixel values by channel.

    They are whole numbers, so that the result does not depend on the order in which images are added.
    """

    count: int
    total: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, pixels: np.ndarray) -> Moments:
        """Return the moments of uint8 pixels (channels, ...)."""
        flat = pixels.reshape(len(pixels), -1)
        squares = np.square(flat, dtype=np.uint32)
        return cls(flat.shape[1], flat.sum(axis=1, dtype=np.int64), squares.sum(axis=1, dtype=np.int64))

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.count - other.count, self.total - other.total, self.squares - other.squares)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)

    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation of values scaled to 0..1, rounded to six digits.

        The standard deviation is at least 1/255, also for images of one colour.
        """
        mean = self.total / self.count
        std = np.sqrt(np.maximum(self.squares / self.count - mean**2, 1.0))
        return tuple(round(float(v) / 255, 6) for v in mean), tuple(round(float(v) / 255, 6) for v in std)


NO_MOMENTS = Moments(0, np.zeros((), np.int64), np.zeros((), np.int64))
"""Those of no pixels, for any number of channels."""


@dataclass(frozen=True)
class _Seen:
    """What was found in one file that is not damaged."""

    pixels: np.ndarray | None
    moments: Moments
    fingerprint: tuple[int, int]
    colour: bool


@dataclass
class Scan:
    """What was found in decoding files.

    Args:
        files: Those that are not damaged.
        fingerprints: Of these, uint64 (files, 2).
        images: Their pixels, where they are kept.
        moments: Of all their pixels, where asked for.
        colour: How many of them are in colour.
        damaged: What is wrong with the others, by file.
    """

    files: FileList
    fingerprints: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.uint64))
    images: list[np.ndarray] = field(default_factory=list)
    moments: Moments = NO_MOMENTS
    colour: int = 0
    damaged: dict[str, str] = field(default_factory=dict)

    def pixels(self, kind: Squares) -> Pixels:
        """Return the kept images, in one tensor where all are squares of the size of ``kind``.

        This empties ``images``, so that the data set is in memory once.
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
    training: bool = False,
    keep: bool = False,
    advance: Callable[[int], None] = lambda count: None,
) -> Scan:
    """Decode files in several threads; Pillow releases Python's lock while it decodes.

    Args:
        root: The folder they lie below.
        files: Their names and labels.
        kind: How they become squares.
        training: Measure the moments of the squares. Where images are kept and are 64 pixels or larger, keep whole
            images, for random crops.
        keep: Keep the pixels.
        advance: Called with the number of files that have been decoded since the last call.
    """
    side = kind.image_size

    def decode(path: Path) -> _Seen | str:
        try:
            # A file is read from disk once, for its digest and for its pixels; a huge file is not held in memory.
            content = path.read_bytes() if path.stat().st_size <= LARGEST_HELD else None
            image, colour = kind.read(path, content)
            square = kind.cut(image)
            pixels = square if keep else None
            if keep and training and side >= SMALL and image.size != (side, side):
                pixels = shrink(image, math.ceil(OVERSIZE * side))
            fingerprint = (digest_of_file(path) if content is None else digest(content), digest(square))
        except ProxylessError as error:
            return str(error)
        except OSError as error:
            return f"{path}: cannot be read ({error.strerror or error})"
        return _Seen(pixels, Moments.of(square) if training else NO_MOMENTS, fingerprint, colour)

    outcome = Scan(files)
    fingerprints = []
    for name, result in zip(files.names, on_each(decode, root, files.names), strict=True):
        if isinstance(result, str):
            outcome.damaged[name] = result
        else:
            fingerprints.append(result.fingerprint)
            outcome.colour += result.colour
            outcome.moments += result.moments
            if result.pixels is not None:
                outcome.images.append(result.pixels)
        advance(1)
    outcome.files = files.without(outcome.damaged)
    outcome.fingerprints = np.array(fingerprints, np.uint64).reshape(-1, 2)
    return outcome


Rescan = Callable[[FileList, str], Scan]


def rearranged(scans: Mapping[str, Scan], wanted: Mapping[str, FileList], again: Rescan) -> dict[str, Scan]:
    """Move files to other splits.

    Files that come from another split are decoded again, since training images are kept in another form.

    Args:
        scans: The splits as they were.
        wanted: The splits as they are to be.
        again: Scans files for a split.
    """
    result = {}
    for split, files in wanted.items():
        before = scans[split]
        came = again(files.without(set(before.files.names)), split)
        went = again(before.files.without(set(files.names)), split)
        place = {name: number for number, name in enumerate((*before.files.names, *came.files.names))}
        order = [place[name] for name in files.names]
        images = [*before.images, *came.images]
        result[split] = Scan(
            files,
            np.concatenate([before.fingerprints, came.fingerprints])[order],
            [images[number] for number in order] if images else [],
            before.moments + came.moments - went.moments,
            before.colour + came.colour - went.colour,
            before.damaged,
        )
    return result


def sample_headers(root: Path, files: FileList) -> list[Header]:
    """Read the headers of about 1,000 files, drawn from each class by its share, and at least one of each.

    Those that cannot be read are left out.
    """
    share = min(1.0, SAMPLE / max(1, len(files)))
    rng = np.random.default_rng(0)
    chosen: list[int] = []
    for label in np.unique(files.labels):
        members = np.flatnonzero(files.labels == label)
        chosen += rng.choice(members, math.ceil(share * len(members)), replace=False).tolist()
    headers = on_each(read_header, root, [files.names[number] for number in sorted(chosen)])
    return [header for header in headers if header is not None]


def usual_size(headers: Sequence[Header]) -> int:
    """Choose the side in pixels, at most 224, of the squares that images of these sizes become.

    It is the shorter side of more than half of the images. Where there is no such side it is the median, rounded to a
    multiple of 32 from 64 on.
    """
    sides = [min(header.width, header.height) for header in headers]
    size, count = Counter(sides).most_common(1)[0]
    if 2 * count <= len(sides):
        size = int(np.median(sides))
        if size >= SMALL:
            size = 32 * round(size / 32)
    return min(size, LARGEST_DEFAULT)


def stored_bytes(headers: Sequence[Header], train: int, held_out: int, image_size: int, channels: int) -> int:
    """Estimate the memory in bytes of ``train`` whole images and ``held_out`` squares."""
    square_bytes = channels * image_size**2
    if image_size < SMALL:
        return (train + held_out) * square_bytes
    uncut = []
    for header in headers:
        ratio = min(1.0, OVERSIZE * image_size / min(header.width, header.height))
        uncut.append(channels * header.width * header.height * ratio**2)
    return int(train * float(np.mean(uncut)) + held_out * square_bytes)
