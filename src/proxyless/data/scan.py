"""Decoding every image file once before training: damage is found now, small sets stay in memory, and mean
and std are taken.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from proxyless.data.augmentation import SMALL
from proxyless.data.decoding import Header, read_header, without_warnings
from proxyless.data.fingerprints import digest, digest_of_file
from proxyless.data.folder import FileList
from proxyless.data.pixels import Block, Pixels, Ragged
from proxyless.data.preprocessing import Squares, shrink
from proxyless.errors import ProxylessError
from proxyless.machine.system import usable_cores

SAMPLE = 1000  # headers read to choose image size and channels
CHUNK = 32  # files a thread takes at a time
LARGEST_DEFAULT = 224
# Random crops keep 0.675 of the area on average, so 0.82 of a side: stored this much larger than needed, they
# are not blown up.
OVERSIZE = 1.25

LARGEST_HELD = 64 << 20  # bytes of a file

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

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.count - other.count, self.total - other.total, self.squares - other.squares)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)

    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of values scaled to 0..1, to six digits; the latter at least 1/255, for
        constant images.
        """
        mean = self.total / self.count
        std = np.sqrt(np.maximum(self.squares / self.count - mean**2, 1.0))
        return tuple(round(float(v) / 255, 6) for v in mean), tuple(round(float(v) / 255, 6) for v in std)


@dataclass(frozen=True)
class _Seen:
    """What one sound file came to."""

    pixels: np.ndarray | None
    moments: Moments | None
    fingerprint: tuple[int, int]
    colour: bool


@dataclass
class Scan:
    """What came of decoding files: those that are sound, their fingerprints uint64 (files, 2), pixels where kept,
    moments where asked, how many of them are in colour, and what was wrong.
    """

    files: FileList
    fingerprints: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.uint64))
    images: list[np.ndarray] = field(default_factory=list)
    moments: Moments | None = None
    colour: int = 0
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

    def see(name: str) -> _Seen:
        path = root / name
        # Once from the disk, for its digest and for its pixels; a file that is huge is not held in memory.
        content = path.read_bytes() if path.stat().st_size <= LARGEST_HELD else None
        image, colour = kind.read_with_kind(path, content)
        square = kind.cut(image)
        pixels = square if keep else None
        if keep and training and image_size >= SMALL and image.size != (image_size, image_size):
            pixels = shrink(image, math.ceil(OVERSIZE * image_size))
        fingerprint = (digest_of_file(path) if content is None else digest(content), digest(square))
        return _Seen(pixels, Moments.of(square) if training else None, fingerprint, colour)

    def work(names: Sequence[str]) -> list[_Seen | str]:
        results: list[_Seen | str] = []
        for name in names:
            try:
                results.append(see(name))
            except ProxylessError as error:
                results.append(str(error))
            except OSError as error:
                results.append(f"{root / name}: cannot be read ({error.strerror or error})")
        return results

    outcome = Scan(files)
    fingerprints = []
    chunks = [files.names[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    pool = ThreadPoolExecutor(usable_cores())
    try:
        with without_warnings():
            for names, results in zip(chunks, pool.map(work, chunks), strict=True):
                for name, result in zip(names, results, strict=True):
                    if isinstance(result, str):
                        outcome.damaged[name] = result
                        continue
                    fingerprints.append(result.fingerprint)
                    outcome.colour += result.colour
                    if result.pixels is not None:
                        outcome.images.append(result.pixels)
                    if result.moments is not None:
                        moments = outcome.moments
                        outcome.moments = result.moments if moments is None else moments + result.moments
                advance(len(names))
    finally:
        pool.shutdown(cancel_futures=True)  # so that an interrupt does not wait for all the files
    outcome.files = files.without(outcome.damaged)
    outcome.fingerprints = np.array(fingerprints, np.uint64).reshape(-1, 2)
    return outcome


Rescan = Callable[[FileList, str], Scan]


def rearranged(scans: Mapping[str, Scan], wanted: Mapping[str, FileList], again: Rescan) -> dict[str, Scan]:
    """The same files in other splits. What changed sides is decoded again, since training images are kept otherwise;
    ``again(files, split)`` scans them.
    """
    result = {}
    for split, files in wanted.items():
        before = scans[split]
        came = again(files.without(set(before.files.names)), split)
        went = again(before.files.without(set(files.names)), split)
        moments = before.moments
        if moments is not None:
            moments = moments + came.moments if came.moments is not None else moments
            moments = moments - went.moments if went.moments is not None else moments
        place = {name: number for number, name in enumerate((*before.files.names, *came.files.names))}
        order = [place[name] for name in files.names]
        images = [*before.images, *came.images]
        result[split] = Scan(
            files,
            np.concatenate([before.fingerprints, came.fingerprints])[order],
            [images[number] for number in order] if images else [],
            moments,
            before.colour + came.colour - went.colour,
            before.damaged,
        )
    return result


def sample_headers(root: Path, files: FileList) -> list[Header]:
    """Headers of about 1,000 of ``files``, drawn from each class by its share, at least one; those that cannot be
    read are left out.
    """
    share = min(1.0, SAMPLE / max(1, len(files)))
    rng = np.random.default_rng(0)
    chosen: list[int] = []
    for label in np.unique(files.labels):
        members = np.flatnonzero(files.labels == label)
        chosen += rng.choice(members, math.ceil(share * len(members)), replace=False).tolist()
    with without_warnings(), ThreadPoolExecutor(usable_cores()) as pool:
        headers = pool.map(read_header, [root / files.names[number] for number in sorted(chosen)])
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
