"""The main job in order: data, measuring, search, derivation, training, export, check, report; resumable by stage."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from proxyless import data, files, spaces
from proxyless.architecture import Architecture
from proxyless.data import ImageData
from proxyless.data.balance import uneven
from proxyless.errors import ProxylessError, one_line
from proxyless.files import place
from proxyless.job.delivery import Result, finish, finished, is_finished
from proxyless.job.progress import Logged, Reporter, Silent
from proxyless.job.run_data import save_fingerprints
from proxyless.job.run_folder import RunFolder, check_same, open_run, taken
from proxyless.job.settings import Balance, LossForm, MeasureSettings, Settings, without_effect
from proxyless.job.stages import (
    Job,
    add_seconds,
    balance,
    effort,
    run_derivation,
    run_search,
    run_training,
    schedule,
    supernet_of,
    timed,
    timed_before,
    warn,
)
from proxyless.latency import measure as measuring
from proxyless.latency import published
from proxyless.latency.device import TABLE_FILE, Device, device
from proxyless.latency.identity import describe
from proxyless.latency.operators import layout
from proxyless.latency.table import LatencyTable
from proxyless.spaces import Space
from proxyless.spaces.mobilenet import MobileNetSpace
from proxyless.supernet import Supernet

BALANCING = {
    Balance.NONE: "nothing is done about it",
    Balance.WEIGHTS: "an image of a small class weighs more in the loss",
    Balance.SAMPLER: "batches hold all classes equally often",
}


def search(settings: Settings, out: Path, reporter: Reporter | None = None) -> Result:
    """The whole job: from images, a device and a budget to a trained, measured and exported network with a report.

    The same call on an unfinished run goes on where it stopped, and comes to the same result.

    Raises:
        ProxylessError: a mistake in the settings, the data or the folder; nothing is left half-written.
    """
    log = Logged(reporter or Silent())
    _check_latency(settings)
    _space_arguments(settings)  # complains now if the space is none, or has none of them
    target = _device(settings)
    with taken(out) as run, log.errors():
        return _searched(settings, target, run, log)


def _searched(settings: Settings, target: Device, run: RunFolder, log: Logged) -> Result:
    log.stage("data")
    for remark in (*without_effect(settings), *measured_in_vain(settings, target)):
        log.note(remark)
    seconds: dict[str, float] = {}
    with timed_before(seconds, "data"):
        images = _load(settings, log, run)
    space = _space(settings, images)
    settings = _resolved(settings, images, space)
    supernet = supernet_of(settings, space)
    check_same(run, settings, images.describe())
    if is_finished(run):
        return finished(run, log)
    table = None
    if settings.latency is not None or settings.search.loss is LossForm.WEIGHTED:
        log.stage("measure")
        known = run.config.exists() and run.latency.exists()
        with timed_before(seconds, "measure"):
            table = LatencyTable.load(run.latency) if known else _measured(settings, supernet, space, target, log)
        table.check(supernet)
        _check_budget(settings, table, log)
    open_run(run, settings, images.describe())
    save_fingerprints(run, images)
    add_seconds(run, seconds)
    log.write_to(run.log)
    if table is not None and not run.latency.exists():
        table.save(run.latency)
    job = Job(settings, images, space, target, table, run, log)
    if not run.architecture.exists():
        with timed(run, "search") as account:
            run_search(job, supernet, account)
        with timed(run, "derive"):
            run_derivation(job, supernet)
    return _trained(job, Architecture.load(run.architecture))


def train(settings: Settings, architecture: Architecture, out: Path, reporter: Reporter | None = None) -> Result:
    """Train, export and check the network of an architecture on data, as the last stages of :func:`search` do.

    The classes and image format of the data replace those the architecture was found with; the size of the images
    stays that of the architecture unless the settings give another.
    """
    log = Logged(reporter or Silent())
    target = _device(settings)
    with taken(out) as run, log.errors():
        return _trained_anew(settings, architecture, target, run, log)


def _trained_anew(
    settings: Settings, architecture: Architecture, target: Device, run: RunFolder, log: Logged
) -> Result:
    if settings.images.size is None and "image_size" in architecture.arguments:
        settings = settings.replace({"images.size": architecture.arguments["image_size"]})
    log.stage("data")
    seconds: dict[str, float] = {}
    with timed_before(seconds, "data"):
        images = _load(settings, log, run)
    arguments = dict(architecture.arguments) | _format(images) | _regularisation(settings, architecture.space)
    space = spaces.make(architecture.space, arguments)
    architecture = space.architecture(dict(architecture.choices))
    space.build(architecture)  # complains now if the choices are not those of the space
    settings = _resolved(settings, images, space)
    check_same(run, settings, images.describe())
    if run.architecture.exists() and Architecture.load(run.architecture) != architecture:
        raise ProxylessError(f"--out {run.path}: holds a run of another architecture; choose another --out")
    if is_finished(run):
        return finished(run, log)
    open_run(run, settings, images.describe())
    save_fingerprints(run, images)
    add_seconds(run, seconds)
    log.write_to(run.log)
    architecture.save(run.architecture)
    return _trained(Job(settings, images, space, target, None, run, log), architecture)


def _trained(job: Job, architecture: Architecture) -> Result:
    with timed(job.run, "train") as account:
        run_training(job, architecture, account)
    return finish(job, architecture)


def measure(
    settings: Settings, out: Path, *, classes: int, channels: int, size: int, reporter: Reporter | None = None
) -> LatencyTable:
    """The latency table of a space alone, written as JSON to ``out``.

    Args:
        classes: of the networks.
        channels: of the images.
        size: height and width of the images in px.

    Raises:
        ProxylessError: a mistake in the settings, or a candidate that cannot be measured on the device.
    """
    log = Logged(reporter or Silent())
    target = _device(settings)
    with place.file(out):
        arguments = _space_arguments(settings) | {"classes": classes, "channels": channels, "image_size": size}
        space = spaces.make(settings.space.name, arguments)
        log.stage("measure")
        table = _measured(settings, supernet_of(settings, space), space, target, log)
        table.save(out)
    return table


# -- what the stages need --


def measured_in_vain(settings: Settings, target: Device) -> list[str]:
    """In words, what was chosen of measuring in vain, since on the device, or for this search, nothing is measured."""
    chosen, usual = settings.measure, MeasureSettings()
    names: tuple[str, ...] = ()
    if not target.here:
        names = ("rounds", "loadings", "burst_ms", "width", "limit_s", "share", "networks")
        reason = f"device {settings.device}, whose latencies are known"
    elif settings.latency is None and settings.search.loss is not LossForm.WEIGHTED:
        names, reason = ("share", "networks"), "a search that looks at the task alone"
    return [
        f"measure.{name} has no effect with {reason}" for name in names if getattr(chosen, name) != getattr(usual, name)
    ]


def _device(settings: Settings) -> Device:
    return device(settings.device, threads=settings.measure.threads, batch=settings.measure.batch)


def _load(settings: Settings, log: Reporter, run: RunFolder) -> ImageData:
    if not settings.data:
        raise ProxylessError(f"no data: give --data, a folder of images or one of {', '.join(sorted(data.PUBLISHED))}")
    if run.config.exists() and settings.data not in data.PUBLISHED and not files.from_home(settings.data).exists():
        raise ProxylessError(
            f"{settings.data}: no such folder; where the images of the run {run.path} are now, say with --data"
        )
    chosen = settings.images
    images = data.load(
        settings.data,
        image_size=chosen.size,
        valid_fraction=chosen.valid_fraction,
        test_fraction=chosen.test_fraction,
        seed=settings.seed,
        skip_corrupt=chosen.skip_corrupt,
        grey_range=chosen.grey_range,
        **_as_before(run),
        progress=lambda done, total: log.advance(done, total, {}),
    )
    for remark in images.remarks():
        log.note(remark)
    if images.skipped:
        log.note(f"left out {len(images.skipped)} images that cannot be read, listed in data.json")
    changes: dict[str, Any] = {"cutout": settings.training.cutout}
    if chosen.flip is not None:
        changes["flip"] = chosen.flip
    if chosen.crop_scale is not None:
        changes["min_scale"] = chosen.crop_scale
    _tell_of_balance(settings, images, log)
    augmentation = dataclasses.replace(images.augmentation, **changes)
    return dataclasses.replace(images, augmentation=augmentation, workers=chosen.workers)


def _tell_of_balance(settings: Settings, images: ImageData, log: Reporter) -> None:
    counts = images.counts("train")
    if not uneven(counts):
        return
    most, least = (one_line(images.classes[counts.index(of(counts))]) for of in (max, min))
    log.note(
        f"classes differ in size: {max(counts):,} training images of {most}, {min(counts):,} of {least}; "
        f"{BALANCING[balance(settings, images)]} (training.balance {settings.training.balance.value})"
    )


def _as_before(run: RunFolder) -> dict[str, Any]:
    """How images become pixels and digests: of a run that was begun by an earlier version, as they did then."""
    if not run.config.exists():
        return {}
    record = files.read_json(run.data)
    before = record.get("preprocessing") if isinstance(record, dict) else None
    if not isinstance(before, dict):
        raise ProxylessError(f"{run.data}: has no preprocessing; restore it, or choose another --out")
    return {"rule": data.Preprocessing.from_dict(before).rule, "by_content": data.is_by_content(record)}


def _space_arguments(settings: Settings) -> dict[str, Any]:
    chosen = {name: value for name, value in dataclasses.asdict(settings.space).items() if value is not None}
    space = chosen.pop("name")
    for name in chosen:
        if not spaces.takes(space, name):
            raise ProxylessError(f"setting space.{name}: the space {space} has none, leave it away")
    return chosen | _regularisation(settings, settings.space.name)


def _regularisation(settings: Settings, space: str) -> dict[str, Any]:
    """What the derived network has for its training alone."""
    wanted = {"dropout": settings.training.dropout, "drop_path": settings.training.drop_path}
    for name, value in wanted.items():
        if value and not spaces.takes(space, name):
            raise ProxylessError(f"setting training.{name}: networks of the space {space} have none, leave it at 0")
    return {name: value for name, value in wanted.items() if spaces.takes(space, name)}


def _space(settings: Settings, images: ImageData) -> Space:
    return spaces.make(settings.space.name, _space_arguments(settings) | _format(images))


def _format(images: ImageData) -> dict[str, int]:
    """What a space must know of the data."""
    return {"classes": len(images.classes), "channels": images.channels, "image_size": images.image_size}


def _resolved(settings: Settings, images: ImageData, space: Space) -> Settings:
    """The settings with every default that depends on data or space filled in, so that they can be repeated."""
    count = len(images.train)

    def epochs(chosen: int | None, seen: int, most: int) -> int:
        return max(1, min(most, round(seen / count))) if chosen is None else chosen

    source = files.from_home(settings.data)
    chosen = settings.search
    values: dict[str, Any] = {
        "data": str(source.resolve()) if images.source == str(source.resolve()) else settings.data,
        "images.size": images.image_size,
        "images.flip": images.augmentation.flip,
        "search.warmup_epochs": epochs(chosen.warmup_epochs, 50_000, 20),
        "search.epochs": epochs(chosen.epochs, 100_000, 40),
        "training.epochs": epochs(settings.training.epochs, 300_000, 60),
    }
    arguments = space.architecture({}).arguments
    own = {item.name for item in dataclasses.fields(settings.space)} - {"name"}
    values |= {f"space.{name}": value for name, value in arguments.items() if name in own}
    values |= {"space.name": space.name, "images.crop_scale": images.augmentation.min_scale}
    target = _device(settings)
    if target.runtime == TABLE_FILE:
        values["device"] = str(files.from_home(target.name).resolve())
    values |= {"measure.threads": target.threads, "measure.batch": target.batch} if target.here else {}
    settings = settings.replace(values)
    steps = max(1, schedule(settings).architecture_steps(max(1, count // chosen.batch_size)))
    if chosen.architecture_learning_rate is None:
        settings = settings.replace({"search.architecture_learning_rate": round(min(0.05, 24 / steps), 6)})
    if chosen.multiplier_gain is None:
        settings = settings.replace({"search.multiplier_gain": round(25 / steps, 6)})
    return settings


def _measured(settings: Settings, supernet: Supernet, space: Space, target: Device, log: Reporter) -> LatencyTable:
    if target.runtime == TABLE_FILE:
        return _from_file(target, supernet, space)
    if not target.here:
        if not isinstance(space, MobileNetSpace):
            raise ProxylessError(
                f"device {target.name} is a published table of the space mobilenet, not of {space.name}"
            )
        return LatencyTable.of_cost(published.table(target.name, space), describe(target))
    chosen = settings.measure
    table = measuring.measure_table(
        supernet,
        space.input_shape,
        target,
        effort=effort(settings),
        networks=chosen.networks,
        share=chosen.share,
        cache=_cache(chosen.cache, log),
        advance=lambda share: log.advance(share, 1.0, {}),
    )
    warn(measuring.Conditions(**table.conditions), log)
    return table


def _cache(folder: str | None, log: Reporter) -> Path | None:
    """Where measured candidates are kept; None where they cannot be, which only costs time."""
    if not folder:
        return None
    try:
        return files.from_home(folder)
    except ProxylessError as error:
        log.note(f"measured candidates are not kept for other runs: {error}, by --measure-cache")
        return None


def _from_file(target: Device, supernet: Supernet, space: Space) -> LatencyTable:
    """A table that was measured elsewhere, once it is sure to be of this space."""
    table = LatencyTable.load(files.from_home(target.name))
    try:
        table.check(supernet)
    except ProxylessError as error:
        raise ProxylessError(f"{target.name}: {error}") from None
    batch = int(table.device.get("batch", 1))
    layout(supernet, ((batch, *space.input_shape),)).check(table, target.name)
    return table


def _check_latency(settings: Settings) -> None:
    if settings.latency is not None and settings.latency <= 0:
        raise ProxylessError(f"--latency must be above 0 ms, got {settings.latency:g}")
    if settings.latency is None and settings.search.loss not in (LossForm.NONE, LossForm.WEIGHTED):
        raise ProxylessError(
            "no latency budget: pass --latency MS (`proxyless measure` shows what a space spans), or --search-loss none"
            " for a search that looks at the task alone"
        )


def _check_budget(settings: Settings, table: LatencyTable, log: Reporter) -> None:
    budget_ms = settings.latency
    smallest, largest = table.smallest(), table.largest()
    span = f"the networks of this space take {smallest:.3g} to {largest:.3g} ms on {settings.device}"
    if budget_ms is None:
        log.note(span)
        return
    if budget_ms < smallest:
        # Above the smallest by what the next measurement may differ, so that the advice holds when it is followed.
        raise ProxylessError(
            f"--latency {budget_ms:g} cannot be met: {span}; raise it to at least {1.03 * smallest:.3g} or choose"
            " a smaller --space-width"
        )
    if settings.search.loss is LossForm.MUL_LOG and min(budget_ms, smallest) <= 1:
        raise ProxylessError(
            f"--search-loss mul-log needs latencies above 1 ms, since it takes their logarithm, but {span};"
            " use --search-loss add-linear"
        )
    log.note(span)
    if budget_ms > largest:
        log.note(f"a budget of {budget_ms:g} ms binds none of them: a larger --space-width would make use of it")
