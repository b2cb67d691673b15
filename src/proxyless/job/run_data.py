"""The images of a run: as they were recorded, wherever they are now, or others to evaluate its network on."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from proxyless import data, files
from proxyless.data import Batch, ImageData, Labelling, fingerprints, recognised
from proxyless.errors import ProxylessError
from proxyless.files.reading import content
from proxyless.job.run_folder import RunFolder
from proxyless.job.run_records import read_data

BATCH = 256
LARGEST = 1 << 31  # bytes of fingerprints: of 130 million images


def save_fingerprints(run: RunFolder, images: ImageData) -> None:
    """Write what the images of a run are known by, beside their description in ``data.json``."""
    if run.fingerprints.exists() or not images.fingerprints:
        return
    with files.replacing(run.fingerprints) as temporary:
        temporary.write_bytes(fingerprints.write(images.fingerprints[name] for name in images.splits))


def recorded_data(run: RunFolder, source: str | None = None, check: Collection[str] = data.SPLITS) -> ImageData:
    """Load the data that a run was made with.

    Args:
        run: the run.
        source: where its images are now; where they were, when None.
        check: the splits that are needed, and so have to be the recorded ones.

    Raises:
        ProxylessError: it is not there, or has changed since.
    """
    record = read_data(run)
    place = record["source"] if source is None else source
    if source is None and place not in data.PUBLISHED and not os.path.exists(place):
        raise ProxylessError(f"{run.path}: its images are no longer in {place}; say where they are with --data")
    try:
        return data.load(place, record=record, check=check)
    except ProxylessError:
        if (images := _under_other_names(run, record, place)) is not None:
            return images
        raise


@dataclass(frozen=True)
class Evaluated:
    """Batches of images to evaluate a network on, and what is to be said of their choice."""

    batches: Iterable[Batch]
    note: str | None


def evaluated(run: RunFolder, description: Mapping[str, Any], source: str | None) -> Evaluated:
    """Choose the images to evaluate a network on.

    They are the recorded test split if ``source`` holds the data of the run, moved or not, or is None; otherwise the
    test images of ``source`` that the network was not made with.

    Args:
        run: the run.
        description: ``model.json`` of the run.
        source: a data set or a folder.

    Raises:
        ProxylessError: there are no such images, or they are of other classes.
    """
    record = read_data(run)
    if source is None or record["source"] in (source, str(files.from_home(source).resolve())):
        return Evaluated(recorded_data(run, check=("test",)).loader("test", batch_size=BATCH), None)
    preprocessing = data.Preprocessing.from_dict(description["preprocessing"])
    known = _fingerprints(run, record)
    if source in data.PUBLISHED:
        images = data.load(source, image_size=preprocessing.image_size, rule=preprocessing.rule)
        if list(images.classes) != description["classes"]:
            raise ProxylessError(f"{source}: its classes are not those the network was trained on")
        if images.channels != preprocessing.channels:
            raise ProxylessError(
                f"{source}: its images have {images.channels} channels, and the network takes {preprocessing.channels}"
            )
        chosen = recognised.unseen_images(source, images, known)
    else:
        root = data.place(source)
        if (same := _moved(run, source)) is not None:
            same_note = "the images of the run, of which its test split is taken"
            return Evaluated(same.loader("test", batch_size=BATCH), same_note)
        chosen = recognised.unseen_files(
            root, tuple(description["classes"]), preprocessing, known, _labelling(run, record)
        )
    notes = []
    if known is None:
        notes.append("which of these images the network was made with is not known: the run is of an earlier version")
    elif chosen.seen:
        notes.append(f"left out {chosen.seen:,} images that the network was made with")
    if chosen.left_out:
        notes.append(f"left out of the folder: {chosen.left_out}")
    if chosen.colour:
        notes.append(f"{chosen.colour:,} images in colour, which are read as grey, as those of training were")
    if chosen.held_out:
        notes.append("the images held out of training, by which the architecture was chosen: not a test")
    if chosen.deep:
        notes.append("greys of 16 or 32 bits, of which training had none: 0 to 65535 is taken for black to white")
    loader = data.split_loader(chosen.split, preprocessing, batch_size=BATCH)
    return Evaluated(loader, "; ".join(notes) or None)


def _labelling(run: RunFolder, record: Mapping[str, Any]) -> Labelling:
    try:
        return Labelling(record.get("labelling", Labelling.CLASSIFICATION))
    except ValueError:
        raise ProxylessError(f"{run.data}: damaged (unknown labelling); restore it") from None


def _moved(run: RunFolder, source: str) -> ImageData | None:
    """The run's data, if they are what ``source`` holds."""
    try:
        return recorded_data(run, source, check=("test",))
    except ProxylessError:  # other images, or in another layout
        return None


def _fingerprints(run: RunFolder, record: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
    """None for a run of an earlier version."""
    if not run.fingerprints.exists():
        return None
    try:
        counts = {name: int(record["splits"][name]["images"]) for name in data.SPLITS}
    except (KeyError, TypeError, ValueError) as error:
        raise ProxylessError(f"{run.data}: damaged ({type(error).__name__}: {error}); restore it") from None
    return fingerprints.read(run.fingerprints, content(run.fingerprints, LARGEST), counts)


def _under_other_names(run: RunFolder, record: Mapping[str, Any], place: str) -> ImageData | None:
    known = _fingerprints(run, record)
    if known is None or place in data.PUBLISHED:
        return None
    try:
        return recognised.same_images(data.folder(place), record, known)
    except ProxylessError:  # whatever it is, it is not the run's
        return None
