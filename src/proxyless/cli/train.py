"""Train the network of an architecture from scratch, check it and export it."""

from __future__ import annotations

import argparse
from pathlib import Path

from proxyless.cli import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "proxyless train --architecture FILE --data DATA --out RUN [any setting below]"
    parser.add_argument("--architecture", type=Path, required=True, metavar="FILE", help="RUN/architecture.json")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder for everything the run leaves")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the summary")
    options.add_settings(parser, ["", "images", "measure", "training"], skip=["measure.networks", "measure.cache"])


def run(parsed: argparse.Namespace) -> None:
    settings = options.chosen(parsed)
    from proxyless import pipeline
    from proxyless.architecture import Architecture
    from proxyless.cli.output import summary
    from proxyless.progress import shown

    architecture = Architecture.load(parsed.architecture)
    with shown(quiet=parsed.quiet) as reporter:
        result = pipeline.train(settings, architecture, parsed.out, reporter)
    print(summary(result.values, result.run.path))
