"""What every stage of a job needs."""

from __future__ import annotations

from dataclasses import dataclass

from proxyless.data import ImageData
from proxyless.job.progress import Reporter
from proxyless.job.resolved import ResolvedSettings
from proxyless.job.run_folder import RunFolder
from proxyless.latency.device import Device
from proxyless.spaces import Space


@dataclass(frozen=True)
class Job:
    """A job whose data and space are known.

    Args:
        settings: with every default filled in.
        images: what the network learns from.
        space: the networks to choose from.
        target: the device that the network is for.
        run: where the stages leave their files.
        log: told of the course of the job.
    """

    settings: ResolvedSettings
    images: ImageData
    space: Space
    target: Device
    run: RunFolder
    log: Reporter
