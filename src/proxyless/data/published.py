"""Loads published data sets by name, as arrays: from torchvision, scikit-learn, or a package of Debian."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from proxyless import files
from proxyless.errors import ProxylessError
from proxyless.files.reading import opened

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
LARGEST = 1 << 28
"""The largest IDX file in bytes, packed or not, that is read; that of Fashion-MNIST is a sixth of it."""

CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True, eq=False)
class Arrays:
    """Images uint8 (images, height, width) or (images, height, width, 3), labels int64 (images,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class PublishedSet:
    """A data set as its authors divided it.

    Args:
        classes: Names of the classes, in the order of the labels.
        train: Training images.
        test: Test images; None where the authors did not divide it.
        flip: Whether a mirrored image is still of its class.
    """

    classes: tuple[str, ...]
    train: Arrays
    test: Arrays | None
    flip: bool


@dataclass(frozen=True)
class TorchvisionSource:
    """A data set of torchvision whose images all have one size.

    Args:
        dataset: Name of the class in ``torchvision.datasets``.
        flip: Whether a mirrored image is still of its class.
        train: Arguments that choose the training images.
        test: Arguments that choose the test images.
    """

    dataset: str
    flip: bool
    train: Mapping[str, Any] = field(default_factory=lambda: {"train": True})
    test: Mapping[str, Any] = field(default_factory=lambda: {"train": False})

    def __call__(self, download_to: Path) -> PublishedSet:
        """Read the data set from a folder, into which it is downloaded first.

        Raises:
            ProxylessError: It cannot be downloaded.
        """
        from torchvision import datasets

        kind = getattr(datasets, self.dataset)
        download_to = files.from_home(download_to)
        try:
            train = kind(root=download_to, download=True, **self.train)
            test = kind(root=download_to, download=True, **self.test)
        except (OSError, RuntimeError) as error:  # RuntimeError: torchvision found no mirror, or a file was damaged
            reason = " ".join(str(error).split())
            raise ProxylessError(
                f"{self.dataset}: could not be downloaded ({reason}); connect to the internet once, "
                f"or put torchvision's files for it under {download_to}"
            ) from None
        arrays = [_gather(half) for half in (train, test)]
        names = getattr(train, "classes", None) or range(int(arrays[0].labels.max()) + 1)
        return PublishedSet(tuple(str(name) for name in names), arrays[0], arrays[1], self.flip)


def fashion_mnist(download_to: Path, installed: Path = DEBIAN_FASHION_MNIST) -> PublishedSet:
    """Load Fashion-MNIST from Debian's package in ``installed``, or download it through torchvision."""
    if (installed / "train-images-idx3-ubyte.gz").exists():
        halves = [
            Arrays(
                _read_idx(installed / f"{half}-images-idx3-ubyte.gz", dimensions=3),
                _read_idx(installed / f"{half}-labels-idx1-ubyte.gz", dimensions=1).astype(np.int64),
            )
            for half in ("train", "t10k")
        ]
        for half in halves:
            if len(half.images) != len(half.labels):
                raise ProxylessError(
                    f"{installed}: {len(half.images)} images but {len(half.labels)} labels; install the package again"
                )
        return PublishedSet(CLOTHES, halves[0], halves[1], flip=True)
    try:
        return TorchvisionSource("FashionMNIST", flip=True)(download_to)
    except ProxylessError as error:
        raise ProxylessError(f"{error}; on Debian or Ubuntu: apt-get install dataset-fashion-mnist") from None


def digits(download_to: Path) -> PublishedSet:
    """Load the 1,797 handwritten digits of 8x8 pixels that come with scikit-learn."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    classes = tuple(str(digit) for digit in range(10))
    return PublishedSet(classes, Arrays(images, bunch.target.astype(np.int64)), None, flip=False)


BY_SPLIT = {"train": {"split": "train"}, "test": {"split": "test"}}

PUBLISHED: dict[str, Callable[[Path], PublishedSet]] = {
    "cifar10": TorchvisionSource("CIFAR10", flip=True),
    "cifar100": TorchvisionSource("CIFAR100", flip=True),
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    "kmnist": TorchvisionSource("KMNIST", flip=False),
    "mnist": TorchvisionSource("MNIST", flip=False),
    "stl10": TorchvisionSource("STL10", flip=True, **BY_SPLIT),
    "svhn": TorchvisionSource("SVHN", flip=False, **BY_SPLIT),
}


def _gather(dataset: Any) -> Arrays:
    """Collect all images and labels of a torchvision data set."""
    pairs = [dataset[index] for index in range(len(dataset))]
    return Arrays(np.stack([np.asarray(image) for image, _ in pairs]), np.array([int(label) for _, label in pairs]))


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read a gzipped IDX file of unsigned bytes.

    It holds two zero bytes, type 8, the number of dimensions, their sizes (big-endian), and the values.
    """
    start = 4 + 4 * dimensions
    with opened(path, LARGEST) as file:
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                head = unpacked.read(start)
                shape = tuple(int.from_bytes(head[at : at + 4], "big") for at in range(4, start, 4))
                size = math.prod(shape)
                data = unpacked.read(size + 1) if size <= LARGEST else b""
        except (OSError, EOFError, zlib.error) as error:
            raise ProxylessError(f"{path}: not readable ({error}); install or download it again") from None
    if head[:4] != bytes([0, 0, 8, dimensions]) or len(data) != size:
        raise ProxylessError(f"{path}: not an IDX file of {dimensions} dimensions; install or download it again")
    return np.frombuffer(data, np.uint8).reshape(shape)
