"""The main job: its six stages in order, each of which takes the value of the one before; resumable by stage.

data -> measuring -> search -> derivation -> training -> delivery (check, export, report)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from proxyless import spaces
from proxyless.architecture import Architecture
from proxyless.data import ImageData
from proxyless.errors import ProxylessError
from proxyless.files import place
from proxyless.job import consistency, objects, plugins
from proxyless.job.job import Job
from proxyless.job.own_network import Loaders, OwnNetwork, own_network
from proxyless.job.progress import Logged, Reporter
from proxyless.job.resolved import on_device, resolved, with_lengths
from proxyless.job.run_folder import RunFolder, check_same, open_run, taken
from proxyless.job.seconds import add_seconds, timed_before
from proxyless.job.settings import Settings
from proxyless.job.stages import data, delivery, derivation, measuring, training
from proxyless.job.stages import search as searching
from proxyless.job.stages.data import JobImages
from proxyless.job.stages.delivery import Result
from proxyless.latency.device import Device
from proxyless.latency.table import LatencyTable
from proxyless.spaces import Space
from proxyless.tasks.totals import batch_size


def search(settings: Settings, out: Path, reporter: Reporter | None = None) -> Result:
    """Run the whole job: from images, a device and a budget to a trained, measured and exported network with a report.

    The same call on an unfinished run goes on where it stopped, and comes to the same result.

    Raises:
        ProxylessError: a mistake in the settings, the data or the folder; nothing is left half-written.
    """
    log = Logged(reporter or Reporter())
    consistency.check_latency(settings)
    objects.space_arguments(settings)  # complains now if the space is none, or has none of them
    target = objects.device(settings)
    with taken(out) as run, log.errors():
        return _search(settings, target, run, log)


def _search(settings: Settings, target: Device, run: RunFolder, log: Logged) -> Result:
    seconds: dict[str, float] = {}
    log.stage("data")
    for remark in consistency.without_effect(settings, target):
        log.note(remark)
    with timed_before(seconds, "data"):
        images = data.load_images(settings, run, log)
    space = objects.space(settings, **objects.image_format(images))
    job = _job_of_images(settings, images, space, target, run, log)
    return _run(job, seconds, log)


def search_network(
    network: nn.Module, loaders: Loaders, settings: Settings, out: Path, reporter: Reporter | None = None
) -> Result:
    """Run the whole job for a module with choices and loaders of one's own; otherwise as :func:`search`.

    Args:
        network: the module; it is copied.
        loaders: its data, and the task that says what their batches hold.
        settings: those of data, images and space have no effect, nor have sizes of batches.
        out: folder of the run.
        reporter: told of the course of the job.

    Raises:
        ProxylessError: a mistake in the network, the loaders, the settings or the folder.
    """
    log = Logged(reporter or Reporter())
    consistency.check_latency(settings)
    target = objects.device(settings)
    with taken(out) as run, log.errors():
        log.stage("data")
        for remark in consistency.without_effect(settings, target):
            log.note(remark)
        seconds: dict[str, float] = {}
        with timed_before(seconds, "data"):
            inputs, targets = loaders.first()
            space = own_network(network, inputs)
            loaders.check(space.module)
            loaders = replace(loaders, task=loaders.task.fitted(loaders.targets()))
        steps = len(loaders.train)
        chosen = with_lengths(on_device(settings, target), steps * batch_size(targets), steps_of_epoch=steps)
        space.resume(run)
        job = Job(chosen, loaders, loaders.task, space, target, run, log)
        return _run(job, seconds, log)


def _run(job: Job, seconds: dict[str, float], log: Logged) -> Result:
    """All stages after the first one."""
    run = job.run
    check_same(run, job.settings, job.data.describe())
    if delivery.is_finished(run):
        return delivery.finished(run, log)
    with timed_before(seconds, "measure"):
        table = measuring.latency_table(job)
    _begin(job, seconds, log)
    if table is not None and not run.latency.exists():
        table.save(run.latency)
    if run.architecture.exists():
        architecture = Architecture.load(run.architecture)
    else:
        supernet = searching.search(job, table)
        architecture = derivation.derive(job, supernet, table)
    network = training.train(job, architecture)
    return delivery.deliver(job, architecture, network)


def train(settings: Settings, architecture: Architecture, out: Path, reporter: Reporter | None = None) -> Result:
    """Train, export and check the network of an architecture on data, as the last stages of :func:`search` do.

    The classes and image format of the data replace those the architecture was found with; the size of the images
    stays that of the architecture unless the settings give another.
    """
    log = Logged(reporter or Reporter())
    target = objects.device(settings)
    with taken(out) as run, log.errors():
        return _train(settings, architecture, target, run, log)


def _train(settings: Settings, architecture: Architecture, target: Device, run: RunFolder, log: Logged) -> Result:
    if settings.images.size is None and "image_size" in architecture.arguments:
        settings = settings.replace({"images.size": architecture.arguments["image_size"]})
    seconds: dict[str, float] = {}
    log.stage("data")
    with timed_before(seconds, "data"):
        images = data.load_images(settings, run, log)
    own = objects.image_format(images) | objects.regularisation(settings, architecture.space)
    space = spaces.make(architecture.space, dict(architecture.arguments) | own)
    architecture = space.architecture(dict(architecture.choices))
    space.build(architecture)  # complains now if the choices are not those of the space
    job = _job_of_images(settings, images, space, target, run, log)
    check_same(run, job.settings, job.data.describe())
    if run.architecture.exists() and Architecture.load(run.architecture) != architecture:
        raise ProxylessError(f"--out {run.path}: holds a run of another architecture; choose another --out")
    if delivery.is_finished(run):
        return delivery.finished(run, log)
    _begin(job, seconds, log)
    architecture.save(run.architecture)
    network = training.train(job, architecture)
    return delivery.deliver(job, architecture, network)


def _job_of_images(
    settings: Settings, images: ImageData, space: Space, target: Device, run: RunFolder, log: Logged
) -> Job:
    known = JobImages(images, objects.balance(settings, images))
    task = objects.task(settings, images)
    return Job(resolved(settings, images, space, target), known, task, space, target, run, log)


def _begin(job: Job, seconds: dict[str, float], log: Logged) -> None:
    """Write what the run is, from which on it can be continued, with the seconds and notes of the stages before."""
    if isinstance(job.space, OwnNetwork):
        job.space.keep(job.run)
    open_run(job.run, job.settings, job.data.describe())
    plugins.record(job)
    job.data.keep(job.run)
    add_seconds(job.run, seconds)
    log.write_to(job.run.log)


def measure(
    settings: Settings, out: Path, *, classes: int, channels: int, size: int, reporter: Reporter | None = None
) -> LatencyTable:
    """The latency table of a space alone, written as JSON to ``out``.

    Args:
        settings: of the space, the device and measuring.
        out: the file.
        classes: of the networks.
        channels: of the images.
        size: height and width of the images in px.
        reporter: told of the progress.

    Raises:
        ProxylessError: a mistake in the settings, or a candidate that cannot be measured on the device.
    """
    log = Logged(reporter or Reporter())
    target = objects.device(settings)
    with place.file(out):
        space = objects.space(settings, classes=classes, channels=channels, image_size=size)
        log.stage("measure")
        table = measuring.measured(settings, objects.supernet(settings, space), space, target, log)
        table.save(out)
    return table
