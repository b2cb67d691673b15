"""Which files of a folder count, under which class and split, and what is said of the others."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from proxyless import data
from proxyless.data.folder import FolderSplits, split_folder
from proxyless.data.splits import HoldOut
from proxyless.data.tree import AGAIN, BESIDE, CIRCLE, ELSEWHERE, LOOSE, NOT_AN_IMAGE, NOWHERE, SYSTEM
from proxyless.errors import ProxylessError


def touch(root: Path, *folders: str, count: int = 10) -> None:
    """Empty files suffice: listing opens none that has the suffix of an image."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / folder / f"{number:03d}.jpg").touch()


def split(root: Path) -> FolderSplits:
    return split_folder(root, HoldOut())


def counts(found: FolderSplits) -> dict[str, int]:
    return {reason: of["count"] for reason, of in found.left_out.describe().items()}


def all_names(found: FolderSplits) -> list[str]:
    return [name for files in found.splits.values() for name in files.names]


@pytest.mark.parametrize(
    ("train", "valid", "test"),
    [
        ("Training", "Validation", "Testing"),
        ("TRAIN", "VAL", "TEST"),
        ("train_set", "val_set", "test_set"),
        ("trainImages", "validImages", "testImages"),
        ("train2017", "val2017", "test2017"),
        ("training_data", "dev", "evaluation"),
        ("ILSVRC2012_img_train", "ILSVRC2012_img_val", "ILSVRC2012_img_test"),
        ("seg_train/seg_train", "seg_dev/seg_dev", "seg_test/seg_test"),
        ("images/train", "images/val", "images/test"),
        ("Train/Train/Images", "Val/Val/Images", "Test/Test/Images"),
        ("train/images", "val/images", "test/images"),
        ("data/pets/train", "data/pets/val", "data/pets/test"),
        ("train/train", "train/val", "train/test"),
    ],
)
def test_the_usual_spellings_of_split_folders_are_known(tmp_path: Path, train: str, valid: str, test: str) -> None:
    touch(tmp_path, f"{train}/cat", f"{train}/dog", count=4)
    touch(tmp_path, f"{valid}/cat", f"{valid}/dog", count=3)
    touch(tmp_path, f"{test}/cat", f"{test}/dog", count=2)
    (tmp_path / "README.md").write_text("pets")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "cat.txt").touch()
    found = split(tmp_path)
    assert found.classes == ("cat", "dog")
    assert [len(files) for files in found.splits.values()] == [8, 6, 4]
    assert all((found.base / name).exists() for name in all_names(found))


def test_a_wrapping_folder_is_entered_and_named(tmp_path: Path, write_images) -> None:
    for name in ("cat", "dog"):
        write_images(tmp_path / "pets" / "pets" / name, 8)
    (tmp_path / "readme.txt").write_text("pets")
    images = data.load(tmp_path)
    assert images.classes == ("cat", "dog")
    assert "read from pets/pets/ in it" in images.remarks()[0]
    assert images.describe()["found"]["folder"] == "pets/pets"
    assert images.source == str(tmp_path)


