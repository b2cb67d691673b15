"""Measure the latency of every candidate of a search space on a device, and correct the table by whole networks."""

from __future__ import annotations

import argparse
from pathlib import Path

from proxyless.cli import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "proxyless measure --space NAME --device DEVICE --out FILE [any setting below]"
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the table, as JSON")
    parser.add_argument("--space", dest="space.name", metavar="NAME", help="search space (default: mobilenet)")
    parser.add_argument("--image-size", type=int, default=224, metavar="PX", help="default: 224")
    parser.add_argument("--channels", type=int, default=3, metavar="N", help="of the images, 1 or 3 (default: 3)")
    parser.add_argument("--classes", type=int, default=1000, metavar="N", help="default: 1000")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the summary")
    options.add_settings(parser, ["", "space", "measure"], skip=["data", "latency", "space.name"])


def run(parsed: argparse.Namespace) -> None:
    settings = options.chosen(parsed)
    from proxyless import pipeline
    from proxyless.cli.output import table_summary
    from proxyless.progress import shown

    with shown(quiet=parsed.quiet) as reporter:
        table = pipeline.measure(
            settings,
            parsed.out,
            classes=parsed.classes,
            channels=parsed.channels,
            size=parsed.image_size,
            reporter=reporter,
        )
    print(table_summary(table, parsed.out))
