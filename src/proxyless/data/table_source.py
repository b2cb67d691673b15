"""Loads the images that a table of labels names."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from proxyless.data.dataset import ImageData
from proxyless.data.folder import FileList, FolderFiles
from proxyless.data.image_files import load_files
from proxyless.data.label_table import SUFFIXES, Labels, read_labels, split_called
from proxyless.data.labelling import Labelling
from proxyless.data.layout import SPELLINGS
from proxyless.data.load_settings import LoadSettings
from proxyless.data.recorded import Recorded
from proxyless.data.scan import Progress
from proxyless.data.tree import LeftOut
from proxyless.errors import ProxylessError

STRATA = 10
"""Groups of similar images, at most, of which as large a share of each is held out, where labels are no classes."""

SMALLEST_STRATUM = 10
"""Images of such a group at the least."""


def is_table(source: str | Path) -> bool:
    """Say whether the name of a data set is that of a table of labels."""
    return str(source).lower().endswith(SUFFIXES)


def load_table(
    path: Path,
    settings: LoadSettings,
    recorded: Recorded | None,
    check: Collection[str],
    progress: Progress | None,
) -> ImageData:
    """Read a table of labels, and its images; see :func:`proxyless.data.image_files.load_files`."""
    labels = read_labels(path, settings.labelling)
    if _is_classes(labels) and len(labels.names) < 2:
        raise ProxylessError(f"{path}: one class only ({labels.names[0]!r}), at least two are needed")
    images = load_files(path, list_table(labels), settings, recorded, check, progress)
    return replace(images, labelling=labels.labelling, labelling_reason=labels.reason)


def list_table(labels: Labels) -> FolderFiles:
    """List the images of a table of labels, by split.

    Paths are relative to the folder of the table. Rows without a split of their own are the images that splits are
    drawn from.

    Raises:
        ProxylessError: An image is missing or named twice, or the table's splits are no splits.
    """
    table, base, files, splits = labels.table, labels.table.path.parent, _listed(labels), _splits(labels)
    if "train" not in splits:
        raise ProxylessError(f"{table.path}: none of its rows is of the split train; every split needs some")
    lists = {name: files.where(np.array([split == name for split in splits])) for name in dict.fromkeys(splits)}
    return FolderFiles(
        base,
        labels.names,
        lists.pop("train"),
        lists,
        {} if labels.splits is None else {name: f"{name} of the table" for name in SPELLINGS},
        LeftOut(str(base)),
        0,
        origin="the table",
    )


def list_test_rows(path: Path, names: Sequence[str], labelling: Labelling) -> tuple[Path, FileList]:
    """List the images of the test split of a table, or all of them where it has no splits.

    Args:
        path: The table.
        names: Of the classes, labels or numbers of a network.
        labelling: What it has learnt.

    Returns:
        The folder that the files are relative to, and the files, labelled by ``names``.

    Raises:
        ProxylessError: The table has splits but no test images, or other classes, labels or numbers.
    """
    labels = read_labels(path, labelling)
    unknown = [name for name in labels.names if name not in names]
    if unknown or (not _is_classes(labels) and labels.names != tuple(names)):
        raise ProxylessError(
            f"{path}: is about {', '.join(labels.names)}, and the network about {', '.join(names)}; give a table of the"
            " same"
        )
    files, splits = _listed(labels), _splits(labels)
    if _is_classes(labels):
        places = np.array([names.index(name) for name in labels.names], np.int64)
        files = replace(files, labels=places[files.labels])
    if labels.splits is None:
        return path.parent, files
    if "test" not in splits:
        raise ProxylessError(f"{path}: none of its rows is of the split test to evaluate on")
    return path.parent, files.where(np.array([split == "test" for split in splits]))


def _splits(labels: Labels) -> list[str]:
    """Say which split each row belongs to: ``train`` where the table does not say it."""
    if labels.splits is None:
        return ["train"] * len(labels.paths)
    return [split_called(labels, row, SPELLINGS) for row in range(len(labels.paths))]


def _listed(labels: Labels) -> FileList:
    """List the images of all rows.

    Raises:
        ProxylessError: An image is missing or named twice.
    """
    table, base = labels.table, labels.table.path.parent
    names = [os.path.normpath(path) for path in labels.paths]
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        if not os.path.isfile(base / name):
            raise ProxylessError(f"{table.at(row)}: no such file {base / name}; paths are relative to {base}")
        if name in seen:
            first = table.lines[seen[name]]
            raise ProxylessError(f"{table.at(row)}: {name} is in line {first} already; keep one of the two")
        seen[name] = row
    return FileList(tuple(names), _strata(labels), None if _is_classes(labels) else labels.targets)


def _is_classes(labels: Labels) -> bool:
    return labels.labelling is Labelling.CLASSIFICATION


def _strata(labels: Labels) -> np.ndarray:
    """Number the group that each image belongs to when images are held out: int64 (images,).

    These are the classes; for several labels, the images that have the same; for numbers, images with similar values
    of the first one.
    """
    if _is_classes(labels):
        return labels.targets
    count = len(labels.targets)
    if labels.labelling is Labelling.REGRESSION:
        groups = max(1, min(STRATA, count // (2 * SMALLEST_STRATUM)))
        ranks = labels.targets[:, 0].argsort(kind="stable").argsort(kind="stable")
        return (ranks * groups // count).astype(np.int64)
    _, group, sizes = np.unique(labels.targets, axis=0, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    return np.where(sizes[group] < SMALLEST_STRATUM, len(sizes), group).astype(np.int64)
