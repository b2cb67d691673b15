"""Batches: order, determinism, sizes, and the endless iterator."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from proxyless import data
from proxyless.data import Augmentation, ImageData, Preprocessing, Split
from proxyless.data.loaders import Batch
from proxyless.data.pixels import Block
from proxyless.data.splits import HoldOut
from proxyless.errors import ProxylessError

GREY = Preprocessing(8, 1, (0.3,), (0.2,))


def numbered(count: int) -> Split:
    """Images that are filled with their own number, which is their label too."""
    numbers = torch.arange(count)
    return Split(Block(numbers.to(torch.uint8)[:, None, None, None].expand(count, 1, 8, 8)), numbers, "")


def image_data(train: int = 50, valid: int = 20, test: int = 10) -> ImageData:
    return ImageData(
        source="numbered",
        classes=tuple(str(number) for number in range(50)),
        preprocessing=GREY,
        augmentation=Augmentation(padding=1),
        train=numbered(train),
        valid=numbered(valid),
        test=numbered(test),
        split_method="",
        hold_out=HoldOut(),
    )


def same(first: Iterable[Batch], second: Iterable[Batch]) -> bool:
    return all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(list(first), list(second), strict=True)
    )


def all_labels(loader: Iterable[Batch]) -> list[int]:
    return torch.cat([labels for _, labels in loader]).tolist()


def test_an_epoch_shows_every_image_once_with_its_label() -> None:
    loader = image_data().loader("train", batch_size=8, drop_last=False)
    numbers = []
    for images, labels in loader:
        assert images.dtype == torch.float32
        assert labels.dtype == torch.int64
        numbers += torch.round((images * 0.2 + 0.3) * 255)[:, 0, 4, 4].int().tolist()
        assert numbers[-len(labels) :] == labels.tolist()
    assert sorted(numbers) == list(range(50))
    assert numbers != sorted(numbers)


def test_evaluation_goes_in_order_and_leaves_nothing_out() -> None:
    assert all_labels(image_data().loader("test", batch_size=4)) == list(range(10))
    assert all_labels(image_data().loader("train", batch_size=16, shuffle=False)) == list(range(50))


def test_batches_have_the_bits_of_preprocessing() -> None:
    images, _ = next(iter(image_data().loader("test", batch_size=10)))
    expected = GREY.normalise(image_data().test.images().numpy())
    assert np.array_equal(images.numpy(), expected)


def test_order_and_augmentation_depend_on_seed_and_epoch_alone() -> None:
    images = image_data()

    def epoch(**settings: int) -> list[Batch]:
        return list(images.loader("train", batch_size=16, augment=True, **settings))

    assert same(epoch(seed=1, epoch=2), epoch(seed=1, epoch=2))
    for other in ({"seed": 1, "epoch": 3}, {"seed": 2, "epoch": 2}):
        assert not same(epoch(seed=1, epoch=2), epoch(**other))


def test_augmentation_differs_between_epochs_where_the_order_does_not() -> None:
    images = image_data()
    first, second = (
        list(images.loader("train", batch_size=16, augment=True, shuffle=False, epoch=epoch)) for epoch in (0, 1)
    )
    assert all_labels(first) == all_labels(second)
    assert not same(first, second)


@pytest.mark.parametrize("limit", [2**30, 0])
def test_the_number_of_workers_changes_nothing(tmp_path: Path, write_images, limit: int) -> None:
    for name in ("a", "b"):
        write_images(tmp_path / name, 16, size=(80, 70))
    images = data.load(tmp_path, image_size=64, memory_limit_bytes=limit)
    epochs = [
        list(images.loader("train", batch_size=8, augment=True, seed=3, epoch=1, workers=workers)) for workers in (0, 2)
    ]
    assert same(*epochs)
    first = itertools.islice(images.cycle("valid", batch_size=2, augment=True, workers=2), 3)
    assert same(first, itertools.islice(images.cycle("valid", batch_size=2, augment=True, workers=0), 3))


def test_a_smaller_last_batch_is_left_out_of_training_only() -> None:
    images = image_data(train=33)
    sizes = [len(labels) for _, labels in images.loader("train", batch_size=16)]
    assert sizes == [16, 16] == [16] * len(images.loader("train", batch_size=16))
    assert [len(labels) for _, labels in images.loader("train", batch_size=16, drop_last=False)] == [16, 16, 1]
    assert [len(labels) for _, labels in images.loader("test", batch_size=4)] == [4, 4, 2]


@pytest.mark.parametrize("batch_size", [50, 64])
def test_a_split_no_larger_than_a_batch_is_one_batch(batch_size: int) -> None:
    loader = image_data().loader("train", batch_size=batch_size)
    assert sorted(all_labels(loader)) == list(range(50))
    assert len(loader) == 1


def test_impossible_batches_and_seeds_are_refused() -> None:
    with pytest.raises(ProxylessError, match="batch_size 0"):
        image_data().loader("train", batch_size=0)
    with pytest.raises(ProxylessError, match="seed -1"):
        image_data().loader("train", batch_size=4, seed=-1)


def test_loading_draws_nothing_from_torchs_global_generator() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    list(image_data().loader("train", batch_size=16, augment=True))
    next(image_data().cycle("valid", batch_size=4))
    assert torch.equal(torch.rand(1), expected)


def test_augmentation_is_asked_for_and_may_be_replaced() -> None:
    images = image_data()
    plain = list(images.loader("train", batch_size=16, shuffle=False))
    assert same(plain, images.loader("train", batch_size=16, shuffle=False, augment=Augmentation(flip=False)))
    assert not same(plain, images.loader("train", batch_size=16, shuffle=False, augment=True))
    holes = list(images.loader("train", batch_size=16, augment=Augmentation(cutout=4)))
    assert all((batch == 0).flatten(1).any(1).all() for batch, _ in holes)


def test_the_cycle_goes_round_in_new_order_each_time() -> None:
    labels = [label for _, label in itertools.islice(image_data().cycle("valid", batch_size=5, seed=1), 12)]
    rounds = [torch.cat(labels[start : start + 4]).tolist() for start in (0, 4, 8)]
    assert all(sorted(one) == list(range(20)) for one in rounds)
    assert len({tuple(one) for one in rounds}) == 3


def test_the_cycle_can_begin_anywhere_as_if_it_had_run_so_far() -> None:
    images = image_data()
    whole = list(itertools.islice(images.cycle("valid", batch_size=6, seed=4, augment=True), 11))
    later = itertools.islice(images.cycle("valid", batch_size=6, seed=4, augment=True, start=7), 4)
    assert same(whole[7:], later)
    far = next(images.cycle("valid", batch_size=6, seed=4, start=10**9))
    assert len(far[1]) == 6


def test_the_cycle_goes_on_where_the_split_is_smaller_than_a_batch() -> None:
    for _, labels in itertools.islice(image_data().cycle("test", batch_size=64), 3):
        assert sorted(labels.tolist()) == list(range(10))


def test_workers_may_be_settled_once_for_all_loaders_of_a_data_set() -> None:
    images = dataclasses.replace(image_data(), workers=0)
    assert images.loader("train", batch_size=4).workers == 0
    assert images.loader("train", batch_size=4, workers=2).workers == 2
    assert image_data().loader("train", batch_size=4).workers is None
