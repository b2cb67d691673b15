"""The verbs of the front door, :func:`proxyless.search`, :func:`proxyless.load` and :func:`proxyless.measure`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyless.errors import ProxylessError, short

if TYPE_CHECKING:
    from torch import nn

    from proxyless.job.own_network import Loader, Loaders
    from proxyless.job.run import Run
    from proxyless.job.settings import Settings
    from proxyless.latency.table import LatencyTable
    from proxyless.latency.timing.statistics import Interval
    from proxyless.spaces import Space
    from proxyless.tasks import Task

SHORT = {"space": "space.name", "image_size": "images.size"}
"""Keywords that are not spelt as their setting, as flags of the command line are not."""

OF_IMAGES = (
    *("images.", "space.", "search.batch_size", "search.shared_start", "training.batch_size", "training.balance"),
    *("training.cutout", "training.dropout", "training.drop_path"),
)
"""Beginnings of settings that are of images and search spaces, not of a network and loaders of one's own."""


def search(
    data: str | Path | None = None,
    *,
    out: str | Path,
    device: str | Path | None = None,
    latency: float | None = None,
    network: nn.Module | None = None,
    task: Task | str | None = None,
    train: Loader | None = None,
    valid: Loader | None = None,
    test: Loader | None = None,
    config: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
    **more: Any,
) -> Run:
    """Design a network for a task, a device and a latency: measure, search, train, check, export, report.

    Either ``data`` names images, and a network of one of the search spaces is found; or ``network`` is a module of
    your own that holds :class:`~proxyless.Choice` modules, with loaders of your own. The same call on an unfinished run
    goes on where it stopped, and comes to the same result.

    Args:
        data: a folder of images, a table of labels, or the name of a known data set.
        out: folder for everything that the run leaves.
        device: what the network is for, one of :func:`~proxyless.list_devices` or the file of a latency table; the CPU
            of this machine unless given.
        latency: ms that one inference may take on the device.
        network: a module with choices, instead of ``data``.
        task: what is learnt, with a ``network`` of your own; classification unless given. With ``data``, the name of
            the task of a table of labels, where its labels leave a doubt.
        train: batches to train weights on, (inputs, targets) or what the task takes, such as a
            :class:`torch.utils.data.DataLoader`. A loader that shuffles by PyTorch's generator is repeatable, since
            that is seeded before each epoch.
        valid: batches that are held out of training, for the architecture.
        test: batches for the figures at the end.
        config: a YAML file of settings, or the name of a shipped recipe.
        settings: further settings by dotted name, ``{"search.epochs": 3}``.
        quiet: whether to show no progress on standard error.
        more: further settings with an underscore for the dot, ``search_epochs=3``; ``space="tree"`` is the space.

    Returns:
        The run, as :func:`~proxyless.load` finds it again.

    Raises:
        ProxylessError: a mistake in the settings, the data, the network or the folder.

    Example:
        >>> import proxyless
        >>> run = proxyless.search(
        ...     "digits", device="cpu", latency=1.0, out="runs/tiny", quiet=True,
        ...     search_warmup_epochs=0, search_epochs=1, training_epochs=1,
        ...     space_depths=(1, 1, 1, 1, 1, 1), space_expansions=(2,), measure_rounds=3, measure_limit_s=1,
        ... )
        >>> run.result["latency_budget_ms"], run.report.name
        (1.0, 'report.html')

        The same for a network and loaders of your own:

        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(
        ...     nn.Conv2d(1, 4, 3, padding=1), proxyless.Choice(k3=nn.Conv2d(4, 4, 3, padding=1), none=nn.Identity()),
        ...     nn.Flatten(), nn.Linear(4 * 8 * 8, 2),
        ... )
        >>> batches = [(torch.randn(16, 1, 8, 8), torch.randint(0, 2, (16,))) for _ in range(3)]
        >>> run = proxyless.search(
        ...     network=net, task="classification", train=batches, valid=batches, test=batches, latency=5.0,
        ...     out="runs/own", quiet=True, search_epochs=1, training_epochs=1, measure_rounds=3, measure_limit_s=1,
        ... )
        >>> list(run.architecture.choices)
        ['1']
    """
    from proxyless.job import pipeline
    from proxyless.job.progress import shown
    from proxyless.job.run import Run
    from proxyless.job.settings import Settings
    from proxyless.job.settings import load as load_settings

    folder = _path("out", out)
    chosen = load_settings(_path("config", config)) if config is not None else Settings()
    named = {"data": data, "device": device, "latency": latency}
    given = {name: value for name, value in named.items() if value is not None}
    if settings is not None and not isinstance(settings, Mapping):
        raise ProxylessError(f"settings: must be a mapping such as {{'search.epochs': 3}}, got {short(settings)}")
    further = {**(settings or {}), **_dotted(more)}
    chosen = chosen.replace(given | further)
    loaders = {"train": train, "valid": valid, "test": test}
    if network is None:
        needless = [name for name, value in loaders.items() if value is not None]
        if needless:
            raise ProxylessError(f"{needless[0]} goes with network=, a module of your own with choices")
        if isinstance(task, str):
            chosen = chosen.replace({"task": task})
        elif task is not None:
            raise ProxylessError("task: give its name with data=, or a network= of your own with a task of your own")
        with shown(quiet=quiet) as reporter:
            return Run(pipeline.search(chosen, folder, reporter).run.path)
    if data is not None:
        raise ProxylessError("give either data= or network=, a module of your own, with train=, valid= and test=")
    for name in further:
        if name.startswith(OF_IMAGES):
            raise ProxylessError(f"setting {name} has no effect on a network and loaders of your own: leave it away")
    found = _loaders(loaders, task, chosen)
    with shown(quiet=quiet) as reporter:
        result = pipeline.search_network(network, found, chosen, folder, reporter)
    return Run(result.run.path, network=network, own_task=found.task)


