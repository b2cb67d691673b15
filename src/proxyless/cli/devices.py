"""The devices that latencies can be of: how each runs networks, and whether it can be used here or what it needs."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(parsed: argparse.Namespace) -> None:
    from proxyless.latency import published
    from proxyless.latency.device import DEVICES
    from proxyless.latency.runtimes import PROGRAMS, available, runtime

    rows = [("device", "runtime", "precision", "threads", "state")]
    for device in DEVICES.values():
        if not device.here:
            known = published.describe(device.name)
            rows.append((device.name, device.runtime, "-", "-", f"{known.device}; {known.source}"))
            continue
        reason = available(device.runtime)
        title = PROGRAMS[device.runtime].title
        version = "" if reason else f" {runtime(device.runtime).version()}"
        state = reason or "available here"
        rows.append((device.name, title + version, str(device.precision), str(device.threads), state))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]))
    print("Or a file: a latency table that was measured elsewhere, such as --device phone.json")
