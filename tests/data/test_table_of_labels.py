"""Images whose labels are in a table: a CSV or Parquet file of paths and labels."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from proxyless import ProxylessError, data
from proxyless.data.labelling import Labelling

NUMBERS = np.random.default_rng(0).normal(50, 10, 60).round(1)


@pytest.fixture
def table(tmp_path, write_images):
    """Write a table beside 60 images; ``row`` gives the cells after the path."""
    write_images(tmp_path / "photos", 60)

    def write(header, row, name="labels.csv"):
        lines = [f"photos/{number:03d}.png,{row(number)}" for number in range(60)]
        path = tmp_path / name
        path.write_text("\n".join([header, *lines]) + "\n")
        return path

    return write


def by_image(images):
    """The label of each image, by its pixels."""
    return {
        image.numpy().tobytes(): label.tolist()
        for split in images.splits.values()
        for image, label in zip(split.images(), split.labels, strict=True)
    }


def test_names_are_classes(table):
    path = table("path,label", lambda number: ["cat", "dog", "cat"][number % 3])
    images = data.load(path)
    assert images.labelling is Labelling.CLASSIFICATION
    assert images.classes == ("cat", "dog")
    assert images.source == str(path)
    assert images.train.labels.dtype == torch.int64
    assert [sum(images.counts(split)[label] for split in images.splits) for label in (0, 1)] == [40, 20]
    assert images.counts("valid") == [4, 2]
    assert "task: classification, since column 'label' holds names; --task sets it" in images.remarks()


def test_a_table_and_class_folders_of_the_same_images_give_the_same_splits(tmp_path, write_images):
    for name in ("cat", "dog"):
        write_images(tmp_path / name, 30)
    rows = [f"{name}/{number:03d}.png,{name}" for number in range(30) for name in ("cat", "dog")]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    folders, table = data.load(tmp_path), data.load(tmp_path / "labels.csv")
    assert by_image(folders) == by_image(table)
    for one, other in zip(folders.splits.values(), table.splits.values(), strict=True):
        assert {image.numpy().tobytes() for image in one.images()} == {i.numpy().tobytes() for i in other.images()}


def test_columns_of_0_and_1_are_labels(table):
    path = table("image,red,round", lambda number: f"{number % 2},{number % 3 == 0:d}")
    images = data.load(path)
    assert images.labelling is Labelling.MULTI_LABEL
    assert images.classes == ("red", "round")
    assert images.train.labels.dtype == torch.float32
    assert images.train.labels.shape == (len(images.train), 2)
    assert set(images.train.labels.unique().tolist()) == {0.0, 1.0}
    assert sum(images.counts(split)[0] for split in images.splits) == 30
    assert "2 labels; images: " in images.remarks()[0]
    assert images.describe()["splits"]["train"]["per_class"].keys() == {"red", "round"}


def test_numbers_are_learnt_as_numbers(table):
    images = data.load(table("path;age".replace(";", ","), lambda number: NUMBERS[number]))
    assert images.labelling is Labelling.REGRESSION
    assert images.classes == ("age",)
    assert sorted(label for (label,) in by_image(images).values()) == pytest.approx(sorted(NUMBERS))
    for split in images.splits.values():  # similar ones are in each split
        assert split.labels.mean() == pytest.approx(NUMBERS.mean(), abs=4)
    low, high = images.describe()["splits"]["train"]["range"]["age"]
    assert low == images.train.labels.min()
    assert high == images.train.labels.max()


def test_batches_hold_the_labels_of_their_images(table):
    images = data.load(table("path,x,y", lambda number: f"{NUMBERS[number]},{-number}"))
    known = by_image(images)
    for workers in (0, 1):
        for inputs, labels in images.loader("train", batch_size=16, workers=workers):
            assert labels.shape == (16, 2)
            pixels = (inputs * torch.tensor(images.std)[:, None, None] + torch.tensor(images.mean)[:, None, None]) * 255
            found = [known[image.numpy().tobytes()] for image in pixels.round().to(torch.uint8)]
            assert torch.equal(torch.tensor(found), labels)


def test_a_column_of_splits_is_kept_to(table):
    split = ["train", "Train", "val", "test"]
    images = data.load(table("path,split,label", lambda number: f"{split[number % 4]},{'ab'[number % 2 == 0]}"))
    assert {name: len(split) for name, split in images.splits.items()} == {"train": 30, "valid": 15, "test": 15}
    assert images.split_method == "train: train of the table; valid: valid of the table; test: test of the table"
    assert images.counts("valid") == [0, 15]


def test_without_a_split_of_its_own_validation_is_held_out_of_training(table):
    images = data.load(
        table("path,split,age", lambda number: f"{'test' if number < 10 else 'train'},{NUMBERS[number]}")
    )
    assert len(images.test) == 10
    assert len(images.train) + len(images.valid) == 50
    assert 4 <= len(images.valid) <= 6


def test_the_task_decides_what_whole_numbers_are(table):
    path = table("path,stars", lambda number: 1 + number % 10)
    with pytest.raises(ProxylessError, match=r"whole numbers in column 'stars' may be classes or amounts.*--task"):
        data.load(path)
    classes = data.load(path, labelling=Labelling.CLASSIFICATION)
    assert classes.classes == tuple(str(number) for number in range(1, 11))  # 10 after 9
    amounts = data.load(path, labelling=Labelling.REGRESSION)
    assert amounts.train.labels.max() == 10.0


def test_a_single_1_in_each_line_is_a_class_or_a_label_as_the_task_says(table):
    path = table("path,cat,dog", lambda number: f"{number % 2},{1 - number % 2}")
    with pytest.raises(ProxylessError, match="a single 1, which may be its class or one of many labels"):
        data.load(path)
    assert data.load(path, labelling=Labelling.MULTI_LABEL).train.labels.shape[1] == 2
    images = data.load(path, labelling=Labelling.CLASSIFICATION)
    assert images.classes == ("cat", "dog")
    assert images.counts("train") == [images.counts("train")[0]] * 2


def test_changed_labels_are_found_in_a_record(table):
    path = table("path,age", lambda number: NUMBERS[number])
    record = data.load(path).describe()
    assert data.load(path, record=record).describe()["splits"] == record["splits"]
    table("path,age", lambda number: NUMBERS[number] + (number == 7))
    with pytest.raises(ProxylessError, match=r"split has changed since it was recorded"):
        data.load(path, record=record)


def test_a_record_says_what_is_learnt(table):
    path = table("path,stars", lambda number: 1 + number % 5)
    record = data.load(path, labelling=Labelling.REGRESSION).describe()
    assert record["labelling"] == "regression"
    assert data.load(path, record=record).labelling is Labelling.REGRESSION


def test_the_same_picture_with_two_labels_is_told_of(table, tmp_path):
    path = table("path,age", lambda number: NUMBERS[number])
    (tmp_path / "photos" / "001.png").write_bytes((tmp_path / "photos" / "000.png").read_bytes())
    assert data.load(path).findings.two_labels == 2


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_semicolons_and_tabs_divide_columns_too(table, delimiter):
    path = table("path,label", lambda number: "ab"[number % 2])
    path.write_text("\ufeff" + path.read_text().replace(",", delimiter))
    assert data.load(path).classes == ("a", "b")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "is empty; its first line must name the columns"),
        ("path,label\n", "has no rows below the names"),
        ("path\nphotos/000.png\n", "has no column of labels beside 'path'"),
        ("path,label\nphotos/none.png,1.5\n", r"line 2: no such file .*none.png"),
        ("path,label\nphotos/000.png,cat\nphotos/000.png,dog\n", "line 3: photos/000.png is in line 2 already"),
        ("path,label\nphotos/000.png,cat\nphotos/001.png\n", "line 3: has 1 cells, and the first line 2"),
        ("path,label\nphotos/000.png,cat\nphotos/001.png,\n", "line 3: column 'label' is empty"),
        ("path,label,label\nphotos/000.png,1,2\n", "column 'label' is there twice"),
        ("path,label\nphotos/000.png,cat\nphotos/001.png,cat\n", "one class only"),
        (
            "path,a,b\nphotos/000.png,1,2\nphotos/001.png,1,red\n",
            "line 3: column 'b' holds 'red', which is no number",
        ),
        ("path,label,split\nphotos/000.png,1.5,trian\n", r"line 2: 'trian' is no split.*train"),
        ("path,label,split\nphotos/000.png,1.5,test\n", "none of its rows is of the split train"),
        ('path,label\nphotos/000.png,"cat\n', "line 2: not readable as CSV"),
    ],
)
def test_a_mistake_in_a_table_is_one_line(table, content, line):
    path = table("path,label", lambda number: "x")
    path.write_text(content)
    with pytest.raises(ProxylessError, match=line) as caught:
        data.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_there_and_a_task_without_a_table_are_one_line(tmp_path):
    with pytest.raises(ProxylessError, match=r"none.csv: no such file"):
        data.load(tmp_path / "none.csv")
    with pytest.raises(ProxylessError, match="for regression give a table of labels"):
        data.load(tmp_path, labelling=Labelling.REGRESSION)


def test_a_damaged_image_of_a_table_is_left_out_where_asked_for(table, tmp_path):
    path = table("path,age", lambda number: NUMBERS[number])
    (tmp_path / "photos" / "005.png").write_bytes(b"no image")
    with pytest.raises(ProxylessError, match=r"005.png"):
        data.load(path)
    images = data.load(path, skip_corrupt=True)
    assert images.skipped == ("photos/005.png",)
    assert sum(len(split) for split in images.splits.values()) == 59


def test_parquet_is_read_where_pyarrow_is_installed(table):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = table("path,age", lambda number: NUMBERS[number])
    expected = by_image(data.load(path))
    columns = {"path": [f"photos/{number:03d}.png" for number in range(60)], "age": NUMBERS}
    parquet.write_table(pyarrow.table(columns), path.with_suffix(".parquet"))
    assert by_image(data.load(path.with_suffix(".parquet"))) == expected
    path.with_suffix(".parquet").write_bytes(b"PAR1")
    with pytest.raises(ProxylessError, match="not readable as Parquet"):
        data.load(path.with_suffix(".parquet"))


def test_without_pyarrow_parquet_is_one_line_that_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "labels.parquet").write_bytes(b"PAR1")
    with pytest.raises(ProxylessError, match=r"labels.parquet: to read Parquet: pip install pyarrow"):
        data.load(tmp_path / "labels.parquet")
