"""Write the report of a run, finished or not, from the files in its folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from proxyless.cli.output import Answer
from proxyless.errors import one_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="Folder of a run, finished or not.")
    parser.add_argument(
        "--against",
        type=Path,
        nargs="+",
        default=[],
        metavar="RUN",
        help="Other runs that the report puts beside this one.",
    )
    parser.add_argument(
        "--data", metavar="DATA", help="Where the images of the run are now; the report names this place."
    )


def run(parsed: argparse.Namespace) -> Answer:
    """Write the report."""
    from proxyless.job.run_folder import RunFolder
    from proxyless.report import write_report

    run = RunFolder(parsed.run_folder)
    source = None
    if parsed.data is not None:
        from proxyless.job.run_data import recorded_data

        source = recorded_data(run, parsed.data).source
    with run.at_work():
        path = write_report(run.path, parsed.against, source=source)
    return Answer(one_line(str(path)), {"report": path})
