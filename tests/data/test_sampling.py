"""A sample that stands for a split holds all its classes, wherever they lie."""

from collections import Counter

import numpy as np
import pytest
import torch

from proxyless import data
from proxyless.data.sampling import stratified


@pytest.mark.parametrize("seed", range(5))
def test_every_class_counts_alike_in_a_list_sorted_by_class(seed):
    labels = np.repeat(np.arange(5), [1000, 10, 300, 2, 40])
    counts = Counter(labels[stratified(labels, 50, seed)].tolist())
    # 2 of the class of 2, 10 of the class of 10; the other 38 are divided evenly.
    assert counts[3] == 2
    assert counts[1] == 10
    assert sorted(counts[k] for k in (0, 2, 4)) == [12, 13, 13]


def test_the_images_of_a_class_are_drawn_from_all_of_it_and_no_image_twice():
    labels = np.repeat(np.arange(2), 1000)
    taken = stratified(labels, 100)
    assert len(set(taken.tolist())) == 100
    assert (np.histogram(taken, 8, (0, 2000))[0] > 0).all()
    assert taken.tolist() == stratified(labels, 100).tolist() != stratified(labels, 100, seed=1).tolist()


def test_more_classes_than_images_gives_one_image_of_as_many_and_few_images_gives_all():
    assert len(set(stratified(np.arange(1000), 64).tolist())) == 64
    assert stratified(np.array([1, 0, 1]), 10).tolist() == [0, 1, 2]


def test_a_sample_of_a_data_set_is_normalised_as_its_loaders_are():
    images = data.load("digits")
    sample = images.sample("valid", 20, seed=3)
    found, labels = sample.images(), sample.labels
    whole, classes = next(iter(images.loader("valid", batch_size=len(images.valid))))
    assert sorted(Counter(labels.tolist()).values()) == [2] * 10
    for image, label in zip(found, labels, strict=True):
        (places,) = torch.nonzero((whole == image).flatten(1).all(dim=1), as_tuple=True)
        assert label in classes[places]
    assert torch.equal(torch.cat([part for part, _ in sample]), found)
    assert torch.equal(torch.cat([part for _, part in sample]), labels)
