"""The devices that latencies can be of: how each runs networks, and whether it can be used here or what it needs."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from proxyless.cli.output import Answer
from proxyless.errors import one_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(parsed: argparse.Namespace) -> Answer:
    """List the devices."""
    from proxyless.latency.device import list_devices

    found = list_devices()
    table = [("device", "runtime", "precision", "threads", "state")]
    for device in found:
        title = device.title + (f" {device.runtime_version}" if device.runtime_version else "")
        state = device.description
        table.append((device.name, title, device.precision or "-", str(device.threads or "-"), state))
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]) for row in table
    ]
    lines.append("Or a file: a latency table that was measured elsewhere, such as --device phone.json")
    return Answer("\n".join(map(one_line, lines)), [asdict(device) for device in found])
