"""Lists the image files of a folder by split and class."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from proxyless.data.findings import left_out_in_words
from proxyless.data.layout import EXPECTED, find_layout
from proxyless.data.splits import HoldOut, held_out
from proxyless.data.tree import LeftOut, Owner, Tree, collect, relative
from proxyless.errors import ProxylessError, printable


@dataclass(frozen=True)
class FileList:
    """The image files of one split.

    Args:
        names: Their paths below the folder of the data set.
        labels: Their classes, int64 (files,). Of each class the same share is held out.
        targets: What is learnt instead of the classes, float32 (files, numbers), if anything.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    targets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    def where(self, mask: np.ndarray) -> FileList:
        """Return the files for which ``mask``, bool (files,), is true."""
        names = tuple(name for name, keep in zip(self.names, mask, strict=True) if keep)
        return FileList(names, self.labels[mask], None if self.targets is None else self.targets[mask])

    @property
    def learnt(self) -> np.ndarray:
        """What is learnt of each file: int64 (files,) classes, or float32 (files, numbers)."""
        return self.labels if self.targets is None else self.targets

    def without(self, names: Collection[str]) -> FileList:
        """Return all files except ``names``."""
        return self.where(np.array([name not in names for name in self.names], dtype=bool))


@dataclass(frozen=True)
class FolderSplits:
    """The files of a data set in three splits, before any image is decoded.

    Args:
        base: The folder that was read: the given one or one inside it. All names are relative to it.
        classes: Names of the classes, in the order of the labels.
        train: Training files.
        valid: Files held out of training.
        test: Test files.
        method: Where each split came from, in words.
        left_out: What was passed over, and why.
        in_subfolders: Images that do not lie directly in their class folder, but deeper.
    """

    base: Path
    classes: tuple[str, ...]
    train: FileList
    valid: FileList
    test: FileList
    method: str
    left_out: LeftOut
    in_subfolders: int

    @property
    def splits(self) -> dict[str, FileList]:
        """The three splits by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


@dataclass(frozen=True)
class FolderFiles:
    """The files of a data set as its folders divide them; for other fields see :class:`FolderSplits`.

    Args:
        pool: The files that images are held out of.
        given: The splits that have folders of their own.
        folders: What these are called, by split, such as ``valid/``.
        origin: What the files are called that no such folder holds.
    """

    base: Path
    classes: tuple[str, ...]
    pool: FileList
    given: dict[str, FileList]
    folders: dict[str, str]
    left_out: LeftOut
    in_subfolders: int
    origin: str = "the class folders"

    def drawn(self) -> list[str]:
        """Return the names of the training split and of the splits that are held out of it."""
        given = {"test" if name == "valid" and "test" not in self.given else name for name in self.given}
        return [name for name in ("train", "valid", "test") if name not in given]

    def only(self, suffixes: Collection[str]) -> FolderFiles:
        """Return the files with one of these suffixes alone."""

        def chosen(files: FileList) -> FileList:
            return files.where(np.array([os.path.splitext(n)[1].lower() in suffixes for n in files.names], dtype=bool))

        given = {name: chosen(files) for name, files in self.given.items()}
        return replace(self, pool=chosen(self.pool), given=given)

    def divide(self, hold_out: HoldOut, together: Sequence[Sequence[str]] = ()) -> FolderSplits:
        """Divide the files into three splits.

        A split that has no folder is held out of the training images, the same share of every class. Where there is
        ``valid/`` but no ``test/``, the images of ``valid/`` become the test split, as usual with ImageNet, and the
        validation split is held out of ``train/``.

        Args:
            hold_out: How much is held out.
            together: Groups of names that must stay in one split.
        """
        pool, given, folders = self.pool, dict(self.given), self.folders
        source = folders.get("train", self.origin)
        drawn = f"of every class, drawn from {source} with seed {hold_out.seed}"
        valid_share = hold_out.valid_fraction
        if "test" in given:
            test, test_origin = given["test"], folders["test"]
        elif "valid" in given:
            test, test_origin = given.pop("valid"), f"{folders['valid']} (there is no test/)"
        else:
            pool, test = _take(pool, hold_out.test_fraction, hold_out.seed, together)
            test_origin = f"{hold_out.test_fraction:.4g} {drawn}"
            valid_share /= 1 - hold_out.test_fraction  # both shares are of all images
        if "valid" in given:
            valid, valid_origin = given["valid"], folders["valid"]
        else:
            pool, valid = _take(pool, valid_share, hold_out.seed, together)
            valid_origin = f"{hold_out.valid_fraction:.4g} {drawn}"
        rest = "" if "valid" in given else "the rest of "
        method = f"train: {rest}{source}; valid: {valid_origin}; test: {test_origin}"
        return FolderSplits(self.base, self.classes, pool, valid, test, method, self.left_out, self.in_subfolders)


def split_folder(root: Path, hold_out: HoldOut) -> FolderSplits:
    """List the images below a folder and divide them.

    Folders ``train/``, ``valid/`` and ``test/``, in the usual spellings, are used as they are; see
    :func:`find_layout` and :meth:`FolderFiles.divide`.

    Raises:
        ProxylessError: The layout of the folder cannot be understood.
    """
    return list_folder(root).divide(hold_out)


def list_folder(root: Path) -> FolderFiles:
    """List the images below a folder.

    Raises:
        ProxylessError: The layout of the folder cannot be understood.
    """
    tree, left_out = Tree(), LeftOut(str(root))
    layout = find_layout(tree, str(root), left_out)
    parts = layout.splits or {"train": layout.base}
    by_split, deep = _by_class(tree, layout.base, parts, left_out)
    _check_classes(Path(parts["train"]), by_split["train"], left_out)
    classes = tuple(by_split["train"])
    lists = {}
    for split, by_class in by_split.items():
        _check_known(Path(parts[split]), by_class, classes)
        lists[split] = _file_list(by_class, classes)
    folders = {split: f"{os.path.relpath(folder, layout.base)}/" for split, folder in layout.splits.items()}
    return FolderFiles(Path(layout.base), classes, lists.pop("train"), lists, folders, left_out, deep)


def list_test(root: Path, classes: Sequence[str]) -> tuple[Path, FileList, LeftOut]:
    """List the test images of a folder; where it has no splits, these are all its images.

    Args:
        root: The folder.
        classes: Names of the classes, in the order of the labels.

    Returns:
        The folder that names are relative to, the files, and what was left out.

    Raises:
        ProxylessError: The folder has splits, but no test images; or it has other classes.
    """
    tree, left_out = Tree(), LeftOut(str(root))
    layout = find_layout(tree, str(root), left_out, classes)
    if layout.splits and "test" not in layout.splits:
        other = layout.splits.get("valid", layout.splits["train"])
        raise ProxylessError(f"{root}: has no test/ to evaluate on; give one of its folders, such as {other}")
    base = layout.splits.get("test", layout.base)
    return Path(base), list_classes(Path(base), Path(base), classes, left_out), left_out


def list_classes(root: Path, folder: Path, classes: Sequence[str], left_out: LeftOut | None = None) -> FileList:
    """List the images in the class folders of a folder.

    Args:
        root: The folder that names are relative to.
        folder: It holds the class folders; some classes may be missing.
        classes: Names of the classes, in the order of the labels.
        left_out: Where to note what is passed over.

    Raises:
        ProxylessError: There are images of other classes.
    """
    names = [class_name(name) for name in classes]
    left_out = LeftOut(str(root)) if left_out is None else left_out
    by_class = _by_class(Tree(), str(root), {"": str(folder)}, left_out)[0][""]
    _check_known(folder, by_class, names)
    return _file_list(by_class, names)


def _by_class(
    tree: Tree, root: str, parts: dict[str, str], left_out: LeftOut
) -> tuple[dict[str, dict[str, list[str]]], int]:
    """List the files of each part by class, and count those that lie in subfolders of their class folder."""
    owners, places = [], []
    for part, folder in parts.items():
        listing = tree.listing(folder)
        for name in listing.all_folders:
            owners.append(Owner(os.path.join(folder, name), name in listing.linked_folders))
            places.append((part, class_name(name)))
    found: dict[str, dict[str, list[str]]] = {part: {} for part in parts}
    deep = 0
    for owner, (part, label), files in zip(owners, places, collect(tree, root, owners, left_out), strict=True):
        if files is None:
            continue
        found[part][label] = sorted(found[part].get(label, []) + files)
        depth = relative(owner.path, root).count("/") + 1
        deep += sum(name.count("/") > depth for name in files)
    return {part: dict(sorted(by_class.items())) for part, by_class in found.items()}, deep


def class_name(folder: str) -> str:
    """Return the name of the class whose folder has this name.

    Bytes that are not UTF-8, and control characters, are written as escapes. The rest is in one normal form of Unicode,
    since some archives have composed and some have decomposed letters.
    """
    text = printable(unicodedata.normalize("NFC", folder))
    return "".join(
        f"\\x{ord(character):02x}" if unicodedata.category(character) == "Cc" else character for character in text
    )


def _check_known(folder: Path, by_class: dict[str, list[str]], classes: Sequence[str]) -> None:
    for name, files in by_class.items():
        if files and name not in classes:
            raise ProxylessError(
                f"{folder / name}: class {name!r} is not among the training classes ({_some(classes)}); "
                "rename or remove the folder, or add training images"
            )


def _check_classes(folder: Path, by_class: dict[str, list[str]], left_out: LeftOut) -> None:
    words = left_out_in_words(left_out.describe())
    others = f" (left out: {words})" if words else ""
    if not any(by_class.values()):
        raise ProxylessError(f"{folder}: no images in class folders found{others}; {EXPECTED}")
    for name, files in by_class.items():
        if not files:
            raise ProxylessError(f"{folder / name}: class folder without images{others}; add some or remove the folder")
    if len(by_class) < 2:
        raise ProxylessError(
            f"{folder}: one class only ({next(iter(by_class))!r}), at least two are needed; {EXPECTED}"
        )


def _file_list(by_class: dict[str, list[str]], classes: Sequence[str]) -> FileList:
    pairs = [(name, label) for label, class_name in enumerate(classes) for name in by_class.get(class_name, [])]
    return FileList(tuple(name for name, _ in pairs), np.array([label for _, label in pairs], dtype=np.int64))


def _take(pool: FileList, fraction: float, seed: int, together: Iterable[Sequence[str]]) -> tuple[FileList, FileList]:
    """Return ``pool`` without the held-out images, and these."""
    mask = held_out(pool.names, pool.labels, fraction, seed, together)
    return pool.where(~mask), pool.where(mask)


def _some(classes: Sequence[str]) -> str:
    return ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
