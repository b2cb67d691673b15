"""Batches of a split, by number.

A batch depends on (seed, epoch, number) alone, so it is the same in whatever order and by whatever process it is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, replace
from functools import cached_property

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
"""Images of a :class:`Sample` that a network processes together; their activations fit in memory."""


@dataclass(frozen=True, eq=False)
class Split:
    """The images of one split and their labels.

    Args:
        pixels: The images.
        labels: Class numbers, int64 (images,); or float32 (images, numbers), see
            :class:`~proxyless.data.label_table.Labelling`.
        digest: Text that differs where images or labels differ.
    """

    pixels: Pixels
    labels: torch.Tensor
    digest: str

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, indices: np.ndarray | None = None) -> torch.Tensor:
        """Return images as evaluation sees them before normalisation, all of them unless ``indices`` are given.

        Returns:
            uint8 (images, channels, image_size, image_size).
        """
        return self.pixels.squares(np.arange(len(self)) if indices is None else np.asarray(indices, np.int64))


@dataclass(frozen=True, eq=False)
class Sample:
    """Some decoded images of a split.

    Iterating gives them normalised, in batches of :data:`SAMPLE_BATCH`, as often as wanted.

    Args:
        squares: uint8 (images, channels, size, size).
        labels: As those of a :class:`Split`.
        preprocessing: How they are normalised.
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
        """Return all of the images, normalised: float32 (images, channels, size, size)."""
        return normalise(self.squares, self.preprocessing)


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of one epoch, by number.

    A batch is (float32 (batch, channels, size, size), normalised; the labels of these images).

    Args:
        split: Where the images come from.
        preprocessing: What is done to each of them.
        batch_size: Images of a batch.
        augmentation: How images are changed at random; None for evaluation.
        shuffle: Whether the order is drawn anew in each epoch.
        drop_last: Whether a last, smaller batch is left out; it is kept where it is the only one.
        seed: Of order and augmentation.
        epoch: Which epoch this is.
        balanced: Shuffle so that every class comes equally often.
    """

    split: Split
    preprocessing: Preprocessing
    batch_size: int
    augmentation: Augmentation | None
    shuffle: bool
    drop_last: bool
    seed: int
    epoch: int
    balanced: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ProxylessError(f"batch_size {self.batch_size} given; it must be at least 1")
        if self.seed < 0:
            raise ProxylessError(f"seed {self.seed} given; it must not be negative")

    @cached_property
    def order(self) -> np.ndarray:
        """Indices of the images in the order of this epoch: int64 (images,)."""
        rng = np.random.default_rng([self.seed, self.epoch])
        if self.balanced:
            return balanced_order(self.split.labels.numpy(), rng)
        order = np.arange(len(self.split))
        return rng.permutation(order) if self.shuffle else order

    def __len__(self) -> int:
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole if whole and (self.drop_last or not rest) else whole + 1

    def largest(self) -> Batch:
        count, side = min(self.batch_size, len(self.split)), self.preprocessing.image_size
        images = torch.empty(count, self.preprocessing.channels, side, side, device="meta")
        labels = self.split.labels
        return images, torch.empty(count, *labels.shape[1:], dtype=labels.dtype, device="meta")

    def prepare(self) -> None:
        if self.augmentation is not None:
            self.augmentation.prepare()

    def doing(self) -> str:
        return self.split.pixels.reading or "a batch of images has been in the making"

    @property
    def slow(self) -> bool:
        """Whether making a batch takes long enough for worker processes to pay."""
        one_by_one = self.augmentation is not None and self.augmentation.per_image
        return one_by_one or not isinstance(self.split.pixels, Block)

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
    """The batches of epoch 0, 1, 2, ... one after the other, by number.

    Any of them can be made without the ones before it.

    Args:
        batches: Those of any one epoch.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __len__(self) -> int:
        """Return the number of batches of one epoch."""
        return len(self._batches)

    @property
    def slow(self) -> bool:
        """Whether making a batch takes long enough for worker processes to pay."""
        return self._batches.slow

    def largest(self) -> Batch:
        return self._batches.largest()

    def prepare(self) -> None:
        self._batches.prepare()

    def doing(self) -> str:
        return self._batches.doing()

    def epoch(self, epoch: int) -> range:
        """Return the numbers of the batches of an epoch."""
        return range(epoch * len(self), (epoch + 1) * len(self))

    def __getitem__(self, number: int) -> Batch:
        epoch, number = divmod(number, len(self))
        if epoch != self._batches.epoch:
            self._batches = replace(self._batches, epoch=epoch)
        return self._batches[number]


class Loader:
    """The batches ``numbers``, in that order, each time it is gone through.

    Args:
        batches: Makes a batch of its number.
        numbers: Of the batches that are wanted.
        workers: Processes that make them; 0: this process does. None: one for each core, at most 4, where images are
            decoded or changed one by one; none where a batch in memory is made in about a millisecond.
    """

    def __init__(
        self, batches: Batches | EndlessBatches, numbers: Iterable[int], *, workers: int | None = None
    ) -> None:
        self.batches = batches
        self.numbers = numbers
        self.workers = workers

    def __len__(self) -> int:
        """Return the number of batches of a loader that ends."""
        assert isinstance(self.numbers, Sized)
        return len(self.numbers)

    def __iter__(self) -> Iterator[Batch]:
        with pool_of({"": self.batches}, workers=self.workers) as pool:
            yield from pool.batches("", self.numbers)


def pool_of(
    sources: Mapping[str, Batches | EndlessBatches], *, workers: int | None = None, note: Note | None = None
) -> Pool:
    """Start worker processes for several kinds of batches.

    Args:
        sources: Makers of batches, by name.
        workers: As for :class:`Loader`, for all sources together.
        note: Called with a line of text when something goes wrong with the processes; prints it unless given.

    Returns:
        The processes, which live until they are closed.
    """
    slow = [name for name, batches in sources.items() if batches.slow]
    return Pool(sources, slow, workers=workers, note=note)


def normalise(images: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Return uint8 images (batch, channels, height, width) as float32, minus mean, divided by std.

    The result has the same bits as that of :meth:`Preprocessing.normalise`.
    """
    mean = torch.tensor(preprocessing.mean)[:, None, None]
    std = torch.tensor(preprocessing.std)[:, None, None]
    return images.float().div_(255).sub_(mean).div_(std)
