"""A data set ready for search and training: classes, three splits, preprocessing, and loaders over them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from proxyless.data.augmentation import Augmentation
from proxyless.data.findings import Findings, left_out_in_words
from proxyless.data.loaders import Batches, EndlessBatches, Loader, Sample, Split
from proxyless.data.preprocessing import Preprocessing
from proxyless.data.sampling import stratified
from proxyless.data.splits import HoldOut
from proxyless.data.workers import Batch
from proxyless.errors import printable

BY_CONTENT = "of content"
"""What a description says of its digests since they are; before they were of names and sizes."""

SplitName = Literal["train", "valid", "test"]


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images for classification, divided into ``train``, ``valid`` (held out of training, for architecture
    steps) and ``test``.

    ``augmentation`` is what ``augment=True`` means; ``skipped`` names the damaged files that were left out;
    ``split_method`` says in words where each split came from; ``findings`` what else was noticed.
    ``by_content``: whether the digests of the splits are of content; those of version 0.1 are of names and sizes.
    ``fingerprints``: uint64 (images, 2) of each split, where the images were read (:mod:`proxyless.data.fingerprints`).
    ``workers``: processes that load images, where a loader is not told otherwise; see :class:`Loader`.
    """

    source: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    augmentation: Augmentation
    train: Split
    valid: Split
    test: Split
    split_method: str
    hold_out: HoldOut
    skipped: tuple[str, ...] = ()
    findings: Findings = Findings()
    by_content: bool = True
    fingerprints: Mapping[str, np.ndarray] = field(default_factory=dict)
    workers: int | None = None

    @property
    def image_size(self) -> int:
        """Side of the square images in pixels."""
        return self.preprocessing.image_size

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return self.preprocessing.channels

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean by channel of the training split's pixels, in 0..1."""
        return self.preprocessing.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation by channel of the training split's pixels, in 0..1."""
        return self.preprocessing.std

    @property
    def splits(self) -> dict[SplitName, Split]:
        """The three splits by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    def counts(self, split: SplitName) -> list[int]:
        """Images of each class in a split, in the order of ``classes``."""
        counts: list[int] = torch.bincount(self.splits[split].labels, minlength=len(self.classes)).tolist()
        return counts

    def batches(
        self,
        split: SplitName,
        *,
        batch_size: int,
        augment: bool | Augmentation = False,
        shuffle: bool | None = None,
        drop_last: bool | None = None,
        seed: int = 0,
        epoch: int = 0,
        balanced: bool = False,
    ) -> Batches:
        """The batches of one epoch by number, see :meth:`loader`."""
        shuffle = split == "train" if shuffle is None else shuffle
        return Batches(
            self.splits[split],
            self.preprocessing,
            batch_size=batch_size,
            augmentation=self._augmentation(augment),
            shuffle=shuffle,
            drop_last=shuffle if drop_last is None else drop_last,
            seed=seed,
            epoch=epoch,
            balanced=balanced,
        )

    def endless(
        self,
        split: SplitName,
        *,
        batch_size: int,
        augment: bool | Augmentation = False,
        seed: int = 0,
        balanced: bool = False,
    ) -> EndlessBatches:
        """The batches of all epochs by number, shuffled anew in each; ``balanced`` as for :meth:`loader`."""
        return EndlessBatches(
            self.splits[split],
            self.preprocessing,
            batch_size=batch_size,
            augmentation=self._augmentation(augment),
            seed=seed,
            balanced=balanced,
        )

    def loader(
        self,
        split: SplitName,
        *,
        batch_size: int,
        augment: bool | Augmentation = False,
        shuffle: bool | None = None,
        drop_last: bool | None = None,
        seed: int = 0,
        epoch: int = 0,
        balanced: bool = False,
        workers: int | None = None,
        pin_memory: bool = False,
    ) -> Loader:
        """Batches of one epoch: ``(float32 (batch, channels, size, size) normalised, int64 (batch,))``.

        Order and augmentation depend on ``seed`` and ``epoch`` alone, whatever the number of ``workers``.
        ``balanced``: shuffled such that every class comes equally often.
        ``shuffle`` is on for ``train``, off for the others, unless given. ``drop_last`` (unless given: where
        shuffled) leaves out a last, smaller batch; a split smaller than ``batch_size`` is one batch all the
        same. ``workers``: see :class:`Loader`; they end with the epoch, so for many epochs see :func:`pool_of`.
        """
        batches = self.batches(
            split,
            batch_size=batch_size,
            augment=augment,
            shuffle=shuffle,
            drop_last=drop_last,
            seed=seed,
            epoch=epoch,
            balanced=balanced,
        )
        return Loader(batches, range(len(batches)), workers=self._workers(workers), pin_memory=pin_memory)

    def cycle(
        self,
        split: SplitName = "valid",
        *,
        batch_size: int,
        augment: bool | Augmentation = False,
        seed: int = 0,
        start: int = 0,
        balanced: bool = False,
        workers: int | None = None,
        pin_memory: bool = False,
    ) -> Iterator[Batch]:
        """Batches without end, shuffled anew each time round, beginning with number ``start`` at no cost for
        those before. ``balanced`` as for :meth:`loader`.
        """
        batches = self.endless(split, batch_size=batch_size, augment=augment, seed=seed, balanced=balanced)
        numbers = itertools.count(start)
        return iter(Loader(batches, numbers, workers=self._workers(workers), pin_memory=pin_memory))

    def sample(self, split: SplitName, count: int, *, seed: int = 0) -> Sample:
        """``count`` images that stand for the whole of ``split``, as evaluation sees them: as many of each class, see
        :func:`~proxyless.data.sampling.stratified`.
        """
        chosen = self.splits[split]
        indices = stratified(chosen.labels.numpy(), count, seed)
        return Sample(chosen.images(indices), chosen.labels[torch.from_numpy(indices)], self.preprocessing)

    def describe(self) -> dict[str, Any]:
        """All of it but the pixels as JSON-able data; ``load(source, record=...)`` checks against it that
        nothing changed.
        """
        return {
            "source": self.source,
            "classes": list(self.classes),
            "image_size": self.image_size,
            "channels": self.channels,
            "mean": list(self.mean),
            "std": list(self.std),
            "preprocessing": self.preprocessing.to_dict(),
            "augmentation": self.augmentation.to_dict(),
            "split_method": self.split_method,
            "valid_fraction": self.hold_out.valid_fraction,
            "test_fraction": self.hold_out.test_fraction,
            "seed": self.hold_out.seed,
            "splits": {name: self._describe_split(name) for name in self.splits},
            "skipped": list(self.skipped),
            **({"digests": BY_CONTENT} if self.by_content else {}),
            "found": self.findings.describe(),
            "remarks": self.remarks(),
        }

    def remarks(self) -> list[str]:
        """What a person should know before the work starts: first a line of what was found, then one for each thing
        that is odd.
        """
        counts = ", ".join(f"{len(split):,} {name}" for name, split in self.splits.items())
        found, parts = self.findings, [f"{len(self.classes):,} classes", f"images: {counts}"]
        if found.folder:
            parts.append(f"read from {printable(found.folder)}/ in it")
        if found.in_subfolders:
            parts.append(f"{found.in_subfolders:,} images lie in subfolders of their class folder")
        if left_out := left_out_in_words(found.left_out):
            parts.append(f"left out: {left_out}")
        lines = ["; ".join(parts), *found.remarks()]
        if self.preprocessing.grey_range is not None:
            low, high = self.preprocessing.grey_range
            lines.append(
                f"greys of 16 or 32 bits become 8 bits: {low:g} black, {high:g} white; images.grey_range sets the range"
            )
        return lines

    def _describe_split(self, name: SplitName) -> dict[str, Any]:
        split = self.splits[name]
        return {
            "images": len(split),
            "per_class": dict(zip(self.classes, self.counts(name), strict=True)),
            "digest": split.digest,
        }

    def _workers(self, asked: int | None) -> int | None:
        return self.workers if asked is None else asked

    def _augmentation(self, augment: bool | Augmentation) -> Augmentation | None:
        if isinstance(augment, Augmentation):
            return augment
        return self.augmentation if augment else None


def is_by_content(record: Mapping[str, Any]) -> bool:
    """Whether the digests in what :meth:`ImageData.describe` gave are of content, and copies were held out together."""
    return record.get("digests") == BY_CONTENT
