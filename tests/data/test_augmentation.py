"""Random changes of training images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from proxyless.data import Augmentation
from proxyless.data.augmentation import augment, cut_out, shift
from proxyless.data.pixels import Block, Ragged
from proxyless.data.preprocessing import Squares
from proxyless.errors import ProxylessError


def random_images(count: int, channels: int = 3, size: int = 16) -> torch.Tensor:
    values = np.random.default_rng(0).integers(1, 256, (count, channels, size, size), dtype=np.uint8)
    return torch.from_numpy(values)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_shift_is_torchvisions_padded_crop(channels: int) -> None:
    images = random_images(25, channels)
    top, left = torch.arange(25) // 5, torch.arange(25) % 5
    shifted = shift(images, top, left, padding=2)
    for index in range(25):
        padded = functional.pad(images[index], [2, 2, 2, 2])
        expected = functional.crop(padded, int(top[index]), int(left[index]), 16, 16)
        assert torch.equal(shifted[index], expected)


def augmented(images: torch.Tensor, augmentation: Augmentation, seed: int = 0) -> torch.Tensor:
    order = np.arange(len(images))
    return augment(Block(images), order, images.shape[-1], augmentation, np.random.default_rng(seed))


def test_every_small_image_is_shifted_and_mirrored_on_its_own() -> None:
    images = random_images(400, 1, 8)
    result = augmented(images, Augmentation(padding=1, flip=True))
    seen = []
    for before, after in zip(images, result, strict=True):
        candidates = {}
        for mirrored in (False, True):
            for top in range(3):
                for left in range(3):
                    crop = functional.crop(functional.pad(before, [1, 1, 1, 1]), top, left, 8, 8)
                    candidates[(top, left, mirrored)] = crop.flip(-1) if mirrored else crop
        matching = [key for key, candidate in candidates.items() if torch.equal(candidate, after)]
        assert len(matching) == 1
        seen.append(matching[0])
    assert len(set(seen)) == 18  # every place and side comes up
    assert 160 < sum(mirrored for _, _, mirrored in seen) < 240  # half of 400, standard deviation 10


def test_flip_can_be_turned_off() -> None:
    images = random_images(64)
    assert torch.equal(augmented(images, Augmentation(flip=False)), images)
    assert not torch.equal(augmented(images, Augmentation(flip=True)), images)


def test_random_resized_crops_keep_at_least_the_smallest_share() -> None:
    # One channel rises by 2 a column, so that the range of a crop tells its width; the other does so by rows.
    ramp = torch.arange(100, dtype=torch.uint8) * 2
    image = torch.stack([ramp.expand(100, 100), ramp[:, None].expand(100, 100), torch.zeros(100, 100)]).to(torch.uint8)
    images = image.expand(200, 3, 100, 100)
    result = augmented(images, Augmentation(min_scale=0.5, flip=False)).int()
    assert result.shape == (200, 3, 100, 100)
    span = (result.amax((2, 3)) - result.amin((2, 3)))[:, :2] / 198
    area = span.prod(1)
    assert area.min() > 0.47
    assert area.min() < 0.6
    assert area.max() > 0.85


def test_colour_jitter_changes_colours_only_within_bounds() -> None:
    images = torch.full((64, 3, 16, 16), 100, dtype=torch.uint8)
    result = augmented(images, Augmentation(color_jitter=0.2, flip=False))
    assert len(result.unique()) > 5
    assert 75 <= int(result.min()) <= int(result.max()) <= 125


def test_images_of_different_sizes_are_cropped_from_all_of_them() -> None:
    wide = np.zeros((3, 64, 256), np.uint8)
    wide[:, :, 192:] = 255  # outside the central square
    tall = np.full((3, 80, 70), 9, np.uint8)
    ragged = Ragged([wide, tall], Squares(64, 3))
    assert ragged[0].shape == (3, 64, 256)
    assert (ragged[1] == 9).all()
    assert int(ragged.squares(np.array([0])).max()) == 0
    indices = np.zeros(32, np.int64)
    crops = augment(ragged, indices, 64, Augmentation(min_scale=0.35), np.random.default_rng(0))
    assert crops.shape == (32, 3, 64, 64)


def test_augmentation_repeats_with_its_seed_and_leaves_torchs_generator_alone() -> None:
    images = random_images(8, 3, 64)
    augmentation = Augmentation.standard(64, 3)
    torch.manual_seed(7)
    expected_draw = torch.rand(1)
    torch.manual_seed(7)
    first = augmented(images, augmentation, seed=1)
    assert torch.equal(torch.rand(1), expected_draw)
    assert torch.equal(augmented(images, augmentation, seed=1), first)
    assert not torch.equal(augmented(images, augmentation, seed=2), first)


def test_cutout_sets_one_square_to_the_mean() -> None:
    images = torch.ones(300, 2, 16, 16)
    result = cut_out(images, 6, np.random.default_rng(0))
    assert torch.equal(images, torch.ones(300, 2, 16, 16))  # the input is left alone
    assert torch.equal(result[:, 0], result[:, 1])
    holes = result[:, 0] == 0
    rows, columns = holes.any(2).sum(1), holes.any(1).sum(1)
    assert torch.equal(holes.sum((1, 2)), rows * columns)  # a rectangle
    assert rows.max() == columns.max() == 6
    assert rows.min() == columns.min() == 3  # centred at the edge, half of it is outside
    assert holes.any(0).all()


def test_the_standard_augmentation_depends_on_size_and_colour() -> None:
    assert Augmentation.standard(28, 1, flip=False) == Augmentation(padding=3, flip=False)
    assert Augmentation.standard(32, 3) == Augmentation(padding=4)
    photo = Augmentation.standard(128, 3)
    assert photo.min_scale == 0.35
    assert photo.color_jitter > 0
    assert Augmentation.standard(128, 1).color_jitter == 0


def test_settings_survive_as_data_and_impossible_ones_are_refused() -> None:
    augmentation = Augmentation(padding=2, cutout=8)
    assert Augmentation.from_dict(augmentation.to_dict()) == augmentation
    for wrong in ({"padding": -1}, {"min_scale": 0.0}, {"min_scale": 1.5}, {"color_jitter": 2.0}, {"cutout": -2}):
        with pytest.raises(ProxylessError, match="augmentation"):
            Augmentation(**wrong)
    with pytest.raises(ProxylessError, match="not a valid record"):
        Augmentation.from_dict({"rotate": 5})
