"""Loads the images of a folder that has one folder for each class."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from proxyless.data.dataset import ImageData
from proxyless.data.decoding import SUFFIXES_BEFORE
from proxyless.data.folder import list_classes, list_folder
from proxyless.data.image_files import load_files, scan_checked, split_of_files
from proxyless.data.load_settings import LoadSettings
from proxyless.data.loaders import Batches, Loader, Split
from proxyless.data.preprocessing import Preprocessing
from proxyless.data.recorded import Recorded
from proxyless.data.scan import Progress
from proxyless.errors import ProxylessError
from proxyless.files.writing import from_home


def load_folder(
    root: Path,
    settings: LoadSettings,
    recorded: Recorded | None,
    check: Collection[str],
    progress: Progress | None,
) -> ImageData:
    """List the images of a folder and read them; see :func:`proxyless.data.image_files.load_files`."""
    listed = list_folder(root)
    if not settings.by_content:
        listed = listed.only(SUFFIXES_BEFORE)
    return load_files(root, listed, settings, recorded, check, progress)


def folder_loader(
    folder: str | Path,
    *,
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    batch_size: int,
    skip_corrupt: bool = False,
    workers: int | None = None,
) -> Loader:
    """Return a loader of all images in the class folders of a folder, for evaluating a trained network.

    Args:
        folder: It holds one folder for each class; some classes may be missing.
        classes: Those of the network.
        preprocessing: That of the network.
        batch_size: Images of a batch.
        skip_corrupt: Leave out damaged files; otherwise they are an error.
        workers: Processes that load images, see :class:`Loader`.

    Raises:
        ProxylessError: The folder is missing, or has no images, damaged ones, or images of other classes.
    """
    root = from_home(folder).resolve()
    if not root.is_dir():
        raise ProxylessError(f"{folder}: no such folder")
    kind = preprocessing.squares
    files = scan_checked(root, list_classes(root, root, classes), kind, skip_corrupt).files
    if not len(files):
        raise ProxylessError(f"{root}: no images found; expected class folders named as in training")
    return split_loader(split_of_files(root, files, kind), preprocessing, batch_size=batch_size, workers=workers)


def split_loader(split: Split, preprocessing: Preprocessing, *, batch_size: int, workers: int | None = None) -> Loader:
    """Return a loader of all images of a split, in order, for evaluating."""
    batches = Batches(
        split, preprocessing, batch_size, augmentation=None, shuffle=False, drop_last=False, seed=0, epoch=0
    )
    return Loader(batches, range(len(batches)), workers=workers)
