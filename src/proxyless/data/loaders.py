"""Batches of a split: every batch a function of (seed, epoch, number) alone, so that any order of computing
gives the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from proxyless.data.augmentation import Augmentation, augment, cut_out
from proxyless.data.balance import balanced_order
from proxyless.data.pixels import Block, Pixels
from proxyless.data.pool import Pool
from proxyless.data.preprocessing import Preprocessing
from proxyless.data.watch import Note
from proxyless.data.workers import Batch
from proxyless.errors import ProxylessError

SAMPLE_BATCH = 16
"""Images that are normalised and run together where nothing else is asked for: their activations fit into memory."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, int64 (images,). ``digest`` tells two versions of a split apart."""

    pixels: Pixels
    labels: torch.Tensor
    digest: str

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, indices: np.ndarray | None = None) -> torch.Tensor:
        """Images as evaluation sees them, before normalisation: uint8 (images, channels, image_size,
        image_size).
        """
        return self.pixels.squares(np.arange(len(self)) if indices is None else np.asarray(indices, np.int64))


@dataclass(frozen=True, eq=False)
class Sample:
    """Some images of a split, decoded: ``squares`` uint8 (images, channels, size, size), ``labels`` int64 (images,).

    Iterating gives them in batches of :data:`SAMPLE_BATCH`, normalised, as often as wanted.
    """

    squares: torch.Tensor
    labels: torch.Tensor
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Batch]:
        for squares, labels in zip(self.squares.split(SAMPLE_BATCH), self.labels.split(SAMPLE_BATCH), strict=True):
            yield normalise(squares, self.preprocessing), labels

    def images(self) -> torch.Tensor:
        """All of the images, normalised: float32 (images, channels, size, size)."""
        return normalise(self.squares, self.preprocessing)


class Batches:
    """The batches of one epoch by number: ``(float32 (batch, channels, size, size) normalised, int64
    (batch,))``.
    """

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing,
        *,
        batch_size: int,
        augmentation: Augmentation | None,
        shuffle: bool,
        drop_last: bool,
        seed: int,
        epoch: int,
        balanced: bool = False,
    ) -> None:
        """``augmentation``: None for evaluation's preprocessing. ``drop_last``: leave out a last, smaller
        batch, unless it is the only one. ``balanced``: shuffle such that every class comes equally often.
        """
        if batch_size < 1:
            raise ProxylessError(f"batch_size {batch_size} given; it must be at least 1")
        if seed < 0:
            raise ProxylessError(f"seed {seed} given; it must not be negative")
        self.split = split
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.drop_last = drop_last
        self.seed = seed
        self.epoch = epoch
        self.order = np.arange(len(split))
        if balanced:
            self.order = balanced_order(split.labels.numpy(), np.random.default_rng([seed, epoch]))
        elif shuffle:
            self.order = np.random.default_rng([seed, epoch]).permutation(self.order)

    def __len__(self) -> int:
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole if whole and (self.drop_last or not rest) else whole + 1

    def largest(self) -> Batch:
        """Tensors of the type and shape of the largest batch, without memory."""
        return _largest(self.split, self.preprocessing, self.batch_size)

    def prepare(self) -> None:
        """Import what making batches takes."""
        if self.augmentation is not None:
            self.augmentation.prepare()

    def doing(self) -> str:
        """What a batch that is being made is waiting for, in words."""
        return _doing(self.split)

    def __getitem__(self, number: int) -> Batch:
        if not 0 <= number < len(self):
            raise IndexError(number)
        indices = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        labels = self.split.labels[torch.from_numpy(indices)]
        if self.augmentation is None:
            return normalise(self.split.pixels.squares(indices), self.preprocessing), labels
        rng = np.random.default_rng([self.seed, self.epoch, number])
        images = augment(self.split.pixels, indices, self.preprocessing.image_size, self.augmentation, rng)
        images = normalise(images, self.preprocessing)
        if self.augmentation.cutout:
            images = cut_out(images, self.augmentation.cutout, rng)
        return images, labels


