"""Holds images out of a training set, class by class; only the seed and the names of the images decide which."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proxyless.errors import ProxylessError


@dataclass(frozen=True)
class HoldOut:
    """How much is held out where a data set comes without a split.

    Args:
        valid_fraction: Share, in 0..1, of the images that it is taken from.
        test_fraction: The same for the test split.
        seed: Decides which images.
    """

    valid_fraction: float = 0.1
    test_fraction: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.valid_fraction > 0 and self.test_fraction > 0 and self.valid_fraction + self.test_fraction < 1):
            raise ProxylessError(
                f"valid_fraction {self.valid_fraction} and test_fraction {self.test_fraction} given; "
                "both must be above 0 and their sum below 1"
            )


def held_out(
    names: Sequence[str],
    labels: np.ndarray,
    fraction: float,
    seed: int,
    together: Iterable[Sequence[str]] = (),
) -> np.ndarray:
    """Choose the images to hold out: the same share of every class.

    Of each class at least one image is held out, and at least one is not. The images with the smallest hash of seed and
    name are taken. So the choice depends neither on the order of files nor on versions of libraries, and a few added
    files change little.

    Copies of one picture are held out together, by the hash of the first of them, or not at all; a picture under two
    labels is never held out. Where this would hold out nothing, as where all images of a class are the same, only names
    decide.

    Args:
        names: Of the images.
        labels: Of the images, int64 (images,).
        fraction: Share of every class, rounded to whole images.
        seed: Of the hash.
        together: Groups of names of the same picture.

    Returns:
        Which images are held out: bool (images,).
    """
    ranks = np.array([_rank(name, seed) for name in names], dtype="S16")
    copies = _copies(names, labels, together)
    mask = np.zeros(len(names), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(1, int(fraction * len(members) + 0.5)), len(members) - 1)
        order = members[np.argsort(ranks[members], kind="stable")]
        mask[_whole(order, count, copies) if copies else order[:count]] = True
    if copies and not mask.any():
        return held_out(names, labels, fraction, seed)
    return mask


def _copies(names: Sequence[str], labels: np.ndarray, together: Iterable[Sequence[str]]) -> dict[int, list[int]]:
    """Return the copies of an image, itself included, by its number; none for a picture under two labels."""
    numbers = {name: number for number, name in enumerate(names)} if together else {}
    copies: dict[int, list[int]] = {}
    for group in together:
        same = sorted((numbers[name] for name in group if name in numbers), key=lambda number: names[number])
        several = len({int(labels[number]) for number in same}) > 1
        copies |= {number: [] if several else same for number in same}
    return copies


def _whole(order: np.ndarray, count: int, copies: Mapping[int, list[int]]) -> list[int]:
    """Take the first of the images ``order``, at most ``count``, and each picture with all its copies."""
    taken: list[int] = []
    left: list[list[int]] = []
    for number in order.tolist():
        same = copies.get(number, [number])
        if not same or number != same[0]:
            continue
        if len(taken) + len(same) <= count:
            taken += same
        else:
            left.append(same)
    if not taken and count and left:
        smallest = min(left, key=len)
        taken = smallest if len(smallest) <= len(order) // 2 else []
    return taken


def check_not_empty(source: str, counts: Mapping[str, int]) -> None:
    """Raise :class:`ProxylessError` if a split has no images; ``counts`` is the number of images of each."""
    for name, count in counts.items():
        if not count:
            raise ProxylessError(f"{source}: no images for the {name} split; every split needs some, add images")


def _rank(name: str, seed: int) -> str:
    return hashlib.blake2b(f"{seed}/{name}".encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
