"""A sample that stands for a whole split: of every class, drawn by a seed, wherever in the split its images lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stratified(labels: NDArray[np.int64], count: int, seed: int = 0) -> NDArray[np.int64]:
    """Indices of ``count`` images, in increasing order: as many of each class as of every other, as far as there are.

    A class is drawn from evenly at random; of more classes than ``count`` some are drawn. All where there are no more.

    Args:
        labels: class of each image of the split (images,).
    """
    if count >= len(labels):
        return np.arange(len(labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    # The first of each class in this order, then the second of each, and so on.
    turns = np.empty(len(labels), np.int64)
    by_class = np.argsort(labels[order], kind="stable")
    _, starts, sizes = np.unique(labels[order][by_class], return_index=True, return_counts=True)
    turns[by_class] = np.arange(len(labels)) - np.repeat(starts, sizes)
    return np.sort(order[np.argsort(turns, kind="stable")[:count]])
