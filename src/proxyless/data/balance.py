"""Gives small classes more weight, in the loss or in the batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

UNEVEN = 10
"""Where the largest class has more than so many times the images of the smallest, classes are balanced by default."""


def uneven(counts: Sequence[int]) -> bool:
    """Say whether the largest class has more than 10 times the images of the smallest."""
    return max(counts) > UNEVEN * min(counts)


def class_weights(counts: Sequence[int]) -> tuple[float, ...]:
    """Return weights for the loss, inversely proportional to the images of a class; 1 where all are equal."""
    total = sum(counts)
    return tuple(total / (len(counts) * max(1, count)) for count in counts)


def balanced_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Order the images of an epoch so that every class has equally many, give or take one.

    The epoch is as long as one of all images. Images of a small class come several times; of a large class some are
    left out, others in each epoch.

    Args:
        labels: int64 (images,).
        rng: Source of the order.

    Returns:
        Indices of images, int64 (images,).
    """
    classes = rng.permutation(np.unique(labels))
    share, rest = divmod(len(labels), len(classes))
    parts = []
    for place, label in enumerate(classes):
        members = np.flatnonzero(labels == label)
        wanted = share + (place < rest)
        rounds = -(-wanted // len(members))
        parts.append(np.concatenate([rng.permutation(members) for _ in range(rounds)])[:wanted])
    return rng.permutation(np.concatenate(parts))
