"""Images known by what they show: copies in several splits, changes of content, sets of grey and colour images."""

from __future__ import annotations

import json
import os
import shutil
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from proxyless import data
from proxyless.data import fingerprints
from proxyless.data.splits import held_out
from proxyless.errors import ProxylessError


def contents(split: data.Split) -> set[bytes]:
    return {image.numpy().tobytes() for image in split.images()}


def test_copies_in_several_splits_are_counted_and_said(tmp_path: Path, write_images) -> None:
    for part, count in (("train", 10), ("valid", 6), ("test", 5)):
        for name in ("cat", "dog"):
            write_images(tmp_path / part / name, count, seed=len(part) + count)
    for number in range(3):
        shutil.copy(tmp_path / "train/cat" / f"{number:03d}.png", tmp_path / "test/cat" / f"copy{number}.png")
    with Image.open(tmp_path / "valid/dog/001.png") as image:
        image.save(tmp_path / "test/dog/again.bmp")  # other bytes, the same pixels
    images = data.load(tmp_path)
    assert images.findings.shared == {"train/test": 3, "valid/test": 1}
    record = json.loads(json.dumps(images.describe()))
    assert record["found"]["shared"] == {"train/test": 3, "valid/test": 1}
    line = "the same picture in two splits: 3 of test also in train, 1 of test also in valid"
    assert any(remark.startswith(line) for remark in images.remarks())
    assert record["remarks"] == images.remarks()


def test_a_folder_without_copies_has_no_line_about_them(tmp_path: Path, write_images) -> None:
    for name in ("cat", "dog"):
        write_images(tmp_path / name, 12)
    assert len(data.load(tmp_path).remarks()) == 1


