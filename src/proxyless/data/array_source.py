"""Divides a published data set into splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from proxyless.data.augmentation import Augmentation
from proxyless.data.dataset import ImageData
from proxyless.data.decoding import Rule, to_image
from proxyless.data.findings import Findings
from proxyless.data.fingerprints import copies, digest, shared, under_two_labels
from proxyless.data.load_settings import LoadSettings
from proxyless.data.loaders import Split
from proxyless.data.pixels import Block
from proxyless.data.preprocessing import Preprocessing, square
from proxyless.data.published import Arrays, PublishedSet
from proxyless.data.scan import LARGEST_DEFAULT, NO_MOMENTS, Moments
from proxyless.data.splits import check_not_empty, held_out


def load_arrays(source: str, published: PublishedSet, settings: LoadSettings) -> ImageData:
    """Divide a published data set into splits; all of it stays in memory.

    Validation images, and test images too where none are published, are held out of the training images.
    """
    hold_out, rule, by_content = settings.hold_out, settings.rule, settings.by_content
    channels = 1 if published.train.images.ndim == 3 else 3
    size = settings.image_size or min(*published.train.images.shape[1:3], LARGEST_DEFAULT)
    train = _prepared(published.train, size, rule)
    drawn = f"of every class, drawn with seed {hold_out.seed}"
    if published.test is None:
        origin, test_origin = "all images", f"{hold_out.test_fraction:.4g} {drawn}"
        train, test = _take(train, hold_out.test_fraction, hold_out.seed, by_content)
        train, valid = _take(train, hold_out.valid_fraction / (1 - hold_out.test_fraction), hold_out.seed, by_content)
    else:
        origin, test_origin = "the published training images", "the published test images"
        test = _prepared(published.test, size, rule)
        train, valid = _take(train, hold_out.valid_fraction, hold_out.seed, by_content)
    parts = {"train": train, "valid": valid, "test": test}
    check_not_empty(source, {name: len(part.labels) for name, part in parts.items()})
    keys = {name: part.keys for name, part in parts.items()}
    labels = np.concatenate([part.labels for part in parts.values()])
    return ImageData(
        source=source,
        classes=published.classes,
        preprocessing=Preprocessing(size, channels, *_moments(train.block).mean_and_std(), rule=rule),
        augmentation=Augmentation.standard(size, channels, flip=published.flip),
        train=_split(train),
        valid=_split(valid),
        test=_split(test),
        split_method=(
            f"train: the rest of {origin}; valid: {hold_out.valid_fraction:.4g} {drawn} from {origin}; "
            f"test: {test_origin}"
        ),
        hold_out=hold_out,
        findings=Findings(
            shared=shared(keys), two_labels=len(under_two_labels(np.concatenate(list(keys.values())), labels))
        ),
        by_content=by_content,
        fingerprints={name: np.stack([part.keys, part.keys], axis=1) for name, part in parts.items()},
    )


@dataclass(frozen=True)
class _Prepared:
    """Squares uint8 (images, channels, size, size), their labels int64 (images,) and digests uint64 (images,)."""

    block: np.ndarray
    labels: np.ndarray
    keys: np.ndarray


def _prepared(arrays: Arrays, size: int, rule: Rule) -> _Prepared:
    block = _block(arrays.images, size, rule)
    return _Prepared(block, arrays.labels, np.fromiter((digest(image.data) for image in block), np.uint64, len(block)))


def _take(part: _Prepared, fraction: float, seed: int, by_content: bool) -> tuple[_Prepared, _Prepared]:
    """Return ``part`` without the held-out images, and these."""
    names = [str(index) for index in range(len(part.labels))]
    mask = held_out(names, part.labels, fraction, seed, copies(part.keys, names) if by_content else ())
    rest, taken = ((part.block[where], part.labels[where], part.keys[where]) for where in (~mask, mask))
    return _Prepared(*rest), _Prepared(*taken)


def _block(images: np.ndarray, size: int, rule: Rule) -> np.ndarray:
    """Return the images as uint8 (images, channels, size, size)."""
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    if images.shape[2:] != (size, size):
        return np.stack([square(to_image(image), size, rule) for image in images])
    return np.array(images, order="C")  # a copy, since the arrays may be read-only, and tensors cannot be


def _split(part: _Prepared) -> Split:
    digest = hashlib.blake2b(part.block.reshape(-1).data, digest_size=16)
    digest.update(part.labels.astype("<i8").tobytes())
    return Split(Block(torch.from_numpy(part.block)), torch.from_numpy(part.labels), digest.hexdigest())


def _moments(block: np.ndarray) -> Moments:
    parts = (block[start : start + 1000] for start in range(0, len(block), 1000))
    return sum((Moments.of(part.transpose(1, 0, 2, 3)) for part in parts), NO_MOMENTS)