@pytest.mark.parametrize(
    ("folders", "files", "message"),
    [
        (["train", "test"], [], "images are in it without class folders"),
        (["train/cat", "train/dog", "val"], [], "or give ROOT/train, and images will be held out of it"),
        (["images/train", "images/val"], ["labels/train/1.txt"], "images/train: 10 images are in it without class"),
        (["images"], ["labels.csv"], "images: 10 images are in it .*or give ROOT/labels.csv"),
        (["."], ["labels.csv"], "its 10 images are in one folder.*or give ROOT/labels.csv"),
        (["images", "masks"], [], "images: 10 images are in it without class folders"),
        (["cat/train", "cat/val", "dog/train", "dog/val"], [], "put the split above the class, as in train/cat"),
        (["cat", "cat/train", "cat/val", "dog", "dog/train", "dog/val"], [], "put the split above the class, as in t"),
        (["fold1/cat", "fold1/dog", "fold2/cat", "fold2/dog"], [], "give one of them, such as ROOT/fold1"),
        (["one/train/cat", "one/train/dog", "two/cat", "two/dog"], [], "give ROOT/one"),
        (["train/cat", "train/dog", "holdout/cat", "holdout/dog"], [], "holdout: .*rename it to valid or test"),
        (["train/steam", "train/diesel", "bus", "car"], [], "give ROOT/train"),
        (["a/b/train/cat", "a/b/train/dog", "a/b/TEST/cat", "a/b/TEST/dog", "c/pictures"], [], "give ROOT/a/b$"),
        (["a/b/train/cat", "a/b/train/dog", "a/b/val/cat", "a/b/val/dog", "test/test"], [], "give ROOT/a/b, which"),
        (["rose", "tulip", "set/rose", "set/tulip"], [], "set: holds folders that are named as the classes beside it"),
        (
            ["train/cat", "train/dog", "train/x/cat", "train/x/dog", "test/cat", "test/dog"],
            [],
            "move ROOT/train/x away",
        ),
        (
            ["train/rgb/cat", "train/rgb/dog", "train/depth/cat", "train/depth/dog", "test/rgb/cat", "test/depth/cat"],
            [],
            "depth/, rgb/ hold the same folders",
        ),
        (["cat", "dog"], ["cat/1.heic", "dog/1.heic"], "left out: not an image that can be opened ..heic. 2"),
        (["train/cat", "train/dog", "Training/cat", "Training/dog"], [], "both train/ and Training/"),
    ],
)
def test_a_layout_that_is_probably_misread_stops_with_what_to_give(
    tmp_path: Path, folders: list[str], files: list[str], message: str
) -> None:
    touch(tmp_path, *folders, count=0 if any(name.endswith(".heic") for name in files) else 10)
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("cat")
    with pytest.raises(ProxylessError, match=message.replace("ROOT", str(tmp_path))) as caught:
        split(tmp_path)
    assert "\n" not in str(caught.value)


