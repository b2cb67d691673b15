"""Draws a sample of a split that has images of every class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stratified(labels: NDArray[np.int64], count: int, seed: int = 0) -> NDArray[np.int64]:
    """Draw ``count`` images at random, as far as possible equally many of each class.

    Args:
        labels: Class of each image of the split (images,).
        count: How many images; all of them where the split has no more.
        seed: Of the draw.

    Returns:
        Indices in increasing order (count,).
    """
    if count >= len(labels):
        return np.arange(len(labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    # In this order take the first image of each class, then the second of each, and so on.
    turns = np.empty(len(labels), np.int64)
    by_class = np.argsort(labels[order], kind="stable")
    _, starts, sizes = np.unique(labels[order][by_class], return_index=True, return_counts=True)
    turns[by_class] = np.arange(len(labels)) - np.repeat(starts, sizes)
    return np.sort(order[np.argsort(turns, kind="stable")[:count]])