def load(path: str | Path, *, network: nn.Module | None = None, task: Task | str | None = None) -> Run:
    """Load what a run has left in its folder.

    Args:
        path: folder of the run.
        network: for a run with a network of your own, that network: the compact one is derived from it.
        task: for a run with a task that is not registered by name, that task.

    Raises:
        ProxylessError: there is no such run, nothing has been found yet, or it is of another network or task.

    Example:
        >>> import proxyless
        >>> run = proxyless.load("runs/digits")
        >>> run.architecture.space
        'mobilenet'
    """
    from proxyless.job.own_network import check_module
    from proxyless.job.run import Run

    if network is not None:
        check_module(network)
    run = Run(_path("path", path), network=network, own_task=None if task is None else _task(task))
    if not run.architecture.space and network is None:
        raise ProxylessError(f"{path}: its network is one of your own, give it as network=")
    if run.architecture.space and network is not None:
        raise ProxylessError(f"{path}: its network is of the space {run.architecture.space}, leave network= away")
    return run


def measure(
    network: str | nn.Module | Space,
    input_shape: tuple[int, ...] | None = None,
    device: str = "cpu",
    *,
    classes: int = 10,
    **more: Any,
) -> Interval | LatencyTable:
    """Measure the latency of a network, or of every candidate of a search space, on this machine.

    Args:
        network: a module, a module with choices, or a search space or its name.
        input_shape: of one input without the batch, such as (3, 224, 224); of a search space that is an object it is
            known.
        device: one of :func:`~proxyless.list_devices` that is here.
        classes: of a search space that is given by name.
        more: settings of measuring, such as ``rounds=10``, ``limit_s=30``, ``threads=2`` or ``batch=8``.

    Returns:
        Of a module without choices the latency in ms with its interval; of a module with choices or a search space a
        :class:`~proxyless.LatencyTable`, a cost that is linear in the gates.

    Raises:
        ProxylessError: the device is not here, or the network cannot be converted for it.

    Example:
        >>> import proxyless
        >>> from torch import nn
        >>> latency = proxyless.measure(nn.Conv2d(3, 8, 3), (3, 32, 32), rounds=3, limit_s=1)
        >>> 0 < latency.low_ms <= latency.ms <= latency.high_ms
        True
        >>> net = nn.Sequential(
        ...     nn.Conv2d(3, 8, 3), proxyless.Choice(k3=nn.Conv2d(8, 8, 3, padding=1), skip=nn.Identity())
        ... )
        >>> table = proxyless.measure(net, (3, 16, 16), rounds=3, networks=4, limit_s=1, cache=None)
        >>> list(table.rows["1"])
        ['k3', 'skip']
    """
    from torch import nn

    from proxyless.choice import Choice
    from proxyless.job import objects
    from proxyless.job.progress import Reporter
    from proxyless.job.settings import Settings
    from proxyless.job.stages.measuring import measured
    from proxyless.latency.measure import measure_networks
    from proxyless.spaces import Space

    if isinstance(network, type) or not isinstance(network, str | nn.Module | Space):
        raise ProxylessError(
            f"network: must be a torch.nn.Module, a search space, or the name of one, got {short(network)}"
        )
    settings = Settings().replace({"device": device} | {f"measure.{name}": value for name, value in more.items()})
    target = objects.device(settings)
    if not target.here:
        raise ProxylessError(f"device {device} is a table of latencies: nothing is measured on it here")
    if isinstance(network, nn.Module) and not any(isinstance(module, Choice) for module in network.modules()):
        shapes = ((target.batch, *_needed(input_shape)),)
        (found,), _ = measure_networks([network], shapes, target, objects.effort(settings))
        return found
    space = _space(network, input_shape, classes)
    return measured(settings, objects.supernet(settings, space), space, target, Reporter())


