"""A data set ready for search and training: classes, three splits, preprocessing, and loaders over them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Required, TypedDict, Unpack

import numpy as np
import torch

from proxyless.data.augmentation import Augmentation
from proxyless.data.findings import Findings, left_out_in_words
from proxyless.data.labelling import Labelling
from proxyless.data.loaders import Batches, EndlessBatches, Loader, Sample, Split
from proxyless.data.preprocessing import Preprocessing
from proxyless.data.sampling import stratified
from proxyless.data.splits import HoldOut
from proxyless.data.workers import Batch
from proxyless.errors import printable

BY_CONTENT = "of content"
"""What a description says of its digests. Version 0.1, whose digests were of names and sizes, said nothing."""

NOUNS = {Labelling.CLASSIFICATION: "classes", Labelling.MULTI_LABEL: "labels", Labelling.REGRESSION: "numbers"}
"""What the names in ``ImageData.classes`` are the names of."""

SplitName = Literal["train", "valid", "test"]
SPLITS = ("train", "valid", "test")


class BatchOptions(TypedDict, total=False):
    """The options of :meth:`ImageData.batches`."""

    batch_size: Required[int]
    augment: bool | Augmentation
    shuffle: bool | None
    drop_last: bool | None
    seed: int
    epoch: int
    balanced: bool


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images and their labels in three splits.

    Args:
        source: Name or folder of the data set.
        classes: Names of the classes, labels or numbers, in the order in which a network gives them.
        preprocessing: What is done to an image before the network sees it.
        augmentation: What ``augment=True`` means.
        train: For training weights.
        valid: Held out of training, for the steps of the architecture.
        test: Used at the very end.
        split_method: Where each split came from, in words.
        hold_out: How much was held out where the data set came without a split.
        skipped: Names of damaged files that were left out.
        findings: What else was noticed.
        by_content: Whether the digests of the splits are of content; those of version 0.1 are of names and sizes.
        fingerprints: uint64 (images, 2) of each split, where images were read; see
            :mod:`proxyless.data.fingerprints`.
        workers: Processes that load images, where a loader is not told otherwise; see :class:`Loader`.
        labelling: What is learnt of an image: its class, several labels, or numbers.
        labelling_reason: Why, in words, where a table of labels says it.
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
    labelling: Labelling = Labelling.CLASSIFICATION
    labelling_reason: str = ""

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
        """Count the images of each class, or each label, in a split, in the order of ``classes``.

        The list is empty where numbers are learnt.
        """
        labels = self.splits[split].labels
        match self.labelling:
            case Labelling.CLASSIFICATION:
                counts = torch.bincount(labels, minlength=len(self.classes))
            case Labelling.MULTI_LABEL:
                counts = labels.sum(dim=0).long()
            case Labelling.REGRESSION:
                return []
        return [int(count) for count in counts]

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
        """Return the batches of one epoch by number.

        Args:
            split: ``train``, ``valid`` or ``test``.
            batch_size: Images of a batch.
            augment: Whether images are changed at random, by the data set's augmentation or another one.
            shuffle: Whether the order is drawn at random; unless given, for ``train`` alone.
            drop_last: Whether a last, smaller batch is left out; unless given, where shuffled. A split smaller than
                ``batch_size`` is one batch all the same.
            seed: Of order and augmentation.
            epoch: Which epoch this is.
            balanced: Shuffle so that every class comes equally often.
        """
        shuffle = split == "train" if shuffle is None else shuffle
        if augment is True:
            augment = self.augmentation
        return Batches(
            self.splits[split],
            self.preprocessing,
            batch_size=batch_size,
            augmentation=augment or None,
            shuffle=shuffle,
            drop_last=shuffle if drop_last is None else drop_last,
            seed=seed,
            epoch=epoch,
            balanced=balanced,
        )

    def endless(self, split: SplitName, **how: Unpack[BatchOptions]) -> EndlessBatches:
        """Return the batches of all epochs by number, shuffled anew in each; ``how`` is that of :meth:`batches`."""
        how.setdefault("shuffle", True)
        return EndlessBatches(self.batches(split, **how))

    def loader(self, split: SplitName, *, workers: int | None = None, **how: Unpack[BatchOptions]) -> Loader:
        """Return a loader of one epoch.

        Order and augmentation of the images do not depend on the number of ``workers``.

        Args:
            split: ``train``, ``valid`` or ``test``.
            workers: Processes that load images, see :class:`Loader`. They end with the epoch; for many epochs see
                :func:`pool_of`.
            **how: As for :meth:`batches`.
        """
        batches = self.batches(split, **how)
        return Loader(batches, range(len(batches)), workers=self.workers if workers is None else workers)

    def cycle(
        self, split: SplitName = "valid", *, start: int = 0, workers: int | None = None, **how: Unpack[BatchOptions]
    ) -> Iterator[Batch]:
        """Iterate without end over batches, from number ``start`` on; the other arguments are as for :meth:`loader`."""
        numbers = itertools.count(start)
        return iter(Loader(self.endless(split, **how), numbers, workers=self.workers if workers is None else workers))

    def sample(self, split: SplitName, count: int, *, seed: int = 0) -> Sample:
        """Return ``count`` images of a split as evaluation sees them, equally many of each class.

        They are drawn by :func:`~proxyless.data.sampling.stratified`.
        """
        chosen = self.splits[split]
        labels = chosen.labels.numpy()
        classes = labels if self.labelling is Labelling.CLASSIFICATION else np.zeros(len(labels), np.int64)
        indices = stratified(classes, count, seed)
        return Sample(chosen.images(indices), chosen.labels[torch.from_numpy(indices)], self.preprocessing)

    def describe(self) -> dict[str, Any]:
        """Return everything but the pixels as JSON-able data.

        ``load(source, record=...)`` takes it, and checks that the data set is still the same.
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
            **({"labelling": self.labelling.value} if self.labelling_reason else {}),
            "found": self.findings.describe(),
            "remarks": self.remarks(),
        }

    def remarks(self) -> list[str]:
        """Return what a person should know before the work starts: what was found, then a line for each oddity."""
        counts = ", ".join(f"{len(split):,} {name}" for name, split in self.splits.items())
        found, parts = self.findings, [f"{len(self.classes):,} {NOUNS[self.labelling]}", f"images: {counts}"]
        if found.folder:
            parts.append(f"read from {printable(found.folder)}/ in it")
        if found.in_subfolders:
            parts.append(f"{found.in_subfolders:,} images lie in subfolders of their class folder")
        if left_out := left_out_in_words(found.left_out):
            parts.append(f"left out: {left_out}")
        lines = ["; ".join(parts), *found.remarks()]
        if self.labelling_reason:
            lines.insert(1, f"task: {self.labelling.value}, since {self.labelling_reason}; --task sets it")
        if self.preprocessing.grey_range is not None:
            low, high = self.preprocessing.grey_range
            lines.append(
                f"greys of 16 or 32 bits become 8 bits: {low:g} black, {high:g} white; images.grey_range sets the range"
            )
        return lines

    def _describe_split(self, name: SplitName) -> dict[str, Any]:
        split = self.splits[name]
        if self.labelling is Labelling.REGRESSION:
            least, most = split.labels.amin(dim=0).tolist(), split.labels.amax(dim=0).tolist()
            values: dict[str, Any] = {"range": {name: [least[i], most[i]] for i, name in enumerate(self.classes)}}
        else:
            values = {"per_class": dict(zip(self.classes, self.counts(name), strict=True))}
        return {"images": len(split), **values, "digest": split.digest}


def is_by_content(record: Mapping[str, Any]) -> bool:
    """Whether the digests in what :meth:`ImageData.describe` gave are of content, and copies were held out together."""
    return record.get("digests") == BY_CONTENT
