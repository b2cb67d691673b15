"""The published networks with their figures; with --out, one of them as an architecture to train or measure."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="A network of the list.")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="File for the architecture of the network, which `proxyless train` takes.",
    )


def run(parsed: argparse.Namespace) -> None:
    from proxyless import zoo
    from proxyless.errors import ProxylessError

    if parsed.name is None and parsed.out is not None:
        raise ProxylessError(
            f"--out {parsed.out} goes with the NAME of a network; without --out the networks are listed"
        )
    if parsed.name is not None:
        architecture = zoo.architecture(parsed.name)
        if parsed.out is None:
            raise ProxylessError("give --out FILE for the architecture, or no name for the list")
        architecture.save(parsed.out)
        print(parsed.out)
        return
    print(f"{'network':<22}{'parameters':>12}{'MACs':>12}{'input':>7}{'top-1':>8}  latency by the paper")
    for network in zoo.catalogue():
        top1 = f"{network.top1:.1f} %"
        latencies = ", ".join(f"{device} {ms:g} ms" for device, ms in network.latencies_ms.items()) or "-"
        print(
            f"{network.name:<22}{network.parameters:>12,}{network.macs / 1e6:>10.2f} M{network.input_size:>7}"
            f"{top1:>8}  {latencies}"
        )
