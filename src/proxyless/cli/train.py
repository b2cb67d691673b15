"""Train the network of an architecture from scratch, check it and export it."""

from __future__ import annotations

import argparse
from pathlib import Path

from proxyless.cli import options
from proxyless.cli.output import Answer, of_run
from proxyless.cli.parsing import CommandParser


def add_arguments(parser: CommandParser) -> None:
    """Add what the command takes to its parser."""
    parser.usage = "proxyless train --architecture FILE --data DATA --out RUN [any setting below]"
    parser.add_argument(
        "--architecture",
        type=Path,
        required=True,
        metavar="FILE",
        help="The architecture whose network is trained, such as RUN/architecture.json.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="RUN",
        help="Folder for everything that the run leaves. A run that is in it already goes on.",
    )
    parser.add_argument("--quiet", action="store_true", help="Show no progress, only the summary.")
    options.add_settings(parser, ["", "images", "measure", "training"], skip=["measure.networks", "measure.cache"])
    options.add_without_effect(parser, options.OF_THE_DATA | {"--space": "the space is that of the architecture"})


def run(parsed: argparse.Namespace) -> Answer:
    """Train the network, or go on with it."""
    settings = options.chosen(parsed)
    from proxyless.architecture import Architecture
    from proxyless.job import pipeline
    from proxyless.job.progress import shown

    architecture = Architecture.load(parsed.architecture)
    with shown(quiet=parsed.quiet) as reporter:
        result = pipeline.train(settings, architecture, parsed.out, reporter)
    return of_run(result.values, result.run.path)
