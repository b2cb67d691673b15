"""The published networks with their figures; with --out, one of them as an architecture to train or measure."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from proxyless.cli.output import Answer
from proxyless.errors import ProxylessError, one_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="A network of the list.")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="File for the architecture of the network, which `proxyless train` takes.",
    )


def run(parsed: argparse.Namespace) -> Answer:
    """List the published networks, or write the architecture of one."""
    from proxyless import zoo
    from proxyless.files import place

    if parsed.name is None and parsed.out is not None:
        raise ProxylessError(
            f"--out {parsed.out} goes with the NAME of a network; without --out the networks are listed"
        )
    if parsed.name is not None:
        architecture = zoo.architecture(parsed.name)
        if parsed.out is None:
            raise ProxylessError("give --out FILE for the architecture, or no name for the list")
        place.check_file(parsed.out)
        architecture.save(parsed.out)
        return Answer(one_line(str(parsed.out)), {"architecture": parsed.out})
    lines = [f"{'network':<22}{'parameters':>12}{'MACs':>12}{'input':>7}{'top-1':>8}  latency by the paper"]
    for network in zoo.catalogue():
        top1 = f"{network.top1:.1f} %"
        latencies = ", ".join(f"{device} {ms:g} ms" for device, ms in network.latencies_ms.items()) or "-"
        lines.append(
            f"{network.name:<22}{network.parameters:>12,}{network.macs / 1e6:>10.2f} M{network.input_size:>7}"
            f"{top1:>8}  {latencies}"
        )
    names = [field.name for field in dataclasses.fields(zoo.PublishedNetwork)]
    return Answer("\n".join(lines), [{name: getattr(network, name) for name in names} for network in zoo.catalogue()])
