"""Where and how a network runs: what a latency is the latency of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from proxyless.errors import ProxylessError
from proxyless.latency import published
from proxyless.latency.table import PUBLISHED


class Precision(StrEnum):
    """Of weights and activations."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"


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
    precision: Precision = Precision.FLOAT32

    @property
    def here(self) -> bool:
        """Whether networks can be measured on it; the alternative is a table that somebody else measured."""
        return self.runtime != PUBLISHED


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
