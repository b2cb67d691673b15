"""Write the report of a run, finished or not, from the files in its folder."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--against", type=Path, nargs="+", default=[], metavar="RUN", help="other runs to put beside it in the report"
    )


def run(parsed: argparse.Namespace) -> None:
    from proxyless.report import write_report

    print(write_report(parsed.run_folder, parsed.against))
