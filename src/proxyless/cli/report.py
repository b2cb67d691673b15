"""Write the report of a run, finished or not, from the files in its folder."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="Folder of a run, finished or not.")
    parser.add_argument(
        "--against",
        type=Path,
        nargs="+",
        default=[],
        metavar="RUN",
        help="Other runs that the report puts beside this one.",
    )


def run(parsed: argparse.Namespace) -> None:
    from proxyless.report import write_report

    print(write_report(parsed.run_folder, parsed.against))
