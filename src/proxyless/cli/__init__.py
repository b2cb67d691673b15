"""The command line: parses, calls, prints."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from proxyless.errors import ProxylessError

COMMANDS = {
    "search": "design a network for your images, device and latency budget",
    "measure": "measure the latency table of a search space",
    "bundle": "write a search space as files to be timed on a device without this package",
    "train": "train the network of an architecture",
    "evaluate": "accuracy of a run's network on the test split",
    "export": "write a run's network as ONNX again, in int8, or as TFLite",
    "report": "write a run's report again",
    "devices": "the devices that latencies can be of, and what each needs",
    "zoo": "the published networks",
}


INSTALLED_AS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
"""Packages whose name is not that of the module."""


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        prog="proxyless",
        description="Designs a neural network for your task and your device.",
        epilog="Start with: proxyless search --data digits --device cpu --latency 0.1 --out runs/first",
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in COMMANDS.items():
        module = import_module(f"proxyless.cli.{name}")
        command = commands.add_parser(name, help=text, description=f"{module.__doc__}".strip())
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 after a user's mistake, 130 when interrupted."""
    top = parser()
    parsed = top.parse_args(arguments)
    if parsed.version:
        from proxyless import __version__

        print(__version__)
        return 0
    if parsed.command is None:
        top.print_help()
        return 2
    # Read when PyTorch is loaded. Its threads wait for one another by spinning; where another process wants a core,
    # they spin through the time that the one they wait for would need.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    try:
        parsed.run(parsed)
    except ProxylessError as error:
        print(f"proxyless {parsed.command}: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        name = (error.name or "").split(".")[0]
        package = INSTALLED_AS.get(name, name)
        print(f"proxyless {parsed.command}: {error}; pip install {package}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a folder that cannot be written
        print(f"proxyless {parsed.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        resumed = parsed.command in ("search", "train", "measure")
        print("\nstopped" + "; the same command goes on from here" * resumed, file=sys.stderr)
        return 130
    return 0
