"""Where and how a network runs: what a latency is the latency of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from proxyless import files
from proxyless.errors import ProxylessError, meant
from proxyless.latency import published
from proxyless.latency.runtimes import RUNTIMES, runtime, why_unavailable

PUBLISHED = "published table"
"""The runtime of devices that others have measured."""

TABLE_FILE = "table file"
"""The runtime of devices that are a file: a latency table that was measured elsewhere."""


class Precision(StrEnum):
    """Of weights and activations."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"


@dataclass(frozen=True)
class Device:
    """One way to run a network on this machine, or a table of one that is elsewhere.

    Args:
        name: what it is called on the command line; the path where it is a file.
        runtime: name of the runtime in :mod:`proxyless.latency.runtimes`, :data:`PUBLISHED` or :data:`TABLE_FILE`.
        threads: threads that one inference may use; on a GPU, those of the host.
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
        return self.runtime not in (PUBLISHED, TABLE_FILE)


def devices() -> dict[str, Device]:
    """All devices that have a name: of our runtimes, of those of other packages, and published tables.

    What a package offers that cannot be imported is left out.
    """
    RUNTIMES.broken()  # imports all others
    return _imported()


def _imported() -> dict[str, Device]:
    """The devices that are known without importing another package."""
    here = [device for program in RUNTIMES.registered().values() for device in program.devices]
    return {known.name: known for known in [*here, *(Device(name, PUBLISHED) for name in published.names())]}


def device(name: str, *, threads: int | None = None, batch: int | None = None) -> Device:
    """The device called ``name``, with other threads or another batch size where given.

    Args:
        name: one of :func:`devices`, or the path of a latency table, which is not read yet.
        threads: of one inference.
        batch: images of one inference.

    Raises:
        ProxylessError: there is no such device or file, or a number is below 1.
    """
    known = _known(name)
    if not known.here and (threads or batch):
        kind = "published table" if known.runtime == PUBLISHED else "table measured elsewhere"
        raise ProxylessError(f"device {name} is a {kind}: threads and batch are those it was measured with")
    threads = known.threads if threads is None else threads
    batch = known.batch if batch is None else batch
    if threads < 1 or batch < 1:
        raise ProxylessError(f"device {name}: threads and batch must be at least 1, got {threads} and {batch}")
    return replace(known, threads=threads, batch=batch)


def _known(name: str) -> Device:
    """The device called ``name`` as it is by default."""
    known = _imported()
    if name not in known:
        known = devices()
    if name in known:
        return known[name]
    if name.endswith(".json") or files.from_home(name).is_file():
        return Device(name, TABLE_FILE)
    problems = "".join(f"; {reason}" for reason in RUNTIMES.broken().values())
    raise ProxylessError(
        f"no device called {name!r}: there is {', '.join(known)}, or the file of a table{meant(name, known)}{problems}"
    )


@dataclass(frozen=True)
class DeviceInfo:
    """What is known of a device; what does not apply to it is None.

    Args:
        name: as ``--device`` takes it.
        runtime: name of the runtime.
        title: what the runtime is called, or that it is a published table.
        runtime_version: of the runtime that is installed.
        precision: of weights and activations.
        threads: of one inference.
        available: whether it can be used here.
        needs: what it needs where it cannot.
        measured_on: of a published table, the device that was measured.
        source: of a published table, who published it.
    """

    name: str
    runtime: str
    title: str
    runtime_version: str | None = None
    precision: str | None = None
    threads: int | None = None
    available: bool = True
    needs: str | None = None
    measured_on: str | None = None
    source: str | None = None

    @property
    def description(self) -> str:
        """One line: whether it can be used here, what it needs, or whose measurements it stands for."""
        if self.source is not None:
            return f"{self.measured_on}; {self.source}"
        return "available here" if self.available else str(self.needs)


def list_devices() -> list[DeviceInfo]:
    """The devices that latencies can be of, and what each needs.

    Of another package that cannot be imported, the name of its runtime stands in the place of its devices.

    Example:
        >>> import proxyless
        >>> known = {device.name: device for device in proxyless.list_devices()}
        >>> known["cpu"].description
        'available here'
        >>> known["pixel1"].measured_on
        'Google Pixel 1, batch 1'
    """
    unusable = [
        DeviceInfo(name, runtime=name, title=name, available=False, needs=reason)
        for name, reason in RUNTIMES.broken().items()
    ]
    return [_described(known) for known in devices().values()] + unusable


def _described(known: Device) -> DeviceInfo:
    if not known.here:
        table = published.describe(known.name)
        return DeviceInfo(known.name, known.runtime, known.runtime, measured_on=table.device, source=table.source)
    reason = why_unavailable(known.runtime)
    return DeviceInfo(
        name=known.name,
        runtime=known.runtime,
        title=RUNTIMES.get(known.runtime).title,
        runtime_version=None if reason else runtime(known.runtime).version(),
        precision=str(known.precision),
        threads=known.threads,
        available=reason is None,
        needs=reason,
    )
