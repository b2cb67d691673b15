"""Loading a data set by name or folder: the one door to this package."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxyless import files
from proxyless.data.array_source import load_arrays
from proxyless.data.dataset import ImageData, is_by_content
from proxyless.data.decoding import Rule
from proxyless.data.findings import Findings
from proxyless.data.folder import class_name
from proxyless.data.folder_source import MEMORY_LIMIT_BYTES, SPLITS, Known, load_folder
from proxyless.data.preprocessing import Preprocessing
from proxyless.data.published import PUBLISHED
from proxyless.data.scan import Progress
from proxyless.data.splits import HoldOut
from proxyless.errors import ProxylessError, meant

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
    record: Mapping[str, Any] | None = None,
    check: Collection[str] = SPLITS,
    progress: Progress | None = None,
) -> ImageData:
    """Load the data set ``source``: a name (a key of ``PUBLISHED``) or a folder of images (see
    :func:`split_folder`).

    ``image_size``: side of the square images in pixels (None: the set's own, at most 224). ``valid_fraction``
    and ``test_fraction``: shares of every class to hold out where the set does not come divided, chosen by
    ``seed``. Every file of a folder is decoded once; a damaged one is an error, or left out with
    ``skip_corrupt``. Sets of up to ``memory_limit_bytes`` stay in memory. ``grey_range``: the values of 16- and 32-bit
    greys that become black and white (None: the lowest and highest of the training images). ``rule``: that of
    version 0.1 is for continuing its runs, and so is ``by_content`` False: copies of an image are not kept together,
    and digests are of names and sizes.

    ``record``: what :meth:`ImageData.describe` gave before; its settings replace those given here, and a data
    set whose splits ``check`` have changed since is an error. ``progress(done, total)`` is called as files are decoded.

    Raises :class:`ProxylessError` for an unknown name, a missing folder, a layout that cannot be read, too
    few images.
    """
    known = None
    if record is None:
        hold_out = HoldOut(valid_fraction, test_fraction, seed)
    else:
        hold_out, known = _read_record(source, record)
        image_size = known.preprocessing.image_size
    if image_size is not None and image_size < SMALLEST:
        raise ProxylessError(f"image_size {image_size} given; it must be at least {SMALLEST} pixels")
    if str(source) in PUBLISHED:
        if known is not None:
            rule, by_content = known.preprocessing.rule, known.by_content
        data = load_arrays(
            str(source),
            PUBLISHED[str(source)](download_to),
            image_size=image_size,
            hold_out=hold_out,
            rule=rule,
            by_content=by_content,
        )
    else:
        data = load_folder(
            folder(source),
            image_size=image_size,
            hold_out=hold_out,
            skip_corrupt=skip_corrupt,
            memory_limit_bytes=memory_limit_bytes,
            grey_range=grey_range,
            rule=rule,
            by_content=by_content,
            known=known,
            check=check,
            progress=progress,
        )
    if record is None or known is None:
        return data
    _check_unchanged(source, data, record, check)
    # The numbers a model was trained with, should another version of Pillow decode a shade differently.
    return replace(data, preprocessing=known.preprocessing)


def _read_record(source: str | Path, record: Mapping[str, Any]) -> tuple[HoldOut, Known]:
    """How images were held out, and what is not decided anew."""
    try:
        hold_out = HoldOut(record["valid_fraction"], record["test_fraction"], record["seed"])
        known = Known(
            Preprocessing.from_dict(record["preprocessing"]),
            frozenset(record["skipped"]),
            Findings.of_record(record.get("found", {})),
            {str(name): str(split["digest"]) for name, split in record["splits"].items()},
            is_by_content(record),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ProxylessError(f"{source}: the record of it is damaged ({type(error).__name__}: {error})") from None
    return hold_out, known


def _check_unchanged(source: str | Path, data: ImageData, record: Mapping[str, Any], check: Collection[str]) -> None:
    now = data.describe()
    if [class_name(str(name)) for name in record.get("classes", [])] != [class_name(name) for name in now["classes"]]:
        raise ProxylessError(
            f"{source}: its classes are no longer those of the record; restore them or begin a new run"
        )
    for name, split in now["splits"].items():
        before = record["splits"].get(name, {})
        if name in check and before.get("digest") != split["digest"]:
            raise ProxylessError(
                f"{source}: the {name} split has changed since it was recorded ({before.get('images')} images then, "
                f"{split['images']} now); restore it or begin a new run"
            )


def folder(source: str | Path) -> Path:
    """The folder of images ``source``; that it is none is a :class:`ProxylessError`."""
    path = files.from_home(source)
    if os.path.isdir(path):  # of any text, also of one that is too long for a name
        return path.resolve()
    if os.path.exists(path):
        raise ProxylessError(f"{source}: is a file, not a folder of images")
    if isinstance(source, Path) or os.sep in source or source.startswith("."):
        raise ProxylessError(f"{source}: no such folder")
    raise ProxylessError(
        f"unknown data set {source!r}: known are {', '.join(sorted(PUBLISHED))}; or give a folder of images"
        f"{meant(source, PUBLISHED)}"
    )
