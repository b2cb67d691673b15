"""Settings become objects: what each setting means to the parts that do the work."""

from __future__ import annotations

from typing import Any

import torch

from proxyless import spaces, tasks
from proxyless.data import ImageData, Labelling
from proxyless.data.balance import class_weights, uneven
from proxyless.data.decoding import Rule
from proxyless.errors import ProxylessError
from proxyless.job.resolved import ResolvedSettings
from proxyless.job.settings import Balance, LossForm, Settings, Update, ZeroGate
from proxyless.latency import device as devices
from proxyless.latency.device import Device
from proxyless.latency.table import LatencyTable
from proxyless.latency.timing.statistics import Effort
from proxyless.search.gradient import AllPathUpdate, GradientUpdate, TwoPathUpdate
from proxyless.search.loop import Schedule
from proxyless.search.objective import BudgetLoss, Objective, ScaledLoss, TaskOnly, WeightedLoss
from proxyless.search.reinforce import ReinforceUpdate
from proxyless.search.reward import AccuracyReward, LatencyReward
from proxyless.search.steps import ArchitectureUpdate
from proxyless.spaces import SPACES, Space
from proxyless.supernet import Supernet
from proxyless.tasks import Classification, Task
from proxyless.training.loop import Recipe

# -- device and measuring --


def device(settings: Settings) -> Device:
    """The device that the network is for.

    Raises:
        ProxylessError: there is no such device.
    """
    return devices.device(settings.device, threads=settings.measure.threads, batch=settings.measure.batch)


def effort(settings: Settings, *, share: float = 1.0) -> Effort:
    """How thoroughly latency is measured, with a share of the time limit for less than a table."""
    return Effort(
        rounds=settings.measure.rounds,
        burst_ms=settings.measure.burst_ms,
        width=settings.measure.width,
        limit_s=share * settings.measure.limit_s,
        loadings=settings.measure.loadings,
    )


# -- space and supernet --


def space_arguments(settings: Settings) -> dict[str, Any]:
    """The arguments that the settings give the space, without those that its data decide.

    Raises:
        ProxylessError: there is no such space, or it has no such argument.
    """
    return settings.space.arguments() | regularisation(settings, settings.space.name)


def regularisation(settings: Settings, space: str) -> dict[str, Any]:
    """The arguments of a space that change the training of its networks alone.

    Raises:
        ProxylessError: networks of the space have no such regularisation.
    """
    wanted = {"dropout": settings.training.dropout, "drop_path": settings.training.drop_path}
    known = SPACES.get(space).regularisation
    for name, value in wanted.items():
        if value and name not in known:
            raise ProxylessError(f"setting training.{name}: networks of the space {space} have none, leave it at 0")
    return {name: value for name, value in wanted.items() if name in known}


def space(settings: Settings, *, classes: int, channels: int, image_size: int) -> Space:
    """The search space that the settings describe, for images of the given format."""
    given = {"classes": classes, "channels": channels, "image_size": image_size}
    return spaces.make(settings.space.name, space_arguments(settings) | given)


def image_format(images: ImageData) -> dict[str, int]:
    """What a space must know of the data."""
    return {"classes": len(images.classes), "channels": images.channels, "image_size": images.image_size}


def supernet(settings: Settings, space: Space) -> Supernet:
    """A fresh over-parameterized network of ``space``, the same for the same seed."""
    torch.manual_seed(settings.seed)
    return Supernet(space.network(), seed=settings.seed)


# -- task --


def balance(settings: Settings, images: ImageData) -> Balance:
    """What makes up for classes of unequal size: the setting, with ``auto`` decided by the training images.

    Raises:
        ProxylessError: the setting asks for something, and there are no classes.
    """
    chosen = settings.training.balance
    if images.labelling is not Labelling.CLASSIFICATION:
        if chosen in (Balance.AUTO, Balance.NONE):
            return Balance.NONE
        raise ProxylessError(f"setting training.balance: {chosen.value} is for classes, not for {images.labelling}")
    if chosen is not Balance.AUTO:
        return chosen
    if images.preprocessing.rule is Rule.TORCHVISION:  # begun by version 0.1, which had none
        return Balance.NONE
    return Balance.SAMPLER if uneven(images.counts("train")) else Balance.NONE


def task(settings: Settings, images: ImageData) -> Task:
    """What is learnt of the images; what the settings leave open of its training loss, search and training say."""
    if images.labelling is not Labelling.CLASSIFICATION:
        return tasks.make(images.labelling.value, images.classes).fitted([images.train.labels])
    weighted = balance(settings, images) is Balance.WEIGHTS
    return Classification(images.classes, class_weights=class_weights(images.counts("train")) if weighted else None)


# -- search --


def schedule(settings: ResolvedSettings) -> Schedule:
    """Lengths and rates of the search."""
    chosen = settings.search
    return Schedule(
        warmup_epochs=chosen.warmup_epochs,
        epochs=chosen.epochs,
        learning_rate=chosen.learning_rate,
        weight_decay=chosen.weight_decay,
        architecture_every=chosen.architecture_every,
        architecture_delay=chosen.architecture_delay,
        temperature=chosen.temperature,
        final_temperature=chosen.final_temperature,
        seed=settings.seed,
    )


def architecture_update(
    settings: ResolvedSettings, supernet: Supernet, table: LatencyTable | None, task: Task
) -> ArchitectureUpdate:
    """The update rule of the search; without a table it looks at the task alone."""
    chosen, budget = settings.search, settings.latency
    rate = chosen.architecture_learning_rate
    if chosen.update is Update.REINFORCE:
        reward = AccuracyReward() if table is None or budget is None else LatencyReward(table, budget)
        return ReinforceUpdate(supernet, reward, score=task.score, learning_rate=rate)
    rules: dict[Update, type[GradientUpdate]] = {Update.TWO_PATH: TwoPathUpdate, Update.ALL_PATH: AllPathUpdate}
    skipped = chosen.zero_gate is ZeroGate.SKIPPED
    return rules[chosen.update](supernet, objective(settings, table), learning_rate=rate, skip_zero=skipped)


def objective(settings: ResolvedSettings, table: LatencyTable | None) -> Objective:
    """What the architecture parameters minimise; without a table or a budget to keep it is the task's loss alone."""
    chosen, budget = settings.search, settings.latency
    if table is not None and chosen.loss is LossForm.WEIGHTED:
        return WeightedLoss(table, chosen.latency_weight)
    if table is None or budget is None or chosen.loss is LossForm.NONE:
        return TaskOnly()
    if chosen.loss is LossForm.MUL_LOG:
        return ScaledLoss(table, budget)
    return BudgetLoss(table, budget, weight=chosen.latency_weight, gain=chosen.multiplier_gain)


# -- training --


def recipe(settings: ResolvedSettings) -> Recipe:
    """How the network that was found is trained."""
    chosen = settings.training
    return Recipe(
        epochs=chosen.epochs,
        learning_rate=chosen.learning_rate,
        warmup_epochs=chosen.warmup_epochs,
        weight_decay=chosen.weight_decay,
        ema=chosen.ema,
        seed=settings.seed,
    )
