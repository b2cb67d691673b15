"""Listed image files made into splits: each file is decoded once, and pixels are kept in memory where they fit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from proxyless.data.augmentation import Augmentation
from proxyless.data.dataset import SPLITS, ImageData
from proxyless.data.decoding import Header, Rule, read_image, without_warnings
from proxyless.data.findings import Findings, left_out_in_words
from proxyless.data.fingerprints import FILE, PIXELS, copies, digests_of_files, of_split, shared, under_two_labels
from proxyless.data.folder import FileList, FolderFiles, FolderSplits
from proxyless.data.greys import range_of
from proxyless.data.load_settings import LoadSettings
from proxyless.data.loaders import Split
from proxyless.data.pixels import Files
from proxyless.data.preprocessing import Preprocessing, Squares
from proxyless.data.recorded import Recorded
from proxyless.data.scan import Progress, Scan, rearranged, sample_headers, scan, stored_bytes, usual_size
from proxyless.data.splits import check_not_empty
from proxyless.errors import ProxylessError


def load_files(
    source: Path,
    listed: FolderFiles,
    settings: LoadSettings,
    recorded: Recorded | None,
    check: Collection[str],
    progress: Progress | None,
) -> ImageData:
    """Divide listed image files into splits, and read them.

    Args:
        source: What the user named as the data set.
        listed: Its files.
        settings: How they are divided and read.
        recorded: What an earlier run, which decoded every file, found. Files that do not fit in memory are then not
            decoded again.
        check: Splits whose files are read for their digests all the same.
        progress: Called with (files decoded, files in all).

    Raises:
        ProxylessError: A split has no images, or files cannot be read.
    """
    found = listed.divide(settings.hold_out, () if recorded is None else recorded.findings.together)
    root, where = found.base, _where(source, found)
    skipped = frozenset() if recorded is None else recorded.skipped
    lists = {name: files.without(skipped) for name, files in found.splits.items()}
    check_not_empty(where, {name: len(files) for name, files in lists.items()})
    headers = sample_headers(root, lists["train"])
    if not headers:
        _refuse_unreadable(root, lists["train"])
    kind = _kind(root, lists["train"], headers, settings) if recorded is None else recorded.preprocessing.squares
    held = len(lists["valid"]) + len(lists["test"])
    size = stored_bytes(headers, len(lists["train"]), held, kind.image_size, kind.channels)
    keep = size <= settings.memory_limit_bytes
    fingerprints: Mapping[str, np.ndarray] = {}
    if recorded is not None and not keep:
        preprocessing, findings = recorded.preprocessing, recorded.findings
        splits = {name: _not_decoded(root, files, kind, recorded, name, name in check) for name, files in lists.items()}
    else:
        decisive = listed.drawn() if recorded is None else ()
        scans, kind = _scan_all(root, lists, kind, keep, decisive, progress)
        damaged = {name: reason for result in scans.values() for name, reason in result.damaged.items()}
        check_damage(damaged, settings.skip_corrupt)
        skipped |= set(damaged)
        if recorded is None:
            together = _together(listed, scans) if settings.by_content else []
            if together:
                found = listed.divide(settings.hold_out, together)
                lists = {name: files.without(skipped) for name, files in found.splits.items()}
                scans = rearranged(scans, lists, lambda files, name: _scan(root, files, kind, name, keep))
            findings = _findings(source, found, scans, together, kind.channels, headers)
        else:
            findings = recorded.findings
        if scans["train"].files.targets is None:
            _check_classes(root, found.classes, scans["train"].files)
        check_not_empty(where, {name: len(result.files) for name, result in scans.items()})
        mean, std = scans["train"].moments.mean_and_std()
        preprocessing = Preprocessing(kind.image_size, kind.channels, mean, std, kind.grey_range, kind.rule)
        fingerprints = {name: result.fingerprints for name, result in scans.items()}
        splits = {name: _decoded(root, result, kind, keep, settings.by_content) for name, result in scans.items()}
    return ImageData(
        source=str(source),
        classes=found.classes,
        preprocessing=preprocessing,
        augmentation=Augmentation.standard(kind.image_size, kind.channels),
        train=splits["train"],
        valid=splits["valid"],
        test=splits["test"],
        split_method=found.method,
        hold_out=settings.hold_out,
        skipped=tuple(sorted(skipped)),
        findings=findings,
        by_content=settings.by_content,
        fingerprints=fingerprints,
    )


def split_of_files(root: Path, files: FileList, kind: Squares, digest: str = "") -> Split:
    """Return a split of files that are decoded whenever they are needed."""
    return Split(Files(root, list(files.names), kind), torch.from_numpy(files.learnt), digest)


def scan_checked(root: Path, files: FileList, kind: Squares, skip_corrupt: bool = False) -> Scan:
    """Decode files once, to find damaged ones and to know the others by their content.

    Raises:
        ProxylessError: Files are damaged, and are not to be left out.
    """
    found = scan(root, files, kind=kind)
    check_damage(found.damaged, skip_corrupt)
    return found


def check_damage(damaged: Mapping[str, str], skip_corrupt: bool) -> None:
    """Refuse damaged files, unless they are to be left out.

    Args:
        damaged: What is wrong, by file.
        skip_corrupt: Whether they are to be left out.

    Raises:
        ProxylessError: Naming the first of them.
    """
    if not damaged or skip_corrupt:
        return
    others = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
    raise ProxylessError(
        f"{next(iter(damaged.values()))}{others}; repair or remove such files, or leave them out with skip_corrupt"
    )


def _kind(root: Path, train: FileList, headers: Sequence[Header], settings: LoadSettings) -> Squares:
    """Choose size, channels and range of greys by the training images."""
    size = settings.image_size or max(usual_size(headers), 8)
    channels = 1 if all(header.grey for header in headers) else 3
    grey_range = settings.grey_range
    if grey_range is None and settings.rule is Rule.PILLOW:
        grey_range = range_of(root, train.names)
    return Squares(size, channels, None if grey_range is None else tuple(grey_range), settings.rule)


def _scan_all(
    root: Path,
    lists: Mapping[str, FileList],
    kind: Squares,
    keep: bool,
    decisive: Collection[str],
    progress: Progress | None,
) -> tuple[dict[str, Scan], Squares]:
    """Decode the files of all splits.

    Whether images are grey was decided by a sample of them. Where one of the splits ``decisive`` turns out to hold
    colours, all files are decoded again as colour images.
    """
    advance = _counter(progress, sum(len(files) for files in lists.values()))
    scans: dict[str, Scan] = {}
    for name in SPLITS:
        scans[name] = _scan(root, lists[name], kind, name, keep, advance)
        if name in decisive and kind.channels == 1 and scans[name].colour:
            return _scan_all(root, lists, replace(kind, channels=3), keep, (), progress)
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


def _counter(progress: Progress | None, total: int) -> Callable[[int], None]:
    """Turn "so many more are done" into ``progress(done, total)``."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    return advance


