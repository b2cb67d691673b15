"""First stage: the images are found, read and divided."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from proxyless import data, files
from proxyless.data import ImageData, Labelling
from proxyless.data.balance import uneven
from proxyless.data.batches import Batches
from proxyless.errors import ProxylessError, one_line
from proxyless.job import objects
from proxyless.job.model_files import Samples, image_samples
from proxyless.job.progress import Reporter
from proxyless.job.resolved import ResolvedSettings
from proxyless.job.run_data import save_fingerprints
from proxyless.job.run_folder import RunFolder
from proxyless.job.settings import Balance, Settings

BALANCING = {
    Balance.NONE: "nothing is done about it",
    Balance.WEIGHTS: "an image of a small class weighs more in the loss",
    Balance.SAMPLER: "batches hold all classes equally often",
}


@dataclass(frozen=True)
class JobImages:
    """Images as the data of a job.

    Args:
        images: in three splits.
        balance: what makes up for classes of unequal size.
    """

    images: ImageData
    balance: Balance

    def batches(self, batch_size: int, seed: int, processor: torch.device, note: Callable[[str], None]) -> Batches:
        """The batches of search, training or evaluation."""
        balanced = self.balance is Balance.SAMPLER
        return Batches(self.images, batch_size, seed, processor, balanced=balanced, note=note)

    def samples(self, settings: ResolvedSettings, *, int8: bool) -> Samples:
        """Images that stand for all."""
        return image_samples(self.images, settings, int8=int8)

    def describe(self) -> dict[str, Any]:
        """Classes, splits and preprocessing."""
        return self.images.describe()

    def of_model(self) -> dict[str, Any]:
        """Classes and preprocessing."""
        return {"classes": list(self.images.classes), "preprocessing": self.images.preprocessing.to_dict()}

    def of_result(self) -> dict[str, Any]:
        """Where the images are, and what was noticed about them."""
        return {
            "class_balance": self.balance.value,
            "data": self.images.source,
            "data_remarks": self.images.findings.remarks(),
        }

    def keep(self, run: RunFolder) -> None:
        """What the images are known by, wherever they lie."""
        save_fingerprints(run, self.images)


def load_images(settings: Settings, run: RunFolder, log: Reporter) -> ImageData:
    """The images that the settings name, divided and prepared as before where the run has begun already.

    Raises:
        ProxylessError: there are none, or they cannot be read.
    """
    if not settings.data:
        known = ", ".join(sorted(data.PUBLISHED))
        raise ProxylessError(f"no data: give --data, a folder of images, a table of labels or one of {known}")
    if run.config.exists() and settings.data not in data.PUBLISHED and not files.from_home(settings.data).exists():
        raise ProxylessError(
            f"{settings.data}: is not there; where the images of the run {run.path} are now, say with --data"
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
        labelling=None if settings.task is None else Labelling(settings.task.value),
        **_as_before(run),
        progress=lambda done, total: log.advance(done, total, {}),
    )
    for remark in images.remarks():
        log.note(remark)
    if images.skipped:
        log.note(f"left out {len(images.skipped)} images that cannot be read, listed in data.json")
    _tell_of_balance(settings, images, log)
    changes: dict[str, Any] = {"cutout": settings.training.cutout}
    if chosen.flip is not None:
        changes["flip"] = chosen.flip
    if chosen.crop_scale is not None:
        changes["min_scale"] = chosen.crop_scale
    augmentation = dataclasses.replace(images.augmentation, **changes)
    return dataclasses.replace(images, augmentation=augmentation, workers=chosen.workers)


def _tell_of_balance(settings: Settings, images: ImageData, log: Reporter) -> None:
    counts = images.counts("train")
    if images.labelling is not Labelling.CLASSIFICATION or not uneven(counts):
        return
    most, least = (one_line(images.classes[counts.index(of(counts))]) for of in (max, min))
    log.note(
        f"classes differ in size: {max(counts):,} training images of {most}, {min(counts):,} of {least}; "
        f"{BALANCING[objects.balance(settings, images)]} (training.balance {settings.training.balance.value})"
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
