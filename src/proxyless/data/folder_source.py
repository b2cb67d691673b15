"""A folder of images made into splits: listed, decoded once, and kept in memory where it fits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from proxyless.data.augmentation import Augmentation
from proxyless.data.dataset import ImageData
from proxyless.data.decoding import Rule
from proxyless.data.findings import Findings
from proxyless.data.folder import FileList, list_classes, split_folder
from proxyless.data.greys import range_of
from proxyless.data.loaders import Batches, Split, make_loader
from proxyless.data.pixels import Files, Pixels
from proxyless.data.preprocessing import Preprocessing, Squares
from proxyless.data.scan import Progress, sample_headers, scan, stored_bytes, usual_size
from proxyless.data.splits import HoldOut, check_not_empty
from proxyless.errors import ProxylessError

MEMORY_LIMIT_BYTES = 2 << 30


def load_folder(
    root: Path,
    *,
    image_size: int | None,
    hold_out: HoldOut,
    skip_corrupt: bool = False,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    grey_range: Sequence[float] | None = None,
    rule: Rule = Rule.PILLOW,
    known: tuple[Preprocessing, frozenset[str]] | None = None,
    progress: Progress | None = None,
) -> ImageData:
    """See :func:`proxyless.data.load`. ``known``: preprocessing and skipped files of an earlier run, which
    decoded every file, so that a set too large for memory is not decoded through again.
    """
    found = split_folder(root, hold_out)
    source, root = root, found.base
    skipped = set() if known is None else set(known[1])
    lists = {name: files.without(skipped) for name, files in found.splits.items()}
    check_not_empty(str(root), {name: len(files) for name, files in lists.items()})
    headers = sample_headers(root, lists["train"])
    if not headers:
        raise ProxylessError(f"{root / lists['train'].names[0]}: not an image, nor are the other training files")
    if known is None:
        size = image_size or max(usual_size(headers), 8)
        channels = 1 if all(header.grey for header in headers) else 3
        if grey_range is None and rule is Rule.PILLOW:
            grey_range = range_of(root / name for name in lists["train"].names)
        kind = Squares(size, channels, None if grey_range is None else tuple(grey_range), rule)
    else:
        kind = known[0].squares
        size, channels = kind.image_size, kind.channels
    held = len(lists["valid"]) + len(lists["test"])
    keep = stored_bytes(headers, len(lists["train"]), held, size, channels) <= memory_limit_bytes

    if known is not None and not keep:
        preprocessing = known[0]
        splits = {name: _split(root, files, _files(root, files, kind)) for name, files in lists.items()}
    else:
        advance = _counter(progress, sum(len(files) for files in lists.values()))
        scans = {
            name: scan(
                root,
                files,
                kind=kind,
                training=name == "train",
                keep=keep,
                advance=advance,
            )
            for name, files in lists.items()
        }
        damaged = {name: reason for result in scans.values() for name, reason in result.damaged.items()}
        _check_damage(damaged, skip_corrupt)
        skipped |= set(damaged)
        _check_classes(root, found.classes, scans["train"].files)
        check_not_empty(str(root), {name: len(result.files) for name, result in scans.items()})
        moments = scans["train"].moments
        assert moments is not None  # there are training images
        preprocessing = Preprocessing(size, channels, *moments.mean_and_std(), kind.grey_range, kind.rule)
        splits = {
            name: _split(
                root,
                result.files,
                result.pixels(kind) if keep else _files(root, result.files, kind),
            )
            for name, result in scans.items()
        }
    return ImageData(
        source=str(source),
        classes=found.classes,
        preprocessing=preprocessing,
        augmentation=Augmentation.standard(size, channels),
        train=splits["train"],
        valid=splits["valid"],
        test=splits["test"],
        split_method=found.method,
        hold_out=hold_out,
        skipped=tuple(sorted(skipped)),
        findings=Findings(
            folder=None if root == source else root.relative_to(source).as_posix(),
            left_out=found.left_out.describe(),
            in_subfolders=found.in_subfolders,
        ),
    )


def folder_loader(
    folder: str | Path,
    *,
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    batch_size: int,
    skip_corrupt: bool = False,
    workers: int | None = None,
) -> DataLoader:
    """All images in the class folders of ``folder``, in order, as a model of these ``classes`` and
    ``preprocessing`` wants them.

    For evaluating on images that came after training; classes may be missing. Damaged files as in
    :func:`proxyless.data.load`.
    """
    root = Path(folder).expanduser().resolve()
    if not root.is_dir():
        raise ProxylessError(f"{folder}: no such folder")
    files = list_classes(root, root, classes)
    checked = scan(
        root,
        files,
        kind=preprocessing.squares,
        training=False,
        keep=False,
    )
    _check_damage(checked.damaged, skip_corrupt)
    if not len(checked.files):
        raise ProxylessError(f"{root}: no images found; expected class folders named as in training")
    batches = Batches(
        _split(root, checked.files, _files(root, checked.files, preprocessing.squares)),
        preprocessing,
        batch_size=batch_size,
        augmentation=None,
        shuffle=False,
        drop_last=False,
        seed=0,
        epoch=0,
    )
    return make_loader(batches, range(len(batches)), workers=workers)


def _split(root: Path, files: FileList, pixels: Pixels) -> Split:
    """The digest is of names, labels and file sizes: enough to notice a changed folder without reading all of
    it.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, label in zip(files.names, files.labels, strict=True):
        line = f"{name}\0{label}\0{(root / name).stat().st_size}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return Split(pixels, torch.from_numpy(files.labels), digest.hexdigest())


def _files(root: Path, files: FileList, kind: Squares) -> Files:
    return Files(root, list(files.names), kind)


def _check_damage(damaged: dict[str, str], skip_corrupt: bool) -> None:
    """``damaged``: what is wrong, by file."""
    if not damaged or skip_corrupt:
        return
    others = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
    raise ProxylessError(
        f"{next(iter(damaged.values()))}{others}; repair or remove such files, or leave them out with skip_corrupt"
    )


def _check_classes(root: Path, classes: tuple[str, ...], train: FileList) -> None:
    for label, name in enumerate(classes):
        if not (train.labels == label).any():
            raise ProxylessError(f"{root}: none of the training images of class {name!r} can be read")


def _counter(progress: Progress | None, total: int) -> Callable[[int], None]:
    """Turn "so many more are done" into ``progress(done, total)``."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    return advance