def _together(listed: FolderFiles, scans: Mapping[str, Scan]) -> list[tuple[str, ...]]:
    """Group the names of files with the same picture, among those that held-out images are drawn from."""
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
    headers: Sequence[Header],
) -> Findings:
    names = [name for result in scans.values() for name in result.files.names]
    keys = {name: result.fingerprints[:, PIXELS] for name, result in scans.items()}
    labels = _numbered(np.concatenate([result.files.learnt for result in scans.values()]))
    several = under_two_labels(np.concatenate(list(keys.values())), labels)
    first = several[:1].tolist() + [n for n in several.tolist() if labels[n] != labels[several[0]]][:1]
    colour, count = sum(result.colour for result in scans.values()), len(names)
    return Findings(
        folder=None if found.base in (source, source.parent) else found.base.relative_to(source).as_posix(),
        left_out=found.left_out.describe(),
        in_subfolders=found.in_subfolders,
        kinds={"grey": count - colour, "colour": colour} if 0 < colour < count else {},
        read_as="grey" if channels == 1 else "colour",
        upper_bits=any(header.upper_bits for header in headers),
        several=any(header.several for header in headers),
        shared=shared(keys),
        two_labels=len(several),
        two_labels_example=tuple(names[number] for number in first),
        together=tuple(together),
    )


def _numbered(learnt: np.ndarray) -> np.ndarray:
    """Number what is learnt of the images so that the same has the same number: int64 (images,)."""
    return learnt if learnt.ndim == 1 else np.unique(learnt, axis=0, return_inverse=True)[1].reshape(-1)


def _decoded(root: Path, result: Scan, kind: Squares, keep: bool, by_content: bool) -> Split:
    """Make a split of files that have been decoded."""
    if by_content:
        digest = of_split(result.fingerprints[:, FILE], result.files.learnt)
    else:
        digest = _digest_before(root, result.files)
    if not keep:
        return split_of_files(root, result.files, kind, digest)
    return Split(result.pixels(kind), torch.from_numpy(result.files.learnt), digest)


def _not_decoded(root: Path, files: FileList, kind: Squares, recorded: Recorded, name: str, checked: bool) -> Split:
    """Make a split of files that an earlier run has decoded."""
    digest = recorded.digests.get(name, "")
    if not recorded.by_content:
        digest = _digest_before(root, files)
    elif checked:
        digest = of_split(digests_of_files(root, files.names), files.learnt)
    return split_of_files(root, files, kind, digest)


def _digest_before(root: Path, files: FileList) -> str:
    """Digest names, labels and file sizes, as version 0.1 did to recognise a split."""
    digest = hashlib.blake2b(digest_size=16)
    for name, label in zip(files.names, files.labels, strict=True):
        line = f"{name}\0{label}\0{(root / name).stat().st_size}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _where(source: Path, found: FolderSplits) -> str:
    """Name the data set as errors do, with what was left out of it."""
    words = left_out_in_words(found.left_out.describe())
    return f"{source} (left out: {words})" if words else str(source)


def _refuse_unreadable(root: Path, files: FileList) -> None:
    """Raise what is wrong with the first of several files, none of which can be opened."""
    try:
        with without_warnings():
            read_image(root / files.names[0], 3)
    except ProxylessError as error:
        raise ProxylessError(f"{error}; the other training files cannot be opened either") from None
    raise ProxylessError(f"{root / files.names[0]}: not an image, and neither are the other training files")


def _check_classes(root: Path, classes: Sequence[str], train: FileList) -> None:
    for label, name in enumerate(classes):
        if not (train.labels == label).any():
            raise ProxylessError(f"{root}: none of the training images of class {name!r} can be read")