def _space(network: str | nn.Module | Space, input_shape: tuple[int, ...] | None, classes: int) -> Space:
    import torch
    from torch import nn

    from proxyless import spaces
    from proxyless.job.own_network import own_network

    if isinstance(network, nn.Module):
        return own_network(network, torch.zeros(2, *_needed(input_shape)))
    if not isinstance(network, str):
        return network
    shape = _needed(input_shape)
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ProxylessError(f"space {network}: input_shape must be (channels, size, size), got {shape}")
    return spaces.make(network, {"classes": classes, "channels": shape[0], "image_size": shape[1]})


def _needed(input_shape: tuple[int, ...] | None) -> tuple[int, ...]:
    if input_shape is None:
        raise ProxylessError("input_shape is needed: of one input without the batch, such as (3, 224, 224)")
    sizes = tuple(input_shape) if isinstance(input_shape, Sequence) else ()
    if not sizes or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ProxylessError(
            "input_shape: must be whole numbers of one input without the batch, such as (3, 224, 224), got"
            f" {short(input_shape)}"
        )
    return sizes


def _path(name: str, value: object) -> Path:
    if not isinstance(value, str | os.PathLike):
        raise ProxylessError(f"{name}: must be a path, got {short(value)}")
    return Path(value)


def _dotted(more: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted name, of keywords such as ``search_epochs``."""
    from proxyless.job.settings import Settings

    sections = {item.name for item in fields(Settings()) if is_dataclass(getattr(Settings(), item.name))}
    parts = {name: name.partition("_") for name in more if name not in SHORT}
    return {SHORT[name]: value for name, value in more.items() if name in SHORT} | {
        f"{section}.{rest}" if section in sections and rest else name: more[name]
        for name, (section, _, rest) in parts.items()
    }


def _loaders(loaders: Mapping[str, Loader | None], task: Task | str | None, settings: Settings) -> Loaders:
    from proxyless.job.own_network import Loaders

    given = {name: loader for name, loader in loaders.items() if loader is not None}
    for name in loaders:
        if name not in given:
            raise ProxylessError(f"{name}= is missing: a network of your own needs loaders train=, valid= and test=")
    return Loaders(**given, task=_task(task or "classification"), seed=settings.seed)


def _task(task: Task | str) -> Task:
    """A task that a user gives by itself or by name."""
    from proxyless import tasks

    if isinstance(task, str):
        return tasks.make(task)
    if not isinstance(task, tasks.Task):
        raise ProxylessError(f"task: must be a proxyless.Task, such as Classification(), or a name, got {short(task)}")
    if not isinstance(getattr(task, "name", None), str) or not getattr(task, "metrics", None):
        raise ProxylessError(f"task: the class {type(task).__name__} needs a name and at least one metric")
    return task
