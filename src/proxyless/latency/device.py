"""Where and how a network runs: what a latency is the latency of."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from proxyless.errors import ProxylessError
from proxyless.latency import published


@dataclass(frozen=True)
class Device:
    """One way to run a network on this machine.

    Args:
        name: what it is called on the command line.
        runtime: name of the runtime in :mod:`proxyless.latency.runtimes`.
        threads: threads that one inference may use.
        batch: images in one inference.
        precision: of weights and activations.
    """

    name: str
    runtime: str
    threads: int = 1
    batch: int = 1
    precision: str = "float32"

    @property
    def here(self) -> bool:
        """Whether networks can be measured on it; the alternative is a table that somebody else measured."""
        return self.runtime != PUBLISHED

    def describe(self) -> dict[str, Any]:
        """The device, the machine and the runtime's version, as data that goes with every measurement."""
        from proxyless.latency.runtimes import runtime

        if not self.here:
            known = published.describe(self.name)
            return asdict(self) | {"machine": known.device, "runtime_version": known.source}
        return asdict(self) | {"machine": machine(), "runtime_version": runtime(self.runtime).version()}

    def key(self) -> str:
        """A hash that changes whenever an old measurement no longer applies: device, machine or runtime version."""
        text = "\n".join(f"{k}={v}" for k, v in sorted(self.describe().items()) if k != "name")
        return hashlib.sha256(text.encode()).hexdigest()[:16]


PUBLISHED = "published table"
DEVICES = {"cpu": Device("cpu", runtime="onnxruntime")} | {
    name: Device(name, runtime=PUBLISHED) for name in published.names()
}


def device(name: str, *, threads: int | None = None, batch: int | None = None) -> Device:
    """The device called ``name``, with other threads or another batch size where given.

    Raises:
        ProxylessError: there is no such device, or a number below 1.
    """
    if name not in DEVICES:
        raise ProxylessError(f"no device called {name!r}: there is {', '.join(DEVICES)}")
    known = DEVICES[name]
    if not known.here and (threads or batch):
        raise ProxylessError(f"device {name} is a published table: threads and batch are those it was measured with")
    threads = known.threads if threads is None else threads
    batch = known.batch if batch is None else batch
    if threads < 1 or batch < 1:
        raise ProxylessError(f"device {name}: threads and batch must be at least 1, got {threads} and {batch}")
    return Device(known.name, known.runtime, threads, batch, known.precision)


@lru_cache
def machine() -> str:
    """The processor's name and number of logical cores."""
    import os

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        fields: dict[str, str] = {}
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            fields[key.strip()] = value.strip()
        model = fields.get("model name", model)
        if "cpu family" in fields:  # virtual machines often hide the model's name
            model += f" (family {fields['cpu family']}, model {fields.get('model', '?')})"
    return f"{model}, {os.cpu_count()} cores"
