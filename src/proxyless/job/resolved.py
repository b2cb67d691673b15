"""The settings of a job whose data and space are known: every default that depends on them is filled in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxyless import files
from proxyless.data import ImageData
from proxyless.job.settings import SearchSettings, Settings, TrainingSettings
from proxyless.latency.device import TABLE_FILE, Device
from proxyless.search.loop import Schedule
from proxyless.spaces import Space
from proxyless.spaces.settings import of_space

WARMUP_IMAGES, MOST_WARMUP_EPOCHS = 50_000, 20
SEARCH_IMAGES, MOST_SEARCH_EPOCHS = 100_000, 40
TRAINING_IMAGES, MOST_TRAINING_EPOCHS = 300_000, 60
"""How many images each phase sees unless its epochs are chosen, and the most epochs it takes then."""


@dataclass(frozen=True, kw_only=True)
class ResolvedSearch(SearchSettings):
    """Settings of the search, none of them left to be decided."""

    warmup_epochs: int
    epochs: int
    architecture_learning_rate: float
    multiplier_gain: float


@dataclass(frozen=True, kw_only=True)
class ResolvedTraining(TrainingSettings):
    """Settings of the training, none of them left to be decided."""

    epochs: int


@dataclass(frozen=True, kw_only=True)
class ResolvedSettings(Settings):
    """The settings of a job, none of them left to be decided; written as YAML, they repeat the job."""

    search: ResolvedSearch
    training: ResolvedTraining


def resolved(settings: Settings, images: ImageData, space: Space, target: Device) -> ResolvedSettings:
    """The settings with every default that depends on data, space or device filled in."""
    source = files.from_home(settings.data)
    values: dict[str, Any] = {
        "data": str(source.resolve()) if images.source == str(source.resolve()) else settings.data,
        "images.size": images.image_size,
        "images.flip": images.augmentation.flip,
        "images.crop_scale": images.augmentation.min_scale,
        "task": images.labelling.value if images.labelling_reason else None,
    }
    settings = dataclasses.replace(settings.replace(values), space=of_space(space.architecture({})))
    return with_lengths(on_device(settings, target), len(images.train))


def on_device(settings: Settings, target: Device) -> Settings:
    """The settings with what the device decides."""
    if target.runtime == TABLE_FILE:
        return settings.replace({"device": str(files.from_home(target.name).resolve())})
    if target.here:
        return settings.replace({"measure.threads": target.threads, "measure.batch": target.batch})
    return settings


def with_lengths(settings: Settings, count: int, *, steps_of_epoch: int | None = None) -> ResolvedSettings:
    """The settings with lengths and rates that suit the data, where they were not chosen.

    Args:
        settings: as they were chosen.
        count: training samples.
        steps_of_epoch: batches of one pass over them; None: as many as the settings' batch size makes.
    """

    def epochs(chosen: int | None, seen: int, most: int) -> int:
        return max(1, min(most, round(seen / count))) if chosen is None else chosen

    search, training = settings.search, settings.training
    search_epochs = epochs(search.epochs, SEARCH_IMAGES, MOST_SEARCH_EPOCHS)
    schedule = Schedule(
        warmup_epochs=epochs(search.warmup_epochs, WARMUP_IMAGES, MOST_WARMUP_EPOCHS),
        epochs=search_epochs,
        learning_rate=search.learning_rate,
        architecture_every=search.architecture_every,
        architecture_delay=search.architecture_delay,
    )
    steps = max(1, schedule.architecture_steps(steps_of_epoch or max(1, count // search.batch_size)))
    rate, gain = search.architecture_learning_rate, search.multiplier_gain
    of_search = {
        "warmup_epochs": schedule.warmup_epochs,
        "epochs": schedule.epochs,
        "architecture_learning_rate": round(min(0.05, 24 / steps), 6) if rate is None else rate,
        "multiplier_gain": round(25 / steps, 6) if gain is None else gain,
    }
    of_training = {"epochs": epochs(training.epochs, TRAINING_IMAGES, MOST_TRAINING_EPOCHS)}
    return ResolvedSettings(
        **_with(
            settings,
            {
                "search": ResolvedSearch(**_with(search, of_search)),
                "training": ResolvedTraining(**_with(training, of_training)),
            },
        )
    )


def _with(section: Settings | SearchSettings | TrainingSettings, values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a section by name, with ``values`` put in."""
    return {item.name: getattr(section, item.name) for item in dataclasses.fields(section)} | dict(values)
