"""Data sets known by name."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from proxyless import data
from proxyless.data import published
from proxyless.data.published import PUBLISHED, PublishedSet, fashion_mnist
from proxyless.errors import ProxylessError


def write_idx(path: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))


def write_fashion_mnist(folder: Path, train: int = 60, test: int = 20) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    written = {}
    for half, count in (("train", train), ("t10k", test)):
        written[half] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(folder / f"{half}-images-idx3-ubyte.gz", written[half])
        write_idx(folder / f"{half}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype(np.uint8))
    return written


def test_fashion_mnist_is_read_from_the_installed_files(tmp_path: Path) -> None:
    written = write_fashion_mnist(tmp_path)
    found = fashion_mnist(tmp_path, installed=tmp_path)
    assert found.test is not None
    assert np.array_equal(found.train.images, written["train"])
    assert np.array_equal(found.test.images, written["t10k"])
    assert found.train.labels.tolist() == [number % 10 for number in range(60)]
    assert len(found.classes) == 10


def test_fashion_mnist_keeps_its_published_test_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_fashion_mnist(tmp_path, train=200)
    monkeypatch.setitem(PUBLISHED, "fashion-mnist", lambda root: fashion_mnist(root, installed=tmp_path))
    images = data.load("fashion-mnist", valid_fraction=0.2)
    assert (len(images.train), len(images.valid), len(images.test)) == (160, 40, 20)
    assert torch.bincount(images.valid.labels).tolist() == [4] * 10
    assert np.array_equal(images.test.images()[:, 0].numpy(), written["t10k"])
    assert images.augmentation.flip
    rest = {image.tobytes() for image in images.train.images().numpy()}
    held = {image.tobytes() for image in images.valid.images().numpy()}
    assert rest | held == {image.tobytes() for image in written["train"]}
    assert not rest & held


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train-images-idx3-ubyte.gz", b"not gzip"),
        ("train-images-idx3-ubyte.gz", gzip.compress(b"\0\0\x08\x03 short")),
        ("t10k-labels-idx1-ubyte.gz", gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 2, 1, 1]))),
    ],
)
def test_damaged_files_of_fashion_mnist_are_errors(tmp_path: Path, name: str, content: bytes) -> None:
    write_fashion_mnist(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ProxylessError, match="again"):
        fashion_mnist(tmp_path, installed=tmp_path)


def test_digits_are_scaled_divided_class_by_class_and_never_mirrored() -> None:
    images = data.load("digits")
    bunch = load_digits()
    sizes = [len(images.train), len(images.valid), len(images.test)]
    assert sum(sizes) == len(bunch.target)
    for split, share in ((images.valid, 0.1), (images.test, 0.15)):
        shares = torch.bincount(split.labels).numpy() / np.bincount(bunch.target)
        assert np.abs(shares - share).max() < 0.005
    assert (images.image_size, images.channels) == (8, 1)
    assert int(images.train.images().max()) == 255
    assert not images.augmentation.flip
    wanted = {(image.tobytes(), int(label)) for image, label in zip(bunch.images, bunch.target, strict=True)}
    for split in images.splits.values():
        original = np.rint(split.images()[:, 0].numpy() / 255 * 16)
        for image, label in zip(original, split.labels, strict=True):
            assert (image.astype(np.float64).tobytes(), int(label)) in wanted
    pixels = images.train.images().numpy() / 255
    assert images.mean[0] == pytest.approx(pixels.mean(), abs=1e-6)
    assert images.std[0] == pytest.approx(pixels.std(), abs=1e-6)


def test_digits_depend_on_the_seed_and_can_be_enlarged() -> None:
    first, again, other = (data.load("digits", seed=seed) for seed in (0, 0, 1))
    assert first.describe() == again.describe()
    assert first.test.digest != other.test.digest
    large = data.load("digits", image_size=32)
    assert large.train.images().shape[1:] == (1, 32, 32)
    assert torch.equal(large.train.labels, first.train.labels)


def test_digits_come_back_by_their_record() -> None:
    record = data.load("digits", seed=3, test_fraction=0.3).describe()
    assert data.load("digits", record=record).describe() == record
    record["splits"]["test"]["digest"] = "another"
    with pytest.raises(ProxylessError, match="test split has changed"):
        data.load("digits", record=record)


class StubCIFAR10:
    """Speaks torchvision's interface without a download."""

    classes = ("red", "green", "blue")

    def __init__(self, root: Path, train: bool, download: bool) -> None:
        assert download
        self.count = 60 if train else 15
        self.train = train

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        if index >= self.count:
            raise IndexError(index)
        colour = [0, 0, 0]
        colour[index % 3] = 100 + index + 100 * (not self.train)
        return Image.new("RGB", (32, 32), tuple(colour)), index % 3


def test_torchvisions_data_sets_keep_channels_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.CIFAR10", StubCIFAR10)
    images = data.load("cifar10", download_to=tmp_path)
    assert images.classes == ("red", "green", "blue")
    assert (images.image_size, images.channels) == (32, 3)
    assert (len(images.train), len(images.valid), len(images.test)) == (54, 6, 15)
    assert torch.equal(images.train.images().float().mean((2, 3)).argmax(1), images.train.labels)
    assert int(images.test.images().max()) >= 200 > int(images.train.images().max())


def refuse(*args: Any, **kwargs: Any) -> None:
    raise RuntimeError("Error downloading:\nno route to host")


def test_a_failed_download_says_what_to_do_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.CIFAR100", refuse)
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", refuse)
    with pytest.raises(ProxylessError, match=r"CIFAR100: could not be downloaded .*no route.* under ") as caught:
        data.load("cifar100", download_to=tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ProxylessError, match=r"could not be downloaded .*apt-get install dataset-fashion-mnist"):
        fashion_mnist(tmp_path, installed=tmp_path)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_named_set_exists_in_its_library(name: str) -> None:
    from torchvision import datasets

    source = PUBLISHED[name]
    if isinstance(source, published.TorchvisionSource):
        assert hasattr(datasets, source.dataset)
        assert set(source.train) == set(source.test) <= {"train", "split"}
    else:
        assert callable(source)


def test_data_sets_without_class_names_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nameless(StubCIFAR10):
        classes = ()

        def __init__(self, root: Path, split: str, download: bool) -> None:
            super().__init__(root, split == "train", download)

    monkeypatch.setattr("torchvision.datasets.SVHN", Nameless)
    found = PUBLISHED["svhn"](tmp_path)
    assert isinstance(found, PublishedSet)
    assert found.classes == ("0", "1", "2")
    assert not found.flip
