"""Loading image folders: size, channels, statistics, damage, memory, and records of earlier runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from proxyless import data
from proxyless.data import Preprocessing
from proxyless.data.decoding import Header
from proxyless.data.pixels import Block, Files, Ragged
from proxyless.data.scan import usual_size
from proxyless.errors import ProxylessError


def batches(loader: object) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = list(loader)  # type: ignore[call-overload]
    return torch.cat([images for images, _ in pairs]), torch.cat([labels for _, labels in pairs])


@pytest.fixture
def divided(tmp_path: Path, write_images) -> Path:
    for split, count in (("train", 12), ("valid", 4), ("test", 5)):
        # the test images are brighter, so that any use of them for mean and std shows
        low, high = (200, 256) if split == "test" else (0, 100)
        for name in ("cat", "dog"):
            write_images(tmp_path / split / name, count, low=low, high=high, seed=len(split))
    return tmp_path


def test_mean_and_std_are_those_of_the_training_images_alone(divided: Path) -> None:
    images = data.load(divided)
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted((divided / "train").rglob("*.png"))]) / 255
    np.testing.assert_allclose(images.mean, pixels.mean(axis=(0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(images.std, pixels.std(axis=(0, 1, 2)), atol=1e-6)
    assert (images.image_size, images.channels) == (12, 3)


def test_the_description_counts_images_by_split_and_class(divided: Path) -> None:
    description = json.loads(json.dumps(data.load(divided).describe(), allow_nan=False))
    counts = {name: split["per_class"] for name, split in description["splits"].items()}
    assert counts == {
        "train": {"cat": 12, "dog": 12},
        "valid": {"cat": 4, "dog": 4},
        "test": {"cat": 5, "dog": 5},
    }
    assert description["split_method"] == "train: train/; valid: valid/; test: test/"
    assert description["source"] == str(divided)


def test_images_come_with_their_own_labels(divided: Path) -> None:
    images = data.load(divided)
    for label, name in enumerate(images.classes):
        for path in sorted((divided / "test" / name).iterdir()):
            wanted = torch.from_numpy(np.asarray(Image.open(path)).transpose(2, 0, 1).copy())
            found = (images.test.images() == wanted).flatten(1).all(1)
            assert images.test.labels[found].tolist() == [label]


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 3)])
def test_grey_images_stay_grey_and_others_have_three_channels(
    tmp_path: Path, write_images, mode: str, channels: int
) -> None:
    write_images(tmp_path / "a", 8, mode=mode)
    write_images(tmp_path / "b", 8, mode=mode)
    images = data.load(tmp_path)
    assert images.channels == channels == len(images.mean)
    assert images.train.images().shape[1:] == (channels, 12, 12)


def test_one_colour_image_makes_the_set_colour(tmp_path: Path, write_images) -> None:
    write_images(tmp_path / "train" / "a", 8, mode="L")
    write_images(tmp_path / "train" / "b", 8)
    write_images(tmp_path / "test" / "a", 2, mode="L")
    assert data.load(tmp_path).channels == 3


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ([28] * 10, 28),
        ([100] * 6 + [50, 60, 70], 100),  # most are 100
        ([90, 100, 110, 120, 131], 96),  # median 110, to a multiple of 32
        ([40, 41, 42], 41),  # small ones are not rounded
        ([640] * 10, 224),
        ([300, 400, 500], 224),
    ],
)
def test_the_usual_size_is_the_common_one_or_the_rounded_median(sides: list[int], expected: int) -> None:
    assert usual_size([Header(side + 10, side, grey=False) for side in sides]) == expected


def test_mixed_sizes_and_shapes_become_squares_with_the_largest_crop_kept_for_training(
    tmp_path: Path, write_images
) -> None:
    write_images(tmp_path / "a", 12, size=(200, 100), suffix=".jpg")
    write_images(tmp_path / "b", 12, size=(70, 90))
    images = data.load(tmp_path, image_size=64)
    assert isinstance(images.train.pixels, Ragged)
    assert {tuple(images.train.pixels[i].shape) for i in range(len(images.train))} == {(3, 80, 160), (3, 90, 70)}
    assert isinstance(images.valid.pixels, Block)
    for split in images.splits.values():
        assert split.images().shape == (len(split), 3, 64, 64)
    crops, _ = batches(images.loader("train", batch_size=4, augment=True, workers=0))
    assert crops.shape[1:] == (3, 64, 64)


def test_image_size_is_the_users_choice_within_reason(divided: Path) -> None:
    assert data.load(divided, image_size=24).train.images().shape[1:] == (3, 24, 24)
    with pytest.raises(ProxylessError, match="image_size 4"):
        data.load(divided, image_size=4)


def test_batches_are_what_preprocessing_makes_of_the_files(tmp_path: Path, write_images) -> None:
    for split in ("train", "valid", "test"):
        for name in ("a", "b"):
            write_images(tmp_path / split / name, 4, size=(90, 70))
    for limit in (2**30, 0):
        images = data.load(tmp_path, image_size=64, memory_limit_bytes=limit)
        found, _ = batches(images.loader("test", batch_size=3, workers=0))
        expected = np.stack([images.preprocessing(path) for path in sorted((tmp_path / "test").rglob("*.png"))])
        assert np.array_equal(found.numpy(), expected)


def test_a_set_too_large_for_memory_is_read_from_files_with_the_same_result(divided: Path) -> None:
    memory, files = data.load(divided), data.load(divided, memory_limit_bytes=0)
    assert isinstance(memory.train.pixels, Block)
    assert isinstance(files.train.pixels, Files)
    assert memory.describe() == files.describe()
    for split in ("train", "test"):
        a, b = (batches(images.loader(split, batch_size=4, workers=0)) for images in (memory, files))
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("limit", [2**30, 0])
def test_a_truncated_image_is_an_error_naming_it(divided: Path, split: str, limit: int) -> None:
    damage(divided / split / "dog" / "003.png")
    with pytest.raises(ProxylessError, match=f"{split}/dog/003.png: unreadable image") as caught:
        data.load(divided, memory_limit_bytes=limit)
    assert "\n" not in str(caught.value)
    damage(divided / split / "cat" / "001.png")
    with pytest.raises(ProxylessError, match=r"cat/001\.png.* and 1 more; .*skip_corrupt"):
        data.load(divided, memory_limit_bytes=limit)


@pytest.mark.parametrize("limit", [2**30, 0])
def test_truncated_images_are_skipped_and_listed_on_request(divided: Path, limit: int) -> None:
    damage(divided / "train" / "dog" / "003.png")
    damage(divided / "test" / "cat" / "000.png")
    images = data.load(divided, skip_corrupt=True, memory_limit_bytes=limit)
    assert images.skipped == ("test/cat/000.png", "train/dog/003.png")
    assert images.describe()["skipped"] == ["test/cat/000.png", "train/dog/003.png"]
    assert (len(images.train), len(images.test)) == (23, 9)
    found, labels = batches(images.loader("test", batch_size=4, workers=0))
    assert len(found) == 9
    assert labels.tolist() == [0] * 4 + [1] * 5


def test_a_class_with_nothing_but_damaged_images_is_an_error(divided: Path) -> None:
    for path in (divided / "train" / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ProxylessError, match="class 'dog'"):
        data.load(divided, skip_corrupt=True)
    for path in (divided / "train" / "cat").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ProxylessError, match="not an image"):
        data.load(divided, skip_corrupt=True)


def test_a_split_without_images_is_an_error(tmp_path: Path, write_images) -> None:
    write_images(tmp_path / "a", 1)
    write_images(tmp_path / "b", 1)
    with pytest.raises(ProxylessError, match="no images for the valid split"):
        data.load(tmp_path)


def test_progress_is_told_of_every_file(divided: Path) -> None:
    seen: list[tuple[int, int]] = []
    data.load(divided, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (42, 42)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_record_brings_back_the_same_data(tmp_path: Path, write_images) -> None:
    write_images(tmp_path / "a", 20)
    damage(write_images(tmp_path / "b", 20)[4])
    first = data.load(tmp_path, image_size=16, seed=5, valid_fraction=0.2, skip_corrupt=True)
    record = json.loads(json.dumps(first.describe()))
    again = data.load(tmp_path, record=record)
    assert again.describe() == first.describe()
    assert torch.equal(again.valid.images(), first.valid.images())


def test_the_recorded_mean_and_std_are_used_to_the_last_digit(divided: Path) -> None:
    record = data.load(divided).describe()
    record["preprocessing"]["mean"] = [0.111, 0.222, 0.333]
    assert data.load(divided, record=record).mean == (0.111, 0.222, 0.333)


def test_a_record_spares_a_large_set_a_second_decoding(divided: Path) -> None:
    record = data.load(divided, memory_limit_bytes=0).describe()
    seen: list[int] = []
    again = data.load(divided, record=record, memory_limit_bytes=0, progress=lambda done, total: seen.append(done))
    assert not seen
    assert again.describe() == record


def test_data_that_changed_since_the_record_is_an_error(divided: Path, write_images) -> None:
    record = data.load(divided).describe()
    write_images(divided / "test" / "cat", 6)
    with pytest.raises(ProxylessError, match=r"the test split has changed .*10 images then, 11 now"):
        data.load(divided, record=record)
    write_images(divided / "train" / "eel", 5)
    with pytest.raises(ProxylessError, match="classes are no longer"):
        data.load(divided, record=record)
    with pytest.raises(ProxylessError, match="record of it is damaged"):
        data.load(divided, record={"seed": 0})


@pytest.mark.parametrize(
    "found",
    [
        [],
        {"left_out": {"x": {}}},
        {"left_out": {"x": {"count": "many", "examples": []}}},
        {"shared": {"train": 3}},
        {"shared": {"train/test": []}},
        {"kinds": {"grey": 3}},
        {"together": 3},
        {"two_labels": None},
    ],
)
def test_a_record_of_findings_that_is_damaged_is_one_line(divided: Path, found: object) -> None:
    record = data.load(divided).describe() | {"found": found}
    with pytest.raises(ProxylessError, match="record of it is damaged"):
        data.load(divided, record=record)


def test_sources_that_do_not_exist_are_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ProxylessError, match=r"unknown data set 'fashion': known are cifar10, .*or give a folder"):
        data.load("fashion")
    with pytest.raises(ProxylessError, match="nowhere: no such folder"):
        data.load(tmp_path / "nowhere")
    (tmp_path / "file.zip").touch()
    with pytest.raises(ProxylessError, match="is a file"):
        data.load(tmp_path / "file.zip")


def test_a_folder_of_new_images_can_be_evaluated(tmp_path: Path, write_images) -> None:
    paths = write_images(tmp_path / "dog", 3, size=(30, 20))
    preprocessing = Preprocessing(16, 3, (0.5,) * 3, (0.25,) * 3)
    loader = data.folder_loader(tmp_path, classes=("cat", "dog"), preprocessing=preprocessing, batch_size=2, workers=0)
    found, labels = batches(loader)
    assert labels.tolist() == [1, 1, 1]
    assert np.array_equal(found.numpy(), np.stack([preprocessing(path) for path in paths]))
    with pytest.raises(ProxylessError, match="class 'dog' is not among"):
        data.folder_loader(tmp_path, classes=("cat", "eel"), preprocessing=preprocessing, batch_size=2)
    damage(paths[0])
    with pytest.raises(ProxylessError, match=r"000\.png: unreadable"):
        data.folder_loader(tmp_path, classes=("cat", "dog"), preprocessing=preprocessing, batch_size=2)


@pytest.mark.parametrize("place", ["a/" + "b" * 300, "a/b\0c"])
def test_a_place_that_can_be_no_folder_is_one_line(place):
    with pytest.raises(ProxylessError, match="no such folder"):
        data.load(place)
