"""What every stage of a job needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from proxyless.job.model_files import Samples
from proxyless.job.progress import Reporter
from proxyless.job.resolved import ResolvedSettings
from proxyless.job.run_folder import RunFolder
from proxyless.latency.device import Device
from proxyless.search.loop import SearchData
from proxyless.spaces import Space
from proxyless.tasks import Task


class JobBatches(SearchData, Protocol):
    """The batches of a job: those of a search and of a training, and those of the test."""

    def test(self) -> Iterable[Any]:
        """One pass over the test samples."""
        ...


class JobData(Protocol):
    """What a network learns from: images that were read, or loaders of one's own."""

    def batches(
        self, batch_size: int, seed: int, processor: torch.device, note: Callable[[str], None]
    ) -> AbstractContextManager[JobBatches]:
        """The batches, on the processor that computes on them.

        Args:
            batch_size: samples in one batch, where the data leaves that open.
            seed: of the order of the samples and of what is changed of them at random.
            processor: where the batches are wanted.
            note: told in a line of worker processes that fail.
        """
        ...

    def samples(self, settings: ResolvedSettings, *, int8: bool) -> Samples:
        """Samples that stand for the data; with ``int8`` as many as quantising needs."""
        ...

    def describe(self) -> dict[str, Any]:
        """What ``data.json`` records, by which the data is known again."""
        ...

    def of_model(self) -> dict[str, Any]:
        """What ``model.json`` says of the inputs that the network takes."""
        ...

    def of_result(self) -> dict[str, Any]:
        """What ``result.json`` says of the data."""
        ...

    def keep(self, run: RunFolder) -> None:
        """Write to the run folder what is needed of the data when the run goes on, beside its description."""
        ...


@dataclass(frozen=True)
class Job:
    """A job whose data and space are known.

    Args:
        settings: with every default filled in.
        data: what the network learns from.
        task: what it learns.
        space: the networks to choose from.
        target: the device that the network is for.
        run: where the stages leave their files.
        log: told of the course of the job.
    """

    settings: ResolvedSettings
    data: JobData
    task: Task
    space: Space
    target: Device
    run: RunFolder
    log: Reporter
