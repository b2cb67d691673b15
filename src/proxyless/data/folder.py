"""The image files of a folder by split and class."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from proxyless.data.findings import left_out_in_words
from proxyless.data.layout import EXPECTED, find_layout
from proxyless.data.splits import HoldOut, held_out
from proxyless.data.tree import LeftOut, Owner, Tree, collect, relative
from proxyless.errors import ProxylessError, printable


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

    def without(self, names: Collection[str]) -> FileList:
        """All files but ``names``."""
        return self.where(np.array([name not in names for name in self.names], dtype=bool))


@dataclass(frozen=True)
class FolderSplits:
    """What a folder holds, before any image is decoded.

    ``base``: the folder that was read, that which was given or one that it wraps; all names are relative to it.
    ``left_out``: what was passed over, and why. ``in_subfolders``: images that lie deeper than right in their class
    folder.
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
        """By name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


@dataclass(frozen=True)
class FolderFiles:
    """The files of a folder as they lie: ``pool`` is what held-out images are drawn from, ``given`` has the splits that
    have folders of their own, ``folders`` the names of these.
    """

    base: Path
    classes: tuple[str, ...]
    pool: FileList
    given: dict[str, FileList]
    folders: dict[str, str]
    left_out: LeftOut
    in_subfolders: int

    def drawn(self) -> list[str]:
        """The training images and the splits that are drawn from them."""
        given = {"test" if name == "valid" and "test" not in self.given else name for name in self.given}
        return [name for name in ("train", "valid", "test") if name not in given]

    def only(self, suffixes: Collection[str]) -> FolderFiles:
        """The files with one of these suffixes."""

        def chosen(files: FileList) -> FileList:
            return files.where(np.array([os.path.splitext(n)[1].lower() in suffixes for n in files.names], dtype=bool))

        given = {name: chosen(files) for name, files in self.given.items()}
        return FolderFiles(
            self.base, self.classes, chosen(self.pool), given, self.folders, self.left_out, self.in_subfolders
        )

    def divide(self, hold_out: HoldOut, together: Sequence[Sequence[str]] = ()) -> FolderSplits:
        """Without ``test/``, ``valid/`` becomes the test split, as the public validation set of ImageNet does, and the
        held-out split is taken from ``train/``. Whatever is missing otherwise is taken from the training images, the
        same share of every class. ``together``: names of files that stay in one split.
        """
        pool, given, folders = self.pool, dict(self.given), self.folders
        source = f"{folders['train']}/" if "train" in folders else "the class folders"
        drawn = f"of every class, drawn from {source} with seed {hold_out.seed}"
        valid_share = hold_out.valid_fraction
        if "test" in given:
            test, test_origin = given["test"], f"{folders['test']}/"
        elif "valid" in given:
            test, test_origin = given.pop("valid"), f"{folders['valid']}/ (there is no test/)"
        else:
            pool, test = _take(pool, hold_out.test_fraction, hold_out.seed, together)
            test_origin = f"{hold_out.test_fraction:.4g} {drawn}"
            valid_share /= 1 - hold_out.test_fraction  # both shares are of all images
        if "valid" in given:
            valid, valid_origin = given["valid"], f"{folders['valid']}/"
        else:
            pool, valid = _take(pool, valid_share, hold_out.seed, together)
            valid_origin = f"{hold_out.valid_fraction:.4g} {drawn}"
        rest = "" if "valid" in given else "the rest of "
        method = f"train: {rest}{source}; valid: {valid_origin}; test: {test_origin}"
        return FolderSplits(self.base, self.classes, pool, valid, test, method, self.left_out, self.in_subfolders)


def split_folder(root: Path, hold_out: HoldOut) -> FolderSplits:
    """List the images below ``root`` and divide them.

    ``train/``, ``valid/`` and ``test/``, in the usual spellings, are used as they are; see :func:`find_layout` and
    :meth:`FolderFiles.divide`. Raises :class:`ProxylessError` on a layout that cannot be read that way.
    """
    return list_folder(root).divide(hold_out)


def list_folder(root: Path) -> FolderFiles:
    """The images below ``root``. Raises :class:`ProxylessError` on a layout that cannot be read."""
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
    folders = {split: os.path.relpath(folder, layout.base) for split, folder in layout.splits.items()}
    return FolderFiles(Path(layout.base), classes, lists.pop("train"), lists, folders, left_out, deep)


def list_test(root: Path, classes: Sequence[str]) -> tuple[Path, FileList, LeftOut]:
    """The images of the test split of ``root``, or all of them where it has no splits, labelled by ``classes``, the
    folder that their names are relative to, and what was left out.

    Raises:
        ProxylessError: it has splits, but no test images, or has other classes.
    """
    tree, left_out = Tree(), LeftOut(str(root))
    layout = find_layout(tree, str(root), left_out, classes)
    if layout.splits and "test" not in layout.splits:
        other = layout.splits.get("valid", layout.splits["train"])
        raise ProxylessError(f"{root}: has no test/ to evaluate on; give one of its folders, such as {other}")
    base = layout.splits.get("test", layout.base)
    return Path(base), list_classes(Path(base), Path(base), classes, left_out), left_out


def list_classes(root: Path, folder: Path, classes: Sequence[str], left_out: LeftOut | None = None) -> FileList:
    """The images in the class folders of ``folder``, labelled by ``classes``, named relative to ``root``.

    Classes may be missing; a folder with images of a class that is not in ``classes`` is a
    :class:`ProxylessError`.
    """
    names = [class_name(name) for name in classes]
    left_out = LeftOut(str(root)) if left_out is None else left_out
    by_class = _by_class(Tree(), str(root), {"": str(folder)}, left_out)[0][""]
    _check_known(folder, by_class, names)
    return _file_list(by_class, names)


def _by_class(
    tree: Tree, root: str, parts: dict[str, str], left_out: LeftOut
) -> tuple[dict[str, dict[str, list[str]]], int]:
    """The files below the class folders of each part, by part and class; and how many of them lie in subfolders."""
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
    """What a class is called whose folder has this name: bytes that are no UTF-8, and characters that would break a
    line, as ``\\\\xe9``; the rest in one normal form of Unicode, since archives bring either.
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
    """``pool`` without the held-out images, and those."""
    mask = held_out(pool.names, pool.labels, fraction, seed, together)
    return pool.where(~mask), pool.where(mask)


def _some(classes: Sequence[str]) -> str:
    return ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
