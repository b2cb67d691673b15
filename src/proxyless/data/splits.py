"""Holding images out of a training set, class by class, in a way that only the seed and the images' names
decide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proxyless.errors import ProxylessError


@dataclass(frozen=True)
class HoldOut:
    """How much is held out where a data set comes without a split: shares (0..1) of the images it is taken
    from.
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
    """Which images to hold out: bool (images,), ``fraction`` of every class, rounded, at least one and never
    all of a class.

    A class of one image is left whole. Within a class the images with the smallest hash of seed and name are
    taken: the choice does not depend on the order of files or on library versions, and a few added files move
    few of the others.

    ``together``: names of images that are the same picture. They are held out all or not at all, by the hash of the
    first of them; a picture under two labels is never held out. Where that would hold out no image of any class, as
    where all images of a class are the same, names alone decide.
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
    """The images that are the same as this one, itself too, by the number of each that has such; none for a picture
    under two labels, which is not held out.
    """
    numbers = {name: number for number, name in enumerate(names)} if together else {}
    copies: dict[int, list[int]] = {}
    for group in together:
        same = sorted((numbers[name] for name in group if name in numbers), key=lambda number: names[number])
        several = len({int(labels[number]) for number in same}) > 1
        copies |= {number: [] if several else same for number in same}
    return copies


def _whole(order: np.ndarray, count: int, copies: Mapping[int, list[int]]) -> list[int]:
    """``count`` of the images ``order`` or fewer, and no picture in part: the first ones that fit."""
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
    """Raise :class:`ProxylessError` if a split has no images. ``counts``: images by name of split."""
    for name, count in counts.items():
        if not count:
            raise ProxylessError(f"{source}: no images for the {name} split; every split needs some, add images")


def _rank(name: str, seed: int) -> str:
    return hashlib.blake2b(f"{seed}/{name}".encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
