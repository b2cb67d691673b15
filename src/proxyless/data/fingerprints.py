"""Recognises images by their content, wherever their files are.

Fingerprints are digests, uint64 (images, 2). The first is of the bytes of the file, the second of the square of 8-bit
pixels that a network sees. In a published data set, which has no image files, both are of the pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from proxyless.data.threads import on_each
from proxyless.errors import ProxylessError

FILE, PIXELS = 0, 1
PIECE = 1 << 22  # bytes read at a time


def digest(content: Any) -> int:
    """Return 64 bits that stand for some bytes.

    Among a million different images two agree by chance in one of 30 million data sets.
    """
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def digest_of_file(path: Path) -> int:
    """Return the :func:`digest` of a file, of any size."""
    state = hashlib.blake2b(digest_size=8)
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                state.update(piece)
    except OSError as error:
        raise ProxylessError(f"{path}: cannot be read ({error.strerror or error})") from None
    return int.from_bytes(state.digest(), "little")


def digests_of_files(root: Path, names: Sequence[str]) -> np.ndarray:
    """Return the digest of each file: uint64 (files,)."""
    return np.fromiter(on_each(digest_of_file, root, names), np.uint64, len(names))


def of_split(digests: np.ndarray, labels: np.ndarray) -> str:
    """Combine the digests of files and what is learnt of them into one digest of a split.

    Args:
        digests: Of the files, uint64 (images,).
        labels: Classes, int64 (images,), or numbers, float32 (images, numbers).
    """
    classes = labels.astype("<u8") if labels.ndim == 1 else np.zeros(len(labels), "<u8")
    state = hashlib.blake2b(np.stack([digests.astype("<u8"), classes], axis=1).tobytes(), digest_size=16)
    if labels.ndim > 1:
        state.update(labels.astype("<f4").tobytes())
    return state.hexdigest()


def copies(keys: np.ndarray, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Group the names of images with the same picture; pictures that come once are left out.

    Args:
        keys: Digests, uint64 (images,).
        names: Of the images.
    """
    order = np.lexsort((np.arange(len(keys)), keys))
    ends = np.flatnonzero(np.diff(keys[order])) + 1
    groups = [group for group in np.split(order, ends) if len(group) > 1]
    return sorted(tuple(sorted(names[number] for number in group)) for group in groups)


def shared(keys: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Count the images of a split whose picture is in another split too.

    Args:
        keys: Digests of each split, uint64 (images,).

    Returns:
        The images of ``other`` that are in ``one`` too, by ``one/other``, where there are some.
    """
    counts = {f"{one}/{other}": int(np.isin(keys[other], keys[one]).sum()) for one, other in combinations(keys, 2)}
    return {splits: count for splits, count in counts.items() if count}


def under_two_labels(keys: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the indices of images whose picture has another label too, picture by picture: int64 (images,)."""
    order = np.lexsort((labels, keys))
    _, start = np.unique(keys[order], return_index=True)
    groups = np.split(order, start[1:])
    several = [group for group in groups if len(group) > 1 and len(np.unique(labels[group])) > 1]
    return np.concatenate(several) if several else np.zeros(0, np.int64)


def write(fingerprints: Iterable[np.ndarray]) -> bytes:
    """Return the fingerprints of several splits as bytes."""
    return b"".join(of.astype("<u8").tobytes() for of in fingerprints)


def read(path: Path, content: bytes, counts: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Read what :func:`write` gave.

    Args:
        path: Of the file, for the message of an error.
        content: Of the file.
        counts: Images of each split.

    Raises:
        ProxylessError: The file holds another number of fingerprints.
    """
    if len(content) != 16 * sum(counts.values()):
        raise ProxylessError(f"{path}: does not fit data.json beside it; restore the two files of the run")
    rows = np.frombuffer(content, "<u8").astype(np.uint64).reshape(-1, 2)
    ends = np.cumsum(list(counts.values()))[:-1]
    return dict(zip(counts, np.split(rows, ends), strict=True))
