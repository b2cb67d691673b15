"""How a folder of images is divided into training, held-out and test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from proxyless.data.folder import FileList, list_classes, split_folder
from proxyless.data.splits import HoldOut, held_out
from proxyless.errors import ProxylessError


def touch(root: Path, *folders: str, count: int = 20) -> None:
    """Empty files suffice: listing opens none."""
    for folder in folders:
        (root / folder).mkdir(parents=True)
        for number in range(count):
            (root / folder / f"{number:03d}.jpg").touch()


def top_folders(files: FileList) -> set[str]:
    return {name.split("/")[0] for name in files.names}


def per_class(files: FileList) -> list[int]:
    return np.bincount(files.labels).tolist()


@pytest.mark.parametrize("valid", ["valid", "val", "validation", "Val"])
def test_a_divided_folder_is_used_as_it_is(tmp_path: Path, valid: str) -> None:
    touch(tmp_path, "train/cat", "train/dog", f"{valid}/cat", f"{valid}/dog", "test/cat", "test/dog")
    splits = split_folder(tmp_path, HoldOut())
    assert splits.classes == ("cat", "dog")
    assert [top_folders(files) for files in (splits.train, splits.valid, splits.test)] == [{"train"}, {valid}, {"test"}]
    assert [len(files) for files in (splits.train, splits.valid, splits.test)] == [40, 40, 40]
    assert splits.method == f"train: train/; valid: {valid}/; test: test/"


def test_without_test_images_the_published_validation_set_is_the_test(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat", "train/dog", "val/cat", "val/dog")
    splits = split_folder(tmp_path, HoldOut())
    assert top_folders(splits.test) == {"val"}
    assert top_folders(splits.valid) == {"train"}
    assert per_class(splits.valid) == [2, 2]
    assert per_class(splits.train) == [18, 18]
    assert "test: val/ (there is no test/)" in splits.method
    assert "valid: 0.1 of every class, drawn from train/ with seed 0" in splits.method


def test_without_validation_images_they_are_held_out_of_the_training_images(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog")
    splits = split_folder(tmp_path, HoldOut(valid_fraction=0.25))
    assert top_folders(splits.test) == {"test"}
    assert per_class(splits.valid) == [5, 5]
    assert not set(splits.valid.names) & set(splits.train.names)


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_an_undivided_folder_is_divided_class_by_class(tmp_path: Path, prefix: str) -> None:
    touch(tmp_path, f"{prefix}cat", count=100)
    touch(tmp_path, f"{prefix}dog", count=40)
    splits = split_folder(tmp_path, HoldOut(valid_fraction=0.1, test_fraction=0.2))
    assert per_class(splits.test) == [20, 8]
    assert per_class(splits.valid) == [10, 4]
    assert per_class(splits.train) == [70, 28]
    names = [set(files.names) for files in (splits.train, splits.valid, splits.test)]
    assert len(set.union(*names)) == 140 == sum(len(files) for files in names)
    for files in (splits.train, splits.valid, splits.test):
        assert all(("cat" in name) == (label == 0) for name, label in zip(files.names, files.labels, strict=True))


def test_the_seed_decides_which_images_are_held_out(tmp_path: Path) -> None:
    touch(tmp_path, "cat", "dog")
    first, again, other = (split_folder(tmp_path, HoldOut(seed=seed)) for seed in (1, 1, 2))
    assert first.test.names == again.test.names
    assert first.valid.names == again.valid.names
    assert set(first.test.names) != set(other.test.names)


def test_added_images_move_few_of_the_others() -> None:
    names = [f"image{number}" for number in range(1000)]
    labels = np.zeros(1000, np.int64)
    before = held_out(names, labels, 0.2, seed=3)
    after = held_out([*names, *(f"new{number}" for number in range(20))], np.zeros(1020, np.int64), 0.2, seed=3)
    assert before.sum() == 200
    assert after.sum() == 204
    assert (before != after[:1000]).sum() <= 20


def test_held_out_images_are_spread_over_the_whole_class() -> None:
    mask = held_out([str(number) for number in range(10_000)], np.zeros(10_000, np.int64), 0.1, seed=0)
    tenths = mask.reshape(10, 1000).sum(axis=1)
    assert tenths.min() > 60  # 100 expected, standard deviation 9
    assert tenths.max() < 140


@pytest.mark.parametrize(("members", "expected"), [(1, 0), (2, 1), (3, 1), (14, 1), (15, 2), (100, 10)])
def test_every_class_gives_at_least_one_image_and_keeps_one(members: int, expected: int) -> None:
    mask = held_out([str(number) for number in range(members)], np.zeros(members, np.int64), 0.1, seed=0)
    assert mask.sum() == expected


@pytest.mark.parametrize(("valid", "test"), [(0.0, 0.1), (0.1, 0.0), (0.5, 0.5), (-0.1, 0.2)])
def test_impossible_shares_are_refused(valid: float, test: float) -> None:
    with pytest.raises(ProxylessError, match="valid_fraction"):
        HoldOut(valid, test)


def test_classes_may_be_missing_from_the_test_images_but_not_new_there(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat", "train/dog", "test/dog")
    (tmp_path / "test" / "fish").mkdir()  # empty: nobody is misled
    assert set(split_folder(tmp_path, HoldOut()).test.labels) == {1}
    (tmp_path / "test" / "fish" / "1.jpg").touch()
    with pytest.raises(ProxylessError, match=r"test/fish: class 'fish' is not among .*cat, dog"):
        split_folder(tmp_path, HoldOut())


def test_one_class_and_empty_classes_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "cat")
    with pytest.raises(ProxylessError, match="one class only"):
        split_folder(tmp_path, HoldOut())
    (tmp_path / "dog").mkdir()
    with pytest.raises(ProxylessError, match="dog: class folder without images"):
        split_folder(tmp_path, HoldOut())


def test_folders_without_class_folders_are_refused_with_the_expected_layout(tmp_path: Path) -> None:
    with pytest.raises(ProxylessError, match="expected class folders"):
        split_folder(tmp_path, HoldOut())
    touch(tmp_path, "test/cat", "test/dog")
    with pytest.raises(ProxylessError, match="test/ but no train/"):
        split_folder(tmp_path, HoldOut())


def test_two_validation_folders_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat", "train/dog", "val/cat", "valid/cat")
    with pytest.raises(ProxylessError, match="both valid/ and val/"):
        split_folder(tmp_path, HoldOut())


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    touch(tmp_path, "bus", "car", "train")
    assert split_folder(tmp_path, HoldOut()).classes == ("bus", "car", "train")


def test_only_images_count_and_hidden_ones_do_not(tmp_path: Path) -> None:
    touch(tmp_path, "cat/deeper", "dog", "__MACOSX/cat", ".cache/cat", count=3)
    (tmp_path / "cat" / "notes.txt").touch()
    (tmp_path / "cat" / "._000.jpg").touch()
    (tmp_path / "cat" / "upper.JPG").touch()
    files = list_classes(tmp_path, tmp_path, ("cat", "dog"))
    expected = ["cat/deeper/000.jpg", "cat/deeper/001.jpg", "cat/deeper/002.jpg", "cat/upper.JPG"]
    assert list(files.names) == [*expected, "dog/000.jpg", "dog/001.jpg", "dog/002.jpg"]
