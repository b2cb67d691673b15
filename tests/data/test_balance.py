"""Batches and weights that make up for classes of unequal size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from proxyless import data
from proxyless.data.balance import balanced_order, class_weights, uneven


def test_in_a_balanced_epoch_every_class_comes_equally_often() -> None:
    labels = np.repeat([0, 1, 2], [90, 10, 1])
    order = balanced_order(labels, np.random.default_rng(0))
    assert len(order) == 101
    assert sorted(np.bincount(labels[order]).tolist()) == [33, 34, 34]
    times = np.bincount(order, minlength=101)
    assert times[:90].max() == 1  # none of a large class comes twice
    assert set(times[90:100].tolist()) == {3, 4}  # those of a small one equally often
    assert times[100] in (33, 34)


def test_every_image_of_a_large_class_has_its_epoch() -> None:
    labels = np.repeat([0, 1], [40, 2])
    seen = {int(i) for epoch in range(12) for i in balanced_order(labels, np.random.default_rng([0, epoch]))}
    assert seen == set(range(42))


def test_a_balanced_epoch_of_equal_classes_has_every_image_once() -> None:
    order = balanced_order(np.tile([0, 1, 2, 3], 5), np.random.default_rng(3))
    assert sorted(order.tolist()) == list(range(20))


def test_classes_are_uneven_above_ten_to_one() -> None:
    assert [uneven(counts) for counts in ([10, 100], [10, 101], [5, 5], [0, 3])] == [False, True, False, True]


def test_weights_give_every_class_the_same_sum() -> None:
    counts = [90, 9, 1]
    weights = class_weights(counts)
    assert [w * c for w, c in zip(weights, counts, strict=True)] == pytest.approx([100 / 3] * 3)
    assert class_weights([7, 7]) == (1.0, 1.0)


def test_loader_and_cycle_are_balanced_on_request_and_repeat_with_their_seed(tmp_path, write_images) -> None:
    for split, many in (("train", 60), ("valid", 24), ("test", 2)):
        write_images(tmp_path / split / "a", many)
        write_images(tmp_path / split / "b", 3 if split == "train" else 2)
    images = data.load(tmp_path)

    def labels(batches) -> list[list[int]]:
        return [targets.tolist() for _, targets in batches]

    def epoch(**how) -> list[list[int]]:
        return labels(images.loader("train", batch_size=16, augment=True, workers=0, **how))

    found = np.array(epoch(balanced=True, epoch=2))
    assert found.shape == (3, 16)
    assert abs(found.mean() - 0.5) < 0.2
    assert np.mean(epoch()) < 0.15
    assert found.tolist() == epoch(balanced=True, epoch=2) != epoch(balanced=True, epoch=1)
    cycle = labels(itertools.islice(images.cycle(batch_size=13, balanced=True, workers=0), 8))
    again = labels(itertools.islice(images.cycle(batch_size=13, balanced=True, start=5, workers=0), 3))
    assert cycle[5:] == again
    assert abs(np.mean(cycle) - 0.5) < 0.1
