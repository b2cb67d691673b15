"""Loads the batches of search, training and evaluation, and moves them to the processor."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import torch

from proxyless.data import Batch, ImageData, pool_of


class Batches:
    """The data set as search and training want it: on the right processor, in the layout that is fast there.

    Worker processes, if there are any, live from the first batch to :meth:`close`.

    Args:
        images: The data set.
        batch_size: Images of a batch.
        seed: Of order and augmentation.
        processor: Where batches are moved to.
        balanced: Whether every class comes equally often in the steps of weights and architecture.
        note: Called with a line of text when worker processes fail; prints it unless given.
    """

    def __init__(
        self,
        images: ImageData,
        batch_size: int,
        seed: int,
        processor: torch.device,
        *,
        balanced: bool = False,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self.images, self.batch_size, self.processor = images, batch_size, processor
        self._train = images.endless("train", batch_size=batch_size, augment=True, seed=seed, balanced=balanced)
        self._held_out = images.endless("valid", batch_size=batch_size, seed=seed, balanced=balanced)
        # Shuffled: the norms of a supernet use the statistics of each batch, and a folder lists class after class.
        self._valid = images.batches("valid", batch_size=2 * batch_size, shuffle=True, drop_last=False, seed=seed)
        self._test = images.batches("test", batch_size=2 * batch_size)
        self._pool = pool_of(
            {"train": self._train, "held_out": self._held_out, "valid": self._valid, "test": self._test},
            workers=images.workers,
            note=note,
        )
        self._endless: Iterator[Batch] = iter(())
        self._next_held_out = -1

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes."""
        self._pool.close()

    def _ready(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for inputs, targets in batches:
            yield (
                inputs.to(self.processor, memory_format=torch.channels_last, non_blocking=True),
                targets.to(self.processor, non_blocking=True),
            )

    def train(self, epoch: int) -> Iterator[Batch]:
        """Iterate over the augmented training batches of an epoch."""
        return self._ready(self._pool.batches("train", self._train.epoch(epoch)))

    def held_out(self, start: int) -> Iterator[Batch]:
        """Iterate without end over batches of held-out images, from number ``start`` on."""
        if start != self._next_held_out:
            self._endless = self._ready(self._pool.batches("held_out", itertools.count(start)))
            self._next_held_out = start
        while True:
            self._next_held_out += 1
            yield next(self._endless)

    def valid(self) -> Iterator[Batch]:
        """Iterate over all held-out images once."""
        return self._ready(self._pool.batches("valid", range(len(self._valid))))

    def test(self) -> Iterator[Batch]:
        """Iterate over all test images once."""
        return self._ready(self._pool.batches("test", range(len(self._test))))

    def steps(self) -> int:
        """Return the number of training batches of an epoch."""
        return max(1, len(self.images.train) // self.batch_size)
