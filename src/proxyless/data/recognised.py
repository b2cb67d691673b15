"""Finds the images of an earlier run again by their content, under other names or among other images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from proxyless.data.augmentation import Augmentation
from proxyless.data.dataset import SPLITS, ImageData, is_by_content
from proxyless.data.findings import left_out_in_words
from proxyless.data.fingerprints import FILE, PIXELS, digests_of_files, of_split
from proxyless.data.folder import FileList, list_folder, list_test
from proxyless.data.greys import range_of
from proxyless.data.image_files import scan_checked, split_of_files
from proxyless.data.labelling import Labelling
from proxyless.data.loaders import Split
from proxyless.data.pixels import Block
from proxyless.data.preprocessing import Preprocessing
from proxyless.data.splits import HoldOut
from proxyless.data.table_source import is_table, list_test_rows
from proxyless.errors import ProxylessError

Fingerprints = Mapping[str, np.ndarray]
"""uint64 (images, 2) of each split; see :mod:`proxyless.data.fingerprints`."""


def same_images(root: Path, record: Mapping[str, Any], fingerprints: Fingerprints) -> ImageData | None:
    """Return the recorded splits in the recorded order, if a folder holds exactly the recorded images.

    Each of them must be under its class; the names of the files do not matter.

    Args:
        root: The folder.
        record: What :meth:`ImageData.describe` gave.
        fingerprints: Those of the recorded images.

    Returns:
        The data set, or None where the folder holds other images.
    """
    listed = list_folder(root)
    parts = [listed.pool, *listed.given.values()]
    names = [name for part in parts for name in part.names]
    recorded = [int(digest) for name in SPLITS for digest in fingerprints[name][:, FILE]]
    if len(names) != len(recorded) + len(record["skipped"]) or list(listed.classes) != list(record["classes"]):
        return None
    found = digests_of_files(listed.base, names).tolist()
    if Counter(recorded) - Counter(found):
        return None
    places: dict[int, list[int]] = {}
    for number in reversed(range(len(found))):
        places.setdefault(found[number], []).append(number)
    labels = np.concatenate([part.labels for part in parts])
    preprocessing = Preprocessing.from_dict(record["preprocessing"])
    splits = {}
    for name in SPLITS:
        order = [places[int(digest)].pop() for digest in fingerprints[name][:, FILE]]
        files = FileList(tuple(names[number] for number in order), labels[order])
        digest = of_split(fingerprints[name][:, FILE], files.labels)
        if is_by_content(record) and digest != record["splits"][name].get("digest"):
            return None  # under other classes than they were; a record of version 0.1 does not say which those are
        splits[name] = split_of_files(listed.base, files, preprocessing.squares)
    return ImageData(
        source=str(root),
        classes=listed.classes,
        preprocessing=preprocessing,
        augmentation=Augmentation.standard(preprocessing.image_size, preprocessing.channels),
        train=splits["train"],
        valid=splits["valid"],
        test=splits["test"],
        split_method=str(record.get("split_method", "")),
        hold_out=HoldOut(record["valid_fraction"], record["test_fraction"], record["seed"]),
        fingerprints=fingerprints,
    )


@dataclass(frozen=True)
class Unseen:
    """The images of a data set that a network was not made with.

    Args:
        split: The images.
        seen: How many others it was made with.
        deep: Whether there are greys of 16 or 32 bits among them, though it was made with none.
        colour: Images in colour, which are read as grey, since the network was made with greys.
        held_out: Whether all of them were held out of its training. Its architecture was chosen by these images, so
            that they are no test.
        left_out: What was passed over in the folder, in words.
    """

    split: Split
    seen: int
    deep: bool = False
    colour: int = 0
    held_out: bool = False
    left_out: str = ""


def unseen_files(
    root: Path,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    fingerprints: Fingerprints | None,
    labelling: Labelling = Labelling.CLASSIFICATION,
) -> Unseen:
    """Find the test images of a folder, or of a table of labels, that a network was not made with.

    Args:
        root: The folder or the table; where it has no splits, all its images are test images.
        classes: Those of the network, or its labels or numbers.
        preprocessing: That of the network.
        fingerprints: Those of the images that it was made with, if they are known.
        labelling: What the network has learnt.

    Raises:
        ProxylessError: There are no test images, damaged ones or other classes, or the network was made with all of
            them.
    """
    words = ""
    if is_table(root):
        base, files = list_test_rows(root, classes, labelling)
    elif labelling is Labelling.CLASSIFICATION:
        base, files, left_out = list_test(root, classes)
        words = left_out_in_words(left_out.describe())
    else:
        raise ProxylessError(f"{root}: for {labelling} give a table of labels (.csv, .parquet)")
    checked = scan_checked(base, files, preprocessing.squares)
    if not len(checked.files):
        others = f" (left out: {words})" if words else ""
        raise ProxylessError(f"{root}: no images found{others}; expected class folders named as in training")
    new = ~_seen(checked.fingerprints, fingerprints)
    # Who names just the folder of the held-out images wants to evaluate on these.
    held_out = bool(fingerprints is not None and _among(checked.fingerprints, fingerprints["valid"]).all())
    if held_out:
        new[:] = True
    kept = checked.files.where(new)
    _check_any(root, new)
    split = split_of_files(base, kept, preprocessing.squares)
    deep = preprocessing.grey_range is None and range_of(base, kept.names) is not None
    colour = checked.colour if preprocessing.channels == 1 else 0
    return Unseen(split, int((~new).sum()), deep, colour, held_out, words)


def unseen_images(source: str, images: ImageData, fingerprints: Fingerprints | None) -> Unseen:
    """Find the test images of a published data set that a network was not made with; see :func:`unseen_files`."""
    new = ~_seen(images.fingerprints["test"], fingerprints)
    _check_any(source, new)
    kept = np.flatnonzero(new)
    return Unseen(Split(Block(images.test.images(kept)), images.test.labels[torch.from_numpy(kept)], ""), sum(~new))


def _seen(found: np.ndarray, fingerprints: Fingerprints | None) -> np.ndarray:
    """Say which images weights or architecture were fitted to: bool (images,)."""
    if fingerprints is None:
        return np.zeros(len(found), bool)
    return _among(found, np.concatenate([fingerprints["train"], fingerprints["valid"]]))


def _among(found: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Say which of the ``found`` fingerprints are among the ``known`` ones, by file or by pixels: bool (images,)."""
    return np.isin(found[:, FILE], known[:, FILE]) | np.isin(found[:, PIXELS], known[:, PIXELS])


def _check_any(source: str | Path, new: np.ndarray) -> None:
    if not new.any():
        raise ProxylessError(
            f"{source}: the network was made with all of its {len(new):,} images; give images that it has not seen"
        )
