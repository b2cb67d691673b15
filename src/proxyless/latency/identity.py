"""Describes what a measurement belongs to: device, machine, and version of the runtime."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

from proxyless import files
from proxyless.latency import published
from proxyless.latency.device import TABLE_FILE, Device
from proxyless.latency.runtimes import RUNTIMES, gpu, runtime
from proxyless.latency.table import LatencyTable
from proxyless.latency.timing import interleaved as timing
from proxyless.machine.system import machine


def describe(device: Device) -> dict[str, Any]:
    """Describe device, machine and version of the runtime, as data that goes with every measurement.

    A table file is described by what it says of the device that it was measured on.

    Raises:
        ProxylessError: the runtime cannot be used here, or the table file cannot be read.
    """
    if device.runtime == TABLE_FILE:
        return dict(LatencyTable.load(files.from_home(device.name)).device)
    if not device.here:
        known = published.describe(device.name)
        return {
            "name": device.name,
            "runtime": device.runtime,
            "machine": known.device,
            "runtime_version": known.source,
        }
    version = runtime(device.runtime).version()
    on_gpu = RUNTIMES.get(device.runtime).gpu
    return asdict(device) | {"machine": gpu.names()[0] if on_gpu else machine(), "runtime_version": version}


def key(device: Device) -> str:
    """Return a hash of all that a measurement depends on: device, machine, version of the runtime, way of timing."""
    described = describe(device) | {"timing": timing.METHOD}
    text = "\n".join(f"{name}={value}" for name, value in sorted(described.items()) if name != "name")
    return hashlib.sha256(text.encode()).hexdigest()[:16]
