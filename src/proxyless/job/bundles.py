"""Bundles written as the settings say, and tables made of what comes back from a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from proxyless.bundle.manifest import Manifest
from proxyless.bundle.tables import table_from_results
from proxyless.bundle.writing import write_bundle
from proxyless.files import place
from proxyless.job import objects
from proxyless.job.progress import Reporter
from proxyless.job.settings import Settings
from proxyless.latency.table import LatencyTable
from proxyless.latency.timing.statistics import Conditions


def bundle(
    settings: Settings,
    out: Path,
    *,
    classes: int,
    channels: int,
    size: int,
    tflite: bool = False,
    reporter: Reporter | None = None,
) -> Manifest:
    """Write a bundle of the space that the settings describe; see :func:`proxyless.bundle.writing.write_bundle`.

    Args:
        settings: of the space, the batch size and the number of whole networks; the device is where it will be timed.
        out: folder for the bundle.
        classes: of the networks.
        channels: of the images.
        size: height and width of the images in px.
        tflite: write TFLite files too.
        reporter: told of the progress.

    Returns:
        What is in the bundle.

    Raises:
        ProxylessError: a mistake in the settings, or one that ``write_bundle`` raises.
    """
    log = reporter or Reporter()
    space = objects.space(settings, classes=classes, channels=channels, image_size=size)
    log.stage("bundle")
    if settings.device != "cpu":
        log.note(f"device {settings.device} has no effect: a bundle holds float32 models for the device that times it")
    return write_bundle(
        space,
        out,
        batch=settings.measure.batch or 1,
        networks=settings.measure.networks,
        seed=settings.seed,
        tflite=tflite,
        advance=lambda share: log.advance(share, 1.0, {}),
    )


def table(
    results: Path,
    out: Path,
    *,
    bundle: Path | None = None,
    known: Sequence[Path] = (),
    reporter: Reporter | None = None,
) -> LatencyTable:
    """Write the latency table of timings made on another device to the file ``out``, as JSON.

    Args:
        results: the timings; see :func:`proxyless.bundle.tables.table_from_results`, also for the next two.
        out: file for the table.
        bundle: folder of the bundle that was timed.
        known: files of tables of the same space on other devices.
        reporter: told what was wrong with the device while it measured.

    Returns:
        The table.

    Raises:
        ProxylessError: the files are not what they should be, or ``out`` cannot be written.
    """
    with place.file(out):
        found = table_from_results(results, bundle, known)
        for warning in Conditions(**found.conditions).warnings() if found.conditions else ():
            (reporter or Reporter()).note(warning)
        found.save(out)
    return found
