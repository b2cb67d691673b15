"""Where and how a network runs: what a latency is the latency of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from proxyless import files
from proxyless.errors import ProxylessError, meant
from proxyless.latency import published

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


def _devices() -> Mapping[str, Device]:
    here = [
        Device("cpu", "onnxruntime"),
        Device("cpu-int8", "onnxruntime", precision=Precision.INT8),
        Device("cpu-torch", "torch"),
        Device("cpu-torch-compile", "torch-compile"),
        Device("cpu-openvino", "openvino"),
        Device("cpu-litert", "litert"),
        Device("cpu-litert-int8", "litert", precision=Precision.INT8),
    ]
    on_gpu = {
        "cuda": "onnxruntime-cuda",
        "cuda-tensorrt": "onnxruntime-tensorrt",
        "cuda-torch": "torch-cuda",
        "cuda-torch-graph": "torch-cuda-graph",
    }
    for name, runtime in on_gpu.items():
        here += [Device(name, runtime), Device(f"{name}-fp16", runtime, precision=Precision.FLOAT16)]
    return {known.name: known for known in [*here, *(Device(name, PUBLISHED) for name in published.names())]}


DEVICES = _devices()
"""The devices that have a name."""


def device(name: str, *, threads: int | None = None, batch: int | None = None) -> Device:
    """The device called ``name``, with other threads or another batch size where given.

    Args:
        name: one of :data:`DEVICES`, or the path of a latency table, which is not read yet.
        threads: of one inference.
        batch: images of one inference.

    Raises:
        ProxylessError: there is no such device or file, or a number is below 1.
    """
    known = DEVICES.get(name)
    if known is None:
        if not (name.endswith(".json") or files.from_home(name).is_file()):
            listed = f"there is {', '.join(DEVICES)}, or the file of a table{meant(name, DEVICES)}"
            raise ProxylessError(f"no device called {name!r}: {listed}")
        known = Device(name, TABLE_FILE)
    if not known.here and (threads or batch):
        kind = "published table" if known.runtime == PUBLISHED else "table measured elsewhere"
        raise ProxylessError(f"device {name} is a {kind}: threads and batch are those it was measured with")
    threads = known.threads if threads is None else threads
    batch = known.batch if batch is None else batch
    if threads < 1 or batch < 1:
        raise ProxylessError(f"device {name}: threads and batch must be at least 1, got {threads} and {batch}")
    return replace(known, threads=threads, batch=batch)
