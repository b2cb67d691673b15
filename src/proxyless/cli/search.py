"""The whole job: measure the device, search an architecture on your data, train it, check it, export it.

The same command on an unfinished run goes on where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from proxyless.cli import options
from proxyless.cli.output import Answer, of_run
from proxyless.cli.parsing import CommandParser


def add_arguments(parser: CommandParser) -> None:
    """Add what the command takes to its parser."""
    parser.usage = "proxyless search --data DATA --device DEVICE --latency MS --out RUN [any setting below]"
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="RUN",
        help="Folder for everything that the run leaves. A run that is in it already goes on.",
    )
    parser.add_argument("--quiet", action="store_true", help="Show no progress, only the summary.")
    options.add_settings(parser, options.SECTIONS)
    options.add_without_effect(parser, options.OF_THE_DATA)


def run(parsed: argparse.Namespace) -> Answer:
    """Do the whole job, or go on with it."""
    settings = options.chosen(parsed)
    from proxyless.job import pipeline
    from proxyless.job.progress import shown

    with shown(quiet=parsed.quiet) as reporter:
        result = pipeline.search(settings, parsed.out, reporter)
    return of_run(result.values, result.run.path)
