"""Loads the images that a table of labels names."""

from __future__ import annotations

import os
from collections.abc import Collection
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
    images = load_files(path, list_table(labels), settings, recorded, check, progress)
    return replace(images, labelling=labels.labelling, labelling_reason=labels.reason)


def list_table(labels: Labels) -> FolderFiles:
    """List the images of a table of labels, by split.

    Paths are relative to the folder of the table. Rows without a split of their own are the images that splits are
    drawn from.

    Raises:
        ProxylessError: An image is missing or named twice, or the table's splits are no splits.
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
    files = FileList(tuple(names), _strata(labels), None if _is_classes(labels) else labels.targets)
    splits = ["train"] * len(names)
    if labels.splits is not None:
        splits = [split_called(labels, row, SPELLINGS) for row in range(len(names))]
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
