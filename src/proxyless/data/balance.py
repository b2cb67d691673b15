"""Classes of very different numbers of images: by what they count for more, in loss or in batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

UNEVEN = 10
"""Times the images of the smallest class that the largest must have more than, for classes to be balanced unasked."""


def uneven(counts: Sequence[int]) -> bool:
    """Whether classes with so many training images differ by more than 10 to 1."""
    return max(counts) > UNEVEN * min(counts)


def class_weights(counts: Sequence[int]) -> tuple[float, ...]:
    """Weights of the classes in the loss, inversely to their training images; 1 for classes of equal size."""
    total = sum(counts)
    return tuple(total / (len(counts) * max(1, count)) for count in counts)


def balanced_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An epoch in which every class has the same number of images, or one more or less: int64 (images,).

    It is as long as one of all images. Those of a small class come several times, each as often as the others of its
    class or once more; of a large class some are left out, drawn anew in each epoch.

    Args:
        labels: of the images, int64 (images,).
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