class EndlessBatches:
    """The batches of epoch 0, 1, 2, ... one after the other, by number: any of them is reached without the
    ones before.
    """

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing,
        *,
        batch_size: int,
        augmentation: Augmentation | None,
        seed: int,
        balanced: bool = False,
    ) -> None:
        self.split = split
        self.augmentation = augmentation
        self._epoch = partial(
            Batches,
            split,
            preprocessing,
            batch_size=batch_size,
            augmentation=augmentation,
            shuffle=True,
            drop_last=True,
            seed=seed,
            balanced=balanced,
        )
        self._batches = self._epoch(epoch=0)

    def __len__(self) -> int:
        """Of one epoch."""
        return len(self._batches)

    def largest(self) -> Batch:
        """Tensors of the type and shape of the largest batch, without memory."""
        return self._batches.largest()

    def prepare(self) -> None:
        """Import what making batches takes."""
        if self.augmentation is not None:
            self.augmentation.prepare()

    def doing(self) -> str:
        """What a batch that is being made is waiting for, in words."""
        return _doing(self.split)

    def epoch(self, epoch: int) -> range:
        """Numbers of the batches of an epoch."""
        return range(epoch * len(self), (epoch + 1) * len(self))

    def __getitem__(self, number: int) -> Batch:
        epoch, number = divmod(number, len(self._batches))
        if epoch != self._batches.epoch:
            self._batches = self._epoch(epoch=epoch)
        return self._batches[number]


class Loader:
    """The batches ``numbers``, in that order, each time it is gone through."""

    def __init__(
        self,
        batches: Batches | EndlessBatches,
        numbers: Iterable[int],
        *,
        workers: int | None = None,
        pin_memory: bool = False,
        note: Note | None = None,
    ) -> None:
        """``workers``: processes that load them (0: none, this one does). None: as many as there are cores, at most 4,
        where images are decoded or changed one by one; none where a batch in memory is made in about a millisecond.
        ``note``: told in a line of processes that fail; standard error unless given.
        """
        self.batches = batches
        self.numbers = numbers
        self.workers = workers
        self.pin_memory = pin_memory
        self.note = note

    def __len__(self) -> int:
        """Of a loader that ends."""
        assert isinstance(self.numbers, Sized)
        return len(self.numbers)

    def __iter__(self) -> Iterator[Batch]:
        with pool_of({"": self.batches}, workers=self.workers, note=self.note) as pool:
            for images, labels in pool.batches("", self.numbers):
                yield (images.pin_memory(), labels.pin_memory()) if self.pin_memory else (images, labels)


def pool_of(
    sources: Mapping[str, Batches | EndlessBatches], *, workers: int | None = None, note: Note | None = None
) -> Pool:
    """Worker processes for several kinds of batches, see :class:`Pool`, that live until it is closed."""
    slow = [name for name, batches in sources.items() if _is_slow(batches)]
    return Pool(sources, slow, workers=workers, note=note)


def normalise(images: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """uint8 (batch, channels, height, width) as float32 with mean and std taken out: the same bits as
    :meth:`Preprocessing.normalise`.
    """
    mean = torch.tensor(preprocessing.mean)[:, None, None]
    std = torch.tensor(preprocessing.std)[:, None, None]
    return images.float().div_(255).sub_(mean).div_(std)


def _largest(split: Split, preprocessing: Preprocessing, batch_size: int) -> Batch:
    count, side = min(batch_size, len(split)), preprocessing.image_size
    images = torch.empty(count, preprocessing.channels, side, side, device="meta")
    return images, torch.empty(count, dtype=torch.int64, device="meta")


def _doing(split: Split) -> str:
    return split.pixels.reading or "a batch of images has been in the making"


def _is_slow(batches: Batches | EndlessBatches) -> bool:
    augmentation = batches.augmentation
    return not isinstance(batches.split.pixels, Block) or (augmentation is not None and augmentation.per_image)
