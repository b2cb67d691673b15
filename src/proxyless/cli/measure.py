"""Measure the latency of every candidate of a search space on a device, and correct the table by whole networks."""

from __future__ import annotations

import argparse
from pathlib import Path

from proxyless.cli import options
from proxyless.cli.output import Answer, of_table
from proxyless.cli.parsing import CommandParser
from proxyless.errors import ProxylessError


def add_arguments(parser: CommandParser) -> None:
    """Add what the command takes to its parser."""
    parser.usage = (
        "proxyless measure --space NAME --device DEVICE --out FILE [any setting below]\n"
        "       proxyless measure --from RESULTS [--bundle FOLDER] [--adapt TABLE ...] --out FILE"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="File for the latency table, as JSON.")
    options.add_format(parser)
    parser.add_argument("--quiet", action="store_true", help="Show no progress, only the summary.")
    options.add_settings(parser, ["", "space", "measure"], skip=["data", "latency"])
    group = parser.add_argument_group(
        "measured elsewhere", "timings of what `proxyless bundle` wrote, on another device"
    )
    text = (
        "Timings of a bundle: results.json of its run.pyz, or a CSV file with the columns file and ms. Replaces every"
    )
    text += " setting above."
    group.add_argument("--from", dest="results", type=Path, metavar="RESULTS", help=text)
    text = "Folder of the bundle that was timed. Needed for a CSV file."
    group.add_argument("--bundle", type=Path, metavar="FOLDER", help=text)
    text = "Tables of the same space on other devices, to be adapted to the whole networks that were timed: 10 will do."
    group.add_argument("--adapt", type=Path, nargs="+", metavar="TABLE", help=text)


def run(parsed: argparse.Namespace) -> Answer:
    """Measure a space here, or make the table of what was measured elsewhere."""
    if parsed.results is not None:
        return _elsewhere(parsed)
    if parsed.bundle is not None:
        raise ProxylessError("--bundle goes with --from RESULTS, the timings of that bundle")
    if parsed.adapt is not None:
        raise ProxylessError("--adapt goes with --from RESULTS, the timings that tables are adapted to")
    settings = options.chosen(parsed)
    from proxyless.job import pipeline
    from proxyless.job.progress import shown

    with shown(quiet=parsed.quiet) as reporter:
        table = pipeline.measure(
            settings,
            parsed.out,
            **options.image_format(parsed, settings),
            reporter=reporter,
        )
    return of_table(table, parsed.out)


ELSEWHERE = ("command", "run", "remarks", "out", "results", "bundle", "adapt", "quiet", "json")
"""What goes with --from: the space, and how it was timed, are those of the results."""


def _elsewhere(parsed: argparse.Namespace) -> Answer:
    others = [name for name, value in vars(parsed).items() if name not in ELSEWHERE and value is not None]
    if others:
        raise ProxylessError(
            f"{options.flag(others[0])} does not go with --from: space and device are those of the results"
        )
    from proxyless.job import bundles
    from proxyless.job.progress import shown

    with shown(quiet=parsed.quiet) as reporter:
        table = bundles.table(
            parsed.results, parsed.out, bundle=parsed.bundle, known=parsed.adapt or (), reporter=reporter
        )
    return of_table(table, parsed.out)
