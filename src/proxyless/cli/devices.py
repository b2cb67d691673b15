"""The devices that latencies can be of: how each runs networks, and whether it can be used here or what it needs."""

from __future__ import annotations

import argparse
from typing import Any

from proxyless.cli.output import Answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(parsed: argparse.Namespace) -> Answer:
    from proxyless.latency.device import DEVICES

    found = [_described(name) for name in DEVICES]
    rows = [("device", "runtime", "precision", "threads", "state")]
    for device in found:
        title = device["runtime"] + (f" {device['runtime_version']}" if device["runtime_version"] else "")
        state = "available here" if device["available"] else device["needs"]
        if device["source"]:
            state = f"{device['measured_on']}; {device['source']}"
        rows.append((device["name"], title, device["precision"] or "-", str(device["threads"] or "-"), state))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]) for row in rows
    ]
    lines.append("Or a file: a latency table that was measured elsewhere, such as --device phone.json")
    return Answer("\n".join(lines), found)


def _described(name: str) -> dict[str, Any]:
    """What is known of a device; None where it does not apply."""
    from proxyless.latency import published
    from proxyless.latency.device import DEVICES
    from proxyless.latency.runtimes import PROGRAMS, available, runtime

    device = DEVICES[name]
    if not device.here:
        known = published.describe(name)
        values: dict[str, Any] = {"available": True, "measured_on": known.device, "source": known.source}
    else:
        reason = available(device.runtime)
        values = {
            "runtime": PROGRAMS[device.runtime].title,
            "runtime_version": None if reason else runtime(device.runtime).version(),
            "precision": str(device.precision),
            "threads": device.threads,
            "available": not reason,
            "needs": reason,
        }
    asked = ("runtime_version", "precision", "threads", "available", "needs", "measured_on", "source")
    return {"name": name, "runtime": device.runtime} | dict.fromkeys(asked) | values