def test_everything_that_is_left_out_is_counted_by_reason(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog", "extra")
    for name in ("train/cat/Thumbs.db", "train/dog/.DS_Store", "train/cat/._000.jpg", "test/desktop.ini"):
        (tmp_path / name).write_bytes(b"\0")
    for name in ("train/cat/notes.txt", "train/cat/clip.mpg", "train/dog/raw.nef", "labels.csv"):
        (tmp_path / name).write_text("no image")
    touch(tmp_path, "train", "__MACOSX/train/cat", count=2)
    found = split(tmp_path)
    assert len(found.test) == 20
    assert counts(found) == {SYSTEM: 5, NOT_AN_IMAGE: 4, LOOSE: 2, BESIDE: 10}
    assert found.left_out.describe()[NOT_AN_IMAGE]["examples"][0] == "labels.csv"


def test_the_line_says_what_was_found_and_what_was_left_out(tmp_path: Path, write_images) -> None:
    for part, count in (("train", 12), ("valid", 3), ("test", 4)):
        for name in ("cat", "dog"):
            write_images(tmp_path / part / name, count)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    write_images(tmp_path / "train" / "dog" / "puppy", 5)
    line = data.load(tmp_path).remarks()[0]
    assert line.startswith("2 classes; images: 29 train, 6 valid, 8 test; 5 images lie in subfolders of their class")
    assert line.endswith("left out: not an image that can be opened (.txt) 1")


def test_whatever_pillow_opens_is_read_by_suffix_or_by_signature(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    names = {"a.jfif": "JPEG", "b.jp2": "JPEG2000", "c.tga": "TGA", "d.ico": "ICO", "e.dib": "DIB", "f": "PNG"}
    names |= {"g.PNG": "PNG", "h.jpg_large": "JPEG", "i.0": "WEBP", "j.pcx": "PCX", "k.apng": "PNG", "l.sgi": "SGI"}
    for folder in ("cat", "dog"):
        (tmp_path / folder).mkdir()
        for name, kind in names.items():
            Image.fromarray(pixels).save(tmp_path / folder / name, format=kind)
        (tmp_path / folder / "list").write_text("a list of images\n")
        (tmp_path / folder / "zero").write_bytes(b"")
    found = split(tmp_path)
    assert len(all_names(found)) == 2 * len(names)
    assert counts(found) == {NOT_AN_IMAGE: 4}
    assert sum(len(part) for part in data.load(tmp_path).splits.values()) == 2 * len(names)


def test_links_never_make_a_file_count_twice_or_under_another_label(tmp_path: Path) -> None:
    root, outside = tmp_path / "set", tmp_path / "outside"
    touch(root, "train/cat", "train/dog", "test/cat", "test/dog")
    touch(outside, "more", count=3)
    (root / "train/cat/round").symlink_to(root, target_is_directory=True)
    (root / "train/cat/up").symlink_to("..", target_is_directory=True)
    (root / "train/cat/dogs").symlink_to(root / "train/dog", target_is_directory=True)
    (root / "train/cat/a.jpg").symlink_to(root / "train/dog/000.jpg")
    (root / "train/dog/b.jpg").symlink_to(root / "test/dog/000.jpg")
    (root / "train/dog/c.jpg").symlink_to("001.jpg")
    (root / "train/dog/d.jpg").symlink_to("nowhere.jpg")
    os.link(root / "train/dog/002.jpg", root / "train/dog/hard.jpg")
    (root / "train/cat/more").symlink_to(outside / "more", target_is_directory=True)
    (root / "train/cat/again").symlink_to(outside / "more", target_is_directory=True)
    (root / "train/kitten").symlink_to("cat", target_is_directory=True)
    (outside / "more/back").symlink_to(root / "train", target_is_directory=True)
    found = split(root)
    assert found.classes == ("cat", "dog")
    names = all_names(found)
    assert len({os.path.realpath(root / name) for name in names}) == len(names) == 43
    for files in found.splits.values():
        for name, label in zip(files.names, files.labels, strict=True):
            place = os.path.realpath(root / name)
            assert ("more" in place and label == 0) or f"/{found.classes[label]}/" in place
    assert counts(found) == {CIRCLE: 2, ELSEWHERE: 5, AGAIN: 3, NOWHERE: 1}


def test_links_to_images_that_lie_elsewhere_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "all/x", "all/y")
    for part, numbers in (("train", range(8)), ("test", range(8, 10))):
        for name in ("x", "y"):
            (tmp_path / "links" / part / name).mkdir(parents=True)
            for number in numbers:
                link = tmp_path / "links" / part / name / f"{number}.jpg"
                link.symlink_to(tmp_path / "all" / name / f"{number:03d}.jpg")
    found = split(tmp_path / "links")
    assert (len(found.train) + len(found.valid), len(found.test)) == (16, 4)
    assert counts(found) == {}


def test_a_split_that_is_a_link_to_another_one_counts_once(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat", "train/dog", "val/cat", "val/dog")
    (tmp_path / "test").symlink_to("val", target_is_directory=True)
    found = split(tmp_path)
    assert {name.split("/")[0] for name in found.test.names} == {"val"}
    assert {name.split("/")[0] for name in found.valid.names} == {"train"}
    assert counts(found) == {ELSEWHERE: 1}


def test_class_names_are_text_whatever_the_bytes_of_the_folder(tmp_path: Path) -> None:
    latin, decomposed = os.fsdecode(b"caf\xe9"), "cafe\u0301"
    touch(tmp_path, f"train/{latin}", f"train/{decomposed}", "train/two\nlines", "test/caf\u00e9")
    found = split(tmp_path)
    assert found.classes == ("caf\\xe9", "caf\u00e9", "two\\x0alines")
    assert found.test.labels.tolist() == [1] * 10


def test_files_of_several_pictures_are_told_of(tmp_path: Path, write_images) -> None:
    for name in ("cat", "dog"):
        write_images(tmp_path / name, 8)
    assert "several pictures" not in "".join(data.load(tmp_path).remarks())
    first, second = (Image.new("RGB", (12, 12), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "cat" / "stack.tif", save_all=True, append_images=[second])
    images = data.load(tmp_path)
    assert "some files hold several pictures" in "".join(images.remarks())
    assert data.load(tmp_path, record=images.describe()).remarks() == images.remarks()
