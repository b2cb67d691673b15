"""Finding the classes, splits and image files of a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from proxyless.data.decoding import SUFFIXES
from proxyless.data.splits import HoldOut, held_out
from proxyless.errors import ProxylessError

VALID_NAMES = ("valid", "val", "validation")
LAYOUT = "expected class folders of images, or train/ (and valid/, test/) with class folders in them"


@dataclass(frozen=True)
class FileList:
    """Image files of one split: paths below the data set's folder, and labels int64 (files,)."""

    names: tuple[str, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def where(self, mask: np.ndarray) -> FileList:
        """The files for which ``mask``, bool (files,), is true."""
        names = tuple(name for name, keep in zip(self.names, mask, strict=True) if keep)
        return FileList(names, self.labels[mask])

    def without(self, names: set[str]) -> FileList:
        """All files but ``names``."""
        return self.where(np.array([name not in names for name in self.names], dtype=bool))


@dataclass(frozen=True)
class FolderSplits:
    """What a folder holds, before any image is opened."""

    classes: tuple[str, ...]
    train: FileList
    valid: FileList
    test: FileList
    method: str


def split_folder(root: Path, hold_out: HoldOut) -> FolderSplits:
    """List the images below ``root`` and divide them.

    ``train/``, ``valid/`` and ``test/`` are used as they are. Without ``test/``, ``valid/`` becomes the test
    split, as the public validation set of ImageNet does, and the held-out split is taken from ``train/``.
    Whatever is missing otherwise is taken from the training images, the same share of every class. Raises
    :class:`ProxylessError` on a layout that cannot be read that way.
    """
    folders = _split_folders(root)
    pool_folder = folders.get("train", root)
    by_class = _class_files(root, pool_folder)
    _check_classes(pool_folder, by_class)
    classes = tuple(by_class)
    pool = _file_list(by_class, classes)
    given = {name: list_classes(root, folder, classes) for name, folder in folders.items() if name != "train"}
    source = "train/" if "train" in folders else "the class folders"
    drawn = f"of every class, drawn from {source} with seed {hold_out.seed}"
    valid_share = hold_out.valid_fraction
    if "test" in given:
        test, test_origin = given["test"], f"{folders['test'].name}/"
    elif "valid" in given:
        test, test_origin = given.pop("valid"), f"{folders['valid'].name}/ (there is no test/)"
    else:
        pool, test = _take(pool, hold_out.test_fraction, hold_out.seed)
        test_origin = f"{hold_out.test_fraction:.4g} {drawn}"
        valid_share /= 1 - hold_out.test_fraction  # both shares are of all images
    if "valid" in given:
        valid, valid_origin = given["valid"], f"{folders['valid'].name}/"
    else:
        pool, valid = _take(pool, valid_share, hold_out.seed)
        valid_origin = f"{hold_out.valid_fraction:.4g} {drawn}"
    rest = "" if "valid" in given else "the rest of "
    method = f"train: {rest}{source}; valid: {valid_origin}; test: {test_origin}"
    return FolderSplits(classes, pool, valid, test, method)


def list_classes(root: Path, folder: Path, classes: Sequence[str]) -> FileList:
    """The images in the class folders of ``folder``, labelled by ``classes``, named relative to ``root``.

    Classes may be missing; a folder with images of a class that is not in ``classes`` is a
    :class:`ProxylessError`.
    """
    by_class = _class_files(root, folder)
    for name, files in by_class.items():
        if files and name not in classes:
            raise ProxylessError(
                f"{folder / name}: class {name!r} is not among the training classes ({_some(classes)}); "
                "rename or remove the folder, or add training images"
            )
    return _file_list(by_class, classes)


def _split_folders(root: Path) -> dict[str, Path]:
    """Folders of ``root`` that hold a split, by ``train``, ``valid``, ``test``; empty for class folders right
    below it.
    """
    children = {child.name.lower(): child for child in _subfolders(root)}
    train = children.get("train")
    # A data set of vehicles may well have a *class* called train: only class folders inside make it a split.
    if train is None or not _subfolders(train):
        stray = [name for name in (*VALID_NAMES, "test") if name in children and _subfolders(children[name])]
        if stray:
            raise ProxylessError(f"{root}: has {children[stray[0]].name}/ but no train/ with class folders; {LAYOUT}")
        return {}
    found = [children[name] for name in VALID_NAMES if name in children]
    if len(found) > 1:
        raise ProxylessError(f"{root}: has both {found[0].name}/ and {found[1].name}/; keep one of them")
    folders = {"train": train}
    if found:
        folders["valid"] = found[0]
    if "test" in children:
        folders["test"] = children["test"]
    return folders


def _check_classes(folder: Path, by_class: dict[str, list[str]]) -> None:
    if not any(by_class.values()):
        raise ProxylessError(f"{folder}: no images in class folders found; {LAYOUT}")
    for name, files in by_class.items():
        if not files:
            raise ProxylessError(f"{folder / name}: class folder without images; add some or remove the folder")
    if len(by_class) < 2:
        raise ProxylessError(f"{folder}: one class only ({next(iter(by_class))!r}), at least two are needed; {LAYOUT}")


def _class_files(root: Path, folder: Path) -> dict[str, list[str]]:
    """Image files below each class folder, at any depth, sorted, relative to ``root``."""
    classes = {}
    for child in _subfolders(folder):
        files = []
        for where, inside, names in os.walk(child, followlinks=True):
            inside[:] = [name for name in inside if not _ignored(name)]
            files += [
                (Path(where) / name).relative_to(root).as_posix()
                for name in names
                if not _ignored(name) and os.path.splitext(name)[1].lower() in SUFFIXES
            ]
        classes[child.name] = sorted(files)
    return classes


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not _ignored(child.name))


def _ignored(name: str) -> bool:
    """Hidden files and what archives made on a Mac leave behind."""
    return name.startswith(".") or name == "__MACOSX"


def _file_list(by_class: dict[str, list[str]], classes: Sequence[str]) -> FileList:
    pairs = [(name, label) for label, class_name in enumerate(classes) for name in by_class.get(class_name, [])]
    return FileList(tuple(name for name, _ in pairs), np.array([label for _, label in pairs], dtype=np.int64))


def _take(pool: FileList, fraction: float, seed: int) -> tuple[FileList, FileList]:
    """``pool`` without the held-out images, and those."""
    mask = held_out(pool.names, pool.labels, fraction, seed)
    return pool.where(~mask), pool.where(mask)


def _some(classes: Sequence[str]) -> str:
    return ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
