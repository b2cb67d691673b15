"""Holding images out of a training set, class by class, in a way that only the seed and the images' names
decide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
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


def held_out(names: Sequence[str], labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Which images to hold out: bool (images,), ``fraction`` of every class, rounded, at least one and never
    all of a class.

    A class of one image is left whole. Within a class the images with the smallest hash of seed and name are
    taken: the choice does not depend on the order of files or on library versions, and a few added files move
    few of the others.
    """
    ranks = np.array([_rank(name, seed) for name in names], dtype="S16")
    mask = np.zeros(len(names), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(1, int(fraction * len(members) + 0.5)), len(members) - 1)
        mask[members[np.argsort(ranks[members], kind="stable")[:count]]] = True
    return mask


def check_not_empty(source: str, counts: Mapping[str, int]) -> None:
    """Raise :class:`ProxylessError` if a split has no images. ``counts``: images by name of split."""
    for name, count in counts.items():
        if not count:
            raise ProxylessError(f"{source}: no images for the {name} split; every split needs some, add images")


def _rank(name: str, seed: int) -> str:
    return hashlib.blake2b(f"{seed}/{name}".encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
