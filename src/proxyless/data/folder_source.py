"""A folder of images made into splits: listed, decoded once, and kept in memory where it fits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from proxyless.data.augmentation import Augmentation
from proxyless.data.dataset import ImageData
from proxyless.data.decoding import SUFFIXES_BEFORE, Header, Rule, read_image, without_warnings
from proxyless.data.findings import Findings, left_out_in_words
from proxyless.data.fingerprints import FILE, PIXELS, copies, digests_of_files, of_split, shared, under_two_labels
from proxyless.data.folder import FileList, FolderFiles, FolderSplits, list_classes, list_folder
from proxyless.data.greys import range_of
from proxyless.data.loaders import Batches, Loader, Split
from proxyless.data.pixels import Files
from proxyless.data.preprocessing import Preprocessing, Squares
from proxyless.data.scan import Progress, Scan, rearranged, sample_headers, scan, stored_bytes, usual_size
from proxyless.data.splits import HoldOut, check_not_empty
from proxyless.errors import ProxylessError
from proxyless.files.writing import from_home

MEMORY_LIMIT_BYTES = 2 << 30
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Known:
    """What a record says of a data set: nothing of it is decided anew. ``digests``: of each split. ``by_content``:
    whether these are of the files' bytes; of version 0.1 they are of names and sizes.
    """

    preprocessing: Preprocessing
    skipped: frozenset[str]
    findings: Findings
    digests: Mapping[str, str]
    by_content: bool


def load_folder(
    root: Path,
    *,
    image_size: int | None,
    hold_out: HoldOut,
    skip_corrupt: bool = False,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    grey_range: Sequence[float] | None = None,
    rule: Rule = Rule.PILLOW,
    by_content: bool = True,
    known: Known | None = None,
    check: Collection[str] = SPLITS,
    progress: Progress | None = None,
) -> ImageData:
    """See :func:`proxyless.data.load`. ``known``: of an earlier run, which decoded every file, so that a set too large
    for memory is not decoded through again, and only the splits ``check`` are read for their digests.
    """
    by_content = by_content if known is None else known.by_content
    listed = list_folder(root)
    if not by_content:
        listed = listed.only(SUFFIXES_BEFORE)
    found = listed.divide(hold_out, () if known is None else known.findings.together)
    source, root = root, found.base
    skipped = set() if known is None else set(known.skipped)
    lists = {name: files.without(skipped) for name, files in found.splits.items()}
    check_not_empty(_where(source, found), {name: len(files) for name, files in lists.items()})
    headers = sample_headers(root, lists["train"])
    if not headers:
        _check_any_opens(root, lists["train"])
    kind = (
        _kind(root, lists["train"], headers, image_size, grey_range, rule)
        if known is None
        else known.preprocessing.squares
    )
    held = len(lists["valid"]) + len(lists["test"])
    keep = stored_bytes(headers, len(lists["train"]), held, kind.image_size, kind.channels) <= memory_limit_bytes
    fingerprints: dict[str, np.ndarray] = {}
    findings = None if known is None else known.findings

    if known is not None and not keep:
        preprocessing = known.preprocessing
        splits = {name: _unread(root, files, kind, known, name, name in check) for name, files in lists.items()}
    else:
        scans, kind = _scanned(
            root, lists, kind, keep, decisive=listed.drawn() if known is None else (), advance=partial(_told, progress)
        )
        damaged = {name: reason for result in scans.values() for name, reason in result.damaged.items()}
        check_damage(damaged, skip_corrupt)
        skipped |= set(damaged)
        if known is None:
            together = _together(listed, scans) if by_content else []
            if together:
                found = listed.divide(hold_out, together)
                lists = {name: files.without(skipped) for name, files in found.splits.items()}
                scans = rearranged(scans, lists, lambda files, name: _scan(root, files, kind, name, keep))
            findings = _findings(source, found, scans, together, kind.channels)
            findings = replace(
                findings,
                upper_bits=any(header.upper_bits for header in headers),
                several=any(header.several for header in headers),
            )
        _check_classes(root, found.classes, scans["train"].files)
        check_not_empty(_where(source, found), {name: len(result.files) for name, result in scans.items()})
        moments = scans["train"].moments
        assert moments is not None  # there are training images
        preprocessing = Preprocessing(
            kind.image_size, kind.channels, *moments.mean_and_std(), kind.grey_range, kind.rule
        )
        fingerprints = {name: result.fingerprints for name, result in scans.items()}
        splits = {
            name: Split(
                result.pixels(kind) if keep else files_of(root, result.files, kind),
                torch.from_numpy(result.files.labels),
                of_split(result.fingerprints[:, FILE], result.files.labels)
                if by_content
                else _digest_before(root, result.files),
            )
            for name, result in scans.items()
        }
    assert findings is not None
    return ImageData(
        source=str(source),
        classes=found.classes,
        preprocessing=preprocessing,
        augmentation=Augmentation.standard(kind.image_size, kind.channels),
        train=splits["train"],
        valid=splits["valid"],
        test=splits["test"],
        split_method=found.method,
        hold_out=hold_out,
        skipped=tuple(sorted(skipped)),
        findings=findings,
        by_content=by_content,
        fingerprints=fingerprints,
    )


def _kind(
    root: Path,
    train: FileList,
    headers: Sequence[Header],
    image_size: int | None,
    grey_range: Sequence[float] | None,
    rule: Rule,
) -> Squares:
    size = image_size or max(usual_size(headers), 8)
    channels = 1 if all(header.grey for header in headers) else 3
    if grey_range is None and rule is Rule.PILLOW:
        grey_range = range_of(root, train.names)
    return Squares(size, channels, None if grey_range is None else tuple(grey_range), rule)


def _scanned(
    root: Path,
    lists: Mapping[str, FileList],
    kind: Squares,
    keep: bool,
    *,
    decisive: Collection[str],
    advance: Callable[[int, int], None],
) -> tuple[dict[str, Scan], Squares]:
    """Scans of all splits. Where the images were taken for grey by a sample and some of the splits ``decisive`` are
    not, all are read as colour.
    """
    counter = _counter(advance, sum(len(files) for files in lists.values()))
    scans: dict[str, Scan] = {}
    for name in SPLITS:
        scans[name] = _scan(root, lists[name], kind, name, keep, counter)
        if name in decisive and kind.channels == 1 and scans[name].colour:
            return _scanned(root, lists, replace(kind, channels=3), keep, decisive=(), advance=advance)
    return scans, kind


def _scan(
    root: Path,
    files: FileList,
    kind: Squares,
    split: str,
    keep: bool,
    advance: Callable[[int], None] = lambda count: None,
) -> Scan:
    return scan(root, files, kind=kind, training=split == "train", keep=keep, advance=advance)


def _together(listed: FolderFiles, scans: Mapping[str, Scan]) -> list[tuple[str, ...]]:
    """Names of the same picture among the files that held-out ones are drawn from; none where nothing is drawn."""
    drawn = [scans[name] for name in listed.drawn()]
    if len(drawn) < 2:
        return []
    keys = np.concatenate([result.fingerprints[:, PIXELS] for result in drawn])
    return copies(keys, [name for result in drawn for name in result.files.names])


def _findings(
    source: Path,
    found: FolderSplits,
    scans: Mapping[str, Scan],
    together: Sequence[tuple[str, ...]],
    channels: int,
) -> Findings:
    names = [name for result in scans.values() for name in result.files.names]
    keys = {name: result.fingerprints[:, PIXELS] for name, result in scans.items()}
    labels = np.concatenate([result.files.labels for result in scans.values()])
    several = under_two_labels(np.concatenate(list(keys.values())), labels)
    first = several[:1].tolist() + [n for n in several.tolist() if labels[n] != labels[several[0]]][:1]
    colour, count = sum(result.colour for result in scans.values()), len(names)
    return Findings(
        folder=None if found.base == source else found.base.relative_to(source).as_posix(),
        left_out=found.left_out.describe(),
        in_subfolders=found.in_subfolders,
        kinds={"grey": count - colour, "colour": colour} if 0 < colour < count else {},
        read_as="grey" if channels == 1 else "colour",
        shared=shared(keys),
        two_labels=len(several),
        two_labels_example=tuple(names[number] for number in first),
        together=tuple(together),
    )


def _unread(root: Path, files: FileList, kind: Squares, known: Known, name: str, checked: bool) -> Split:
    """A split of files that are decoded when they are needed."""
    digest = known.digests.get(name, "")
    if not known.by_content:
        digest = _digest_before(root, files)
    elif checked:
        digest = of_split(digests_of_files(root, files.names), files.labels)
    return Split(files_of(root, files, kind), torch.from_numpy(files.labels), digest)


def folder_loader(
    folder: str | Path,
    *,
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    batch_size: int,
    skip_corrupt: bool = False,
    workers: int | None = None,
) -> Loader:
    """All images in the class folders of ``folder``, in order, as a model of these ``classes`` and
    ``preprocessing`` wants them.

    For evaluating on images that came after training; classes may be missing. Damaged files as in
    :func:`proxyless.data.load`.
    """
    root = from_home(folder).resolve()
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
    check_damage(checked.damaged, skip_corrupt)
    if not len(checked.files):
        raise ProxylessError(f"{root}: no images found; expected class folders named as in training")
    split = Split(files_of(root, checked.files, preprocessing.squares), torch.from_numpy(checked.files.labels), "")
    return split_loader(split, preprocessing, batch_size=batch_size, workers=workers)


def split_loader(split: Split, preprocessing: Preprocessing, *, batch_size: int, workers: int | None = None) -> Loader:
    """All images of a split, in order, for evaluating."""
    batches = Batches(
        split,
        preprocessing,
        batch_size=batch_size,
        augmentation=None,
        shuffle=False,
        drop_last=False,
        seed=0,
        epoch=0,
    )
    return Loader(batches, range(len(batches)), workers=workers)


def _digest_before(root: Path, files: FileList) -> str:
    """Of names, labels and file sizes, as version 0.1 knew a split."""
    digest = hashlib.blake2b(digest_size=16)
    for name, label in zip(files.names, files.labels, strict=True):
        line = f"{name}\0{label}\0{(root / name).stat().st_size}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _where(source: Path, found: FolderSplits) -> str:
    """The folder as an error names it, with what was left out of it."""
    words = left_out_in_words(found.left_out.describe())
    return f"{source} (left out: {words})" if words else str(source)


def _check_any_opens(root: Path, files: FileList) -> None:
    """Raise what is wrong with the first of files none of which can be opened."""
    try:
        with without_warnings():
            read_image(root / files.names[0], 3)
    except ProxylessError as error:
        raise ProxylessError(f"{error}; nor can the other training files be opened") from None
    raise ProxylessError(f"{root / files.names[0]}: not an image, nor are the other training files")


def _told(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


def files_of(root: Path, files: FileList, kind: Squares) -> Files:
    """Images that are decoded when they are needed."""
    return Files(root, list(files.names), kind)


def check_damage(damaged: dict[str, str], skip_corrupt: bool) -> None:
    """Raise :class:`ProxylessError` if files cannot be read and are not to be skipped. ``damaged``: what is wrong, by
    file.
    """
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


def _counter(progress: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    """Turn "so many more are done" into ``progress(done, total)``."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    return advance
