"""Rounds of measurements kept between runs: what is known is not measured again, and a stop costs one round at most."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from proxyless.errors import ProxylessError
from proxyless.latency import identity
from proxyless.latency.device import Device
from proxyless.latency.timing import rounds_file
from proxyless.latency.timing.statistics import Round


class RoundsCache:
    """The rounds of one device on this machine, with one version of its runtime, in a file of their own.

    Measuring works without it too: a file that cannot be read counts as empty, and one that cannot be written is left.

    Args:
        folder: of the files, one for each device, machine and runtime version.
        device: what the rounds were measured on.
    """

    def __init__(self, folder: Path, device: Device) -> None:
        self.path = folder / f"{device.name}-{identity.key(device)}.jsonl"
        self.device = device

    def load(self) -> list[Round]:
        """Read all rounds, with the median ms of each operator's burst by the operator's signature."""
        with suppress(ProxylessError):
            return rounds_file.read(self.path)[1]
        return []

    def add(self, done: Round) -> None:
        """Append a round."""
        with suppress(OSError, ProxylessError):
            if not self.path.exists():
                rounds_file.begin(self.path, {"device": identity.describe(self.device)})
            rounds_file.append(self.path, done)
