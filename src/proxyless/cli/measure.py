"""Measure the latency of every candidate of a search space on a device, and correct the table by whole networks."""

from __future__ import annotations

import argparse
from pathlib import Path

from proxyless.cli import options
from proxyless.errors import ProxylessError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "proxyless measure --space NAME --device DEVICE --out FILE [any setting below]\n"
        "       proxyless measure --from RESULTS [--bundle FOLDER] [--adapt TABLE ...] --out FILE"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the table, as JSON")
    parser.add_argument("--space", dest="space.name", metavar="NAME", help="search space (default: mobilenet)")
    parser.add_argument("--image-size", type=int, metavar="PX", help="default: the config's, or 224")
    parser.add_argument("--channels", type=int, metavar="N", help="of the images, 1 or 3 (default: 3)")
    parser.add_argument("--classes", type=int, metavar="N", help="default: 1000")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the summary")
    options.add_settings(parser, ["", "space", "measure"], skip=["data", "latency", "space.name"])
    group = parser.add_argument_group(
        "measured elsewhere", "timings of what `proxyless bundle` wrote, on another device"
    )
    text = "results.json of its run.py, or a CSV file with the columns file and ms; replaces every setting above"
    group.add_argument("--from", dest="results", type=Path, metavar="RESULTS", help=text)
    text = "the bundle that was timed; needed for a CSV file"
    group.add_argument("--bundle", type=Path, metavar="FOLDER", help=text)
    text = "tables of the same space on other devices, to be adapted to the whole networks that were timed: 10 will do"
    group.add_argument("--adapt", type=Path, nargs="+", metavar="TABLE", help=text)


def run(parsed: argparse.Namespace) -> None:
    if parsed.results is not None:
        _elsewhere(parsed)
        return
    if parsed.bundle is not None:
        raise ProxylessError("--bundle goes with --from RESULTS, the timings of that bundle")
    if parsed.adapt is not None:
        raise ProxylessError("--adapt goes with --from RESULTS, the timings that tables are adapted to")
    settings = options.chosen(parsed)
    from proxyless import pipeline
    from proxyless.cli.output import table_summary
    from proxyless.progress import shown

    with shown(quiet=parsed.quiet) as reporter:
        table = pipeline.measure(
            settings,
            parsed.out,
            classes=1000 if parsed.classes is None else parsed.classes,
            channels=3 if parsed.channels is None else parsed.channels,
            size=options.image_size(parsed, settings),
            reporter=reporter,
        )
    print(table_summary(table, parsed.out))


ELSEWHERE = ("command", "run", "version", "out", "results", "bundle", "adapt", "quiet")
"""What goes with --from: the space, and how it was timed, are those of the results."""


def _elsewhere(parsed: argparse.Namespace) -> None:
    others = [name for name, value in vars(parsed).items() if name not in ELSEWHERE and value is not None]
    if others:
        flag = "--" + others[0].removesuffix(".name").replace(".", "-").replace("_", "-")
        raise ProxylessError(f"{flag} does not go with --from: space and device are those of the results")
    from proxyless.bundling import measured_elsewhere
    from proxyless.cli.output import table_summary
    from proxyless.progress import shown

    with shown(quiet=parsed.quiet) as reporter:
        table = measured_elsewhere(
            parsed.results, parsed.out, bundle=parsed.bundle, known=parsed.adapt or (), reporter=reporter
        )
    print(table_summary(table, parsed.out))
