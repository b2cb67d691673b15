"""A published data set made into splits."""

from __future__ import annotations

import hashlib
from functools import reduce
from operator import add

import numpy as np
import torch

from proxyless.data.augmentation import Augmentation
from proxyless.data.dataset import ImageData
from proxyless.data.decoding import Rule, to_image
from proxyless.data.loaders import Split
from proxyless.data.pixels import Block
from proxyless.data.preprocessing import Preprocessing, square
from proxyless.data.published import Arrays, PublishedSet
from proxyless.data.scan import LARGEST_DEFAULT, Moments
from proxyless.data.splits import HoldOut, check_not_empty, held_out


def load_arrays(
    source: str, published: PublishedSet, *, image_size: int | None, hold_out: HoldOut, rule: Rule = Rule.PILLOW
) -> ImageData:
    """Hold images out of the published training images, and a test split too where none is published; all
    stays in memory. ``rule``: how they are resized.
    """
    train, test = published.train, published.test
    drawn = f"of every class, drawn with seed {hold_out.seed}"
    if test is None:
        origin, test_origin = "all images", f"{hold_out.test_fraction:.4g} {drawn}"
        train, test = _take(train, hold_out.test_fraction, hold_out.seed)
        train, valid = _take(train, hold_out.valid_fraction / (1 - hold_out.test_fraction), hold_out.seed)
    else:
        origin, test_origin = "the published training images", "the published test images"
        train, valid = _take(train, hold_out.valid_fraction, hold_out.seed)
    channels = 1 if train.images.ndim == 3 else 3
    size = image_size or min(*train.images.shape[1:3], LARGEST_DEFAULT)
    check_not_empty(source, {"train": len(train), "valid": len(valid), "test": len(test)})
    blocks = [_block(arrays.images, size, rule) for arrays in (train, valid, test)]
    labels = [arrays.labels for arrays in (train, valid, test)]
    splits = [_split(block, numbers) for block, numbers in zip(blocks, labels, strict=True)]
    return ImageData(
        source=source,
        classes=published.classes,
        preprocessing=Preprocessing(size, channels, *_moments(blocks[0]).mean_and_std(), rule=rule),
        augmentation=Augmentation.standard(size, channels, flip=published.flip),
        train=splits[0],
        valid=splits[1],
        test=splits[2],
        split_method=(
            f"train: the rest of {origin}; valid: {hold_out.valid_fraction:.4g} {drawn} from {origin}; "
            f"test: {test_origin}"
        ),
        hold_out=hold_out,
    )


def _take(arrays: Arrays, fraction: float, seed: int) -> tuple[Arrays, Arrays]:
    """``arrays`` without the held-out images, and those."""
    mask = held_out([str(index) for index in range(len(arrays))], arrays.labels, fraction, seed)
    return Arrays(arrays.images[~mask], arrays.labels[~mask]), Arrays(arrays.images[mask], arrays.labels[mask])


def _block(images: np.ndarray, size: int, rule: Rule) -> np.ndarray:
    """uint8 (images, channels, size, size)."""
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    if images.shape[2:] != (size, size):
        return np.stack([square(to_image(image), size, rule) for image in images])
    return images.copy()  # the arrays may be read-only, which tensors cannot be


def _split(block: np.ndarray, labels: np.ndarray) -> Split:
    digest = hashlib.blake2b(block.reshape(-1).data, digest_size=16)
    digest.update(labels.astype("<i8").tobytes())
    return Split(Block(torch.from_numpy(block)), torch.from_numpy(labels), digest.hexdigest())


def _moments(block: np.ndarray) -> Moments:
    parts = (block[start : start + 1000] for start in range(0, len(block), 1000))
    return reduce(add, (Moments.of(part.transpose(1, 0, 2, 3)) for part in parts))
