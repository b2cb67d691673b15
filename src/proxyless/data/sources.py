"""Loads a data set by its name or its folder."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxyless import files
from proxyless.data.array_source import load_arrays
from proxyless.data.dataset import SPLITS, ImageData
from proxyless.data.decoding import Rule
from proxyless.data.folder_source import load_folder
from proxyless.data.labelling import Labelling
from proxyless.data.load_settings import MEMORY_LIMIT_BYTES, LoadSettings
from proxyless.data.published import PUBLISHED
from proxyless.data.recorded import Recorded, check_unchanged
from proxyless.data.scan import Progress
from proxyless.data.splits import HoldOut
from proxyless.data.table_source import is_table, load_table
from proxyless.errors import ProxylessError, meant
from proxyless.files import reading

CACHE = Path("~/.cache/proxyless/data")
SMALLEST = 8  # pixels


def load(
    source: str | Path,
    *,
    image_size: int | None = None,
    valid_fraction: float = 0.1,
    test_fraction: float = 0.15,
    seed: int = 0,
    skip_corrupt: bool = False,
    download_to: Path = CACHE,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    grey_range: Sequence[float] | None = None,
    rule: Rule = Rule.PILLOW,
    by_content: bool = True,
    labelling: Labelling | None = None,
    record: Mapping[str, Any] | None = None,
    check: Collection[str] = SPLITS,
    progress: Progress | None = None,
) -> ImageData:
    """Load a data set by its name (a key of ``PUBLISHED``), a folder of images, or a table of labels.

    For folders see :func:`split_folder`, for tables :mod:`proxyless.data.label_table`. Every image file is decoded
    once, so that damage is found before the work starts.

    Args:
        source: Name, folder, or file of the table.
        image_size: Side of the square images in pixels; None: that of the data set, at most 224.
        valid_fraction: Share of every class that is held out where the data set has no validation images.
        test_fraction: Share of every class that is held out where the data set has no test images.
        seed: Decides which images are held out.
        skip_corrupt: Leave out damaged files; otherwise they are an error.
        download_to: Folder for published data sets that are downloaded.
        memory_limit_bytes: Data sets up to this size stay in memory.
        grey_range: Values of 16- and 32-bit greys that become black and white; None: the lowest and the highest value
            in the training images.
        rule: How an image becomes a square; the rule of version 0.1 is there to continue its runs.
        by_content: Recognise images by their content, and hold copies of one image out together. False is there to
            continue runs of version 0.1, which knew images by names and sizes.
        labelling: What is learnt of the images of a table of labels; None: what its labels say, if they leave no doubt.
        record: What :meth:`ImageData.describe` gave before. Its settings replace those given here, and the data set
            must still be the same.
        check: The splits that must not have changed since the record.
        progress: Called with (files decoded, files in all).

    Raises:
        ProxylessError: The name is unknown, the folder is missing, its layout cannot be understood, it has too few
            images, or it has changed since it was recorded.
    """
    settings = LoadSettings(
        HoldOut(valid_fraction, test_fraction, seed),
        image_size,
        skip_corrupt,
        memory_limit_bytes,
        grey_range,
        rule,
        by_content,
        labelling,
    )
    recorded = None
    if record is not None:
        recorded = Recorded.read(source, record)
        settings = recorded.settings(settings)
    if settings.image_size is not None and settings.image_size < SMALLEST:
        raise ProxylessError(f"image_size {settings.image_size} given; it must be at least {SMALLEST} pixels")
    if labelling not in (None, Labelling.CLASSIFICATION) and not is_table(source):
        raise ProxylessError(f"{source}: for {labelling} give a table of labels (.csv, .parquet) as the data")
    if str(source) in PUBLISHED:
        data = load_arrays(str(source), PUBLISHED[str(source)](download_to), settings)
    elif is_table(source):
        data = load_table(table(source), settings, recorded, check, progress)
    else:
        data = load_folder(folder(source), settings, recorded, check, progress)
    if record is None or recorded is None:
        return data
    check_unchanged(source, data, record, check)
    # The mean and std that a model was trained with, in case another version of Pillow decodes a shade differently.
    return replace(data, preprocessing=recorded.preprocessing)


def place(source: str | Path) -> Path:
    """Return the folder of images, or the file of the table of labels, ``source``.

    Raises:
        ProxylessError: There is no such folder or file.
    """
    return table(source) if is_table(source) else folder(source)


def table(source: str | Path) -> Path:
    """Return the file of the table of labels ``source``.

    Raises:
        ProxylessError: There is no such file.
    """
    path = files.from_home(source)
    reading.regular(path)
    return path.resolve()


def folder(source: str | Path) -> Path:
    """Return the folder of images ``source``.

    Raises:
        ProxylessError: There is no such folder.
    """
    path = files.from_home(source)
    if os.path.isdir(path):  # unlike Path.is_dir, this also answers for a text that is too long to be a path
        return path.resolve()
    if os.path.exists(path):
        raise ProxylessError(f"{source}: is a file, but neither a table of labels (.csv, .parquet) nor a folder")
    if isinstance(source, Path) or os.sep in source or source.startswith("."):
        raise ProxylessError(f"{source}: no such folder")
    raise ProxylessError(
        f"unknown data set {source!r}: known are {', '.join(sorted(PUBLISHED))}; or give a folder of images"
        f"{meant(source, PUBLISHED)}"
    )