@pytest.mark.parametrize(("size", "limit"), [(12, 2**30), (70, 2**30), (12, 0)])
def test_an_undivided_folder_keeps_copies_in_one_split(tmp_path: Path, write_images, size: int, limit: int) -> None:
    for name in ("cat", "dog"):
        for path in write_images(tmp_path / name, 30, size=(size, size)):
            if int(path.stem) % 2 == 0:
                shutil.copy(path, path.with_name(f"copy-{path.name}"))
    images = data.load(tmp_path, memory_limit_bytes=limit)
    found = [contents(split) for split in images.splits.values()]
    assert sum(len(each) for each in found) == len(set.union(*found)) == 60
    assert images.findings.shared == {}
    assert len(images.findings.together) == 30
    assert [len(split) for split in images.splits.values()] == pytest.approx([68, 8, 14], abs=3)
    # As if the images had lain so from the beginning.
    pixels = images.train.images().numpy() / 255
    np.testing.assert_allclose(images.mean, pixels.mean(axis=(0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(images.std, pixels.std(axis=(0, 2, 3)), atol=1e-6)
    for label, name in enumerate(images.classes):
        on_disk = {np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes() for path in (tmp_path / name).iterdir()}
        for split in images.splits.values():
            shown = split.images()[split.labels == label]
            assert {image.numpy().tobytes() for image in shown} <= on_disk
    again = data.load(tmp_path, record=json.loads(json.dumps(images.describe())), memory_limit_bytes=limit)
    assert again.describe() == images.describe()
    assert contents(again.test) == contents(images.test)


def test_without_copies_the_split_is_the_one_of_names_alone() -> None:
    names, labels = [f"{number}.png" for number in range(200)], np.repeat([0, 1], 100)
    plain = held_out(names, labels, 0.2, seed=4)
    assert np.array_equal(held_out(names, labels, 0.2, 4, [("7.png", "8.png")]) == plain, np.ones(200, bool)) or (
        plain[7] != plain[8]
    )
    together = [(f"{number}.png", f"{number + 1}.png") for number in range(0, 60, 2)]
    mask = held_out(names, labels, 0.2, 4, together)
    assert (mask[:60:2] == mask[1:60:2]).all()
    assert mask[:100].sum() == pytest.approx(20, abs=1)
    assert np.array_equal(mask[100:], plain[100:])


def test_a_class_of_one_picture_alone_is_divided_by_name_where_nothing_else_can_be_held_out(
    tmp_path: Path, write_images
) -> None:
    for name, value in (("black", 0), ("white", 255)):
        (tmp_path / name).mkdir()
        for number in range(20):
            Image.new("L", (8, 8), value).save(tmp_path / name / f"{number}.png")
    images = data.load(tmp_path)
    assert [len(split) for split in images.splits.values()] == [30, 4, 6]
    assert images.findings.shared == {"train/valid": 4, "train/test": 6, "valid/test": 6}


def test_a_picture_under_two_classes_is_said_and_never_held_out(tmp_path: Path, write_images) -> None:
    for name in ("cat", "dog"):
        write_images(tmp_path / name, 20)
    for number in range(6):
        shutil.copy(tmp_path / "cat" / f"{number:03d}.png", tmp_path / "dog" / f"cat{number}.png")
    images = data.load(tmp_path)
    assert images.findings.two_labels == 12
    example = images.findings.two_labels_example
    assert [name.split("/")[0] for name in example] == ["cat", "dog"]
    assert any("under two classes: 12 images (cat/" in remark for remark in images.remarks())
    doubtful = {np.asarray(Image.open(tmp_path / name)).transpose(2, 0, 1).tobytes() for name in example}
    assert doubtful <= contents(images.train)
    assert not doubtful & (contents(images.valid) | contents(images.test))


def test_copies_in_arrays_are_counted_as_by_comparing_all_pairs() -> None:
    rng = np.random.default_rng(0)
    keys, labels = rng.integers(0, 40, 60).astype(np.uint64), rng.integers(0, 2, 60)
    names = [str(number) for number in range(60)]
    expected = {tuple(sorted(names[j] for j in range(60) if keys[j] == keys[i])) for i in range(60)}
    assert set(fingerprints.copies(keys, names)) == {group for group in expected if len(group) > 1}
    doubtful = {i for i in range(60) for j in range(60) if keys[i] == keys[j] and labels[i] != labels[j]}
    assert set(fingerprints.under_two_labels(keys, labels).tolist()) == doubtful
    parts = {"a": keys[:20], "b": keys[20:30], "c": keys[30:]}
    counted = fingerprints.shared(parts)
    for pair in ("a/b", "a/c", "b/c"):
        one, other = (parts[name].tolist() for name in pair.split("/"))
        assert counted.get(pair, 0) == sum(key in one for key in other)


@pytest.mark.parametrize("limit", [2**30, 0])
def test_files_that_were_exchanged_are_noticed_though_names_and_sizes_are_the_same(tmp_path: Path, limit: int) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(20):
            pixels = np.random.default_rng([number, *name.encode()]).integers(0, 256, (9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.bmp")
    record = data.load(tmp_path, memory_limit_bytes=limit).describe()
    one, other = tmp_path / "cat/3.bmp", tmp_path / "dog/3.bmp"
    times = [(path.stat().st_atime_ns, path.stat().st_mtime_ns) for path in (one, other)]
    one.rename(tmp_path / "kept")
    other.rename(one)
    (tmp_path / "kept").rename(other)
    for path, ns in zip((one, other), times, strict=True):
        os.utime(path, ns=ns)
    with pytest.raises(ProxylessError, match="has changed since it was recorded"):
        data.load(tmp_path, record=record, memory_limit_bytes=limit)


@pytest.mark.parametrize("limit", [2**30, 0])
def test_moved_images_are_the_same_data(tmp_path: Path, write_images, limit: int) -> None:
    for name in ("cat", "dog"):
        write_images(tmp_path / "here" / name, 20)
    before = data.load(tmp_path / "here", memory_limit_bytes=limit)
    test = contents(before.test)
    shutil.move(tmp_path / "here", tmp_path / "there")
    after = data.load(tmp_path / "there", record=before.describe(), memory_limit_bytes=limit)
    assert contents(after.test) == test


def test_a_few_colour_images_among_many_grey_ones_make_the_set_colour_and_are_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir(parents=True)
        for number in range(600):
            depth = (8, 8, 3) if number % 200 == 101 else (8, 8)
            pixels = rng.integers(0, 256, depth, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number:04d}.bmp")
    images = data.load(tmp_path)
    assert images.channels == 3
    assert images.findings.kinds == {"grey": 1194, "colour": 6}
    assert images.remarks()[1] == "mixed: 1,194 grey and 6 colour images; all are read as colour"


def test_colour_images_in_the_test_split_alone_are_read_as_grey_and_said(tmp_path: Path, write_images) -> None:
    for name in ("cat", "dog"):
        write_images(tmp_path / "train" / name, 12, mode="L")
        write_images(tmp_path / "test" / name, 3)
    images = data.load(tmp_path)
    assert images.channels == 1
    assert images.remarks()[1] == "mixed: 24 grey and 6 colour images; all are read as grey"


def png_of(width: int, height: int) -> bytes:
    """A grey PNG of one bit a pixel, whose bytes are few."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compress(bytes((width // 8 + 1) * height), 9)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_an_image_above_pillows_limit_is_refused_in_megapixels(tmp_path: Path, write_images) -> None:
    for name in ("cat", "dog"):
        write_images(tmp_path / name, 12)
    (tmp_path / "cat" / "map.png").write_bytes(png_of(20_000, 10_000))
    with pytest.raises(
        ProxylessError, match=r"map\.png: an image of 200 megapixels, above the 179 that .*skip_corrupt"
    ):
        data.load(tmp_path)
    assert data.load(tmp_path, skip_corrupt=True).skipped == ("cat/map.png",)


@pytest.mark.parametrize("limit", [2**30, 0])
def test_warnings_of_pillow_never_reach_the_terminal(
    tmp_path: Path, write_images, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # all images here are between that and twice that
    for name in ("cat", "dog"):
        write_images(tmp_path / name, 12)
    palette = Image.fromarray(np.arange(144, dtype=np.uint8).reshape(12, 12)).convert("P")
    palette.save(tmp_path / "dog" / "palette", format="PNG", transparency=bytes(range(200)))
    broken = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x01" * 30
    Image.new("RGB", (12, 12)).save(tmp_path / "dog" / "exif.jpg", exif=broken)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = data.load(tmp_path, memory_limit_bytes=limit)
        assert sum(len(split.images()) for split in images.splits.values()) == 26
        images.preprocessing(tmp_path / "dog" / "palette")
