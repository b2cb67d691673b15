"""Accuracy of a run's network on the test split of data, with PyTorch and of each file that is handed over."""

from __future__ import annotations

import argparse
from pathlib import Path

from proxyless.cli.output import Answer, by_class, metric_name, rows, written


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="Folder of a finished run.")
    parser.add_argument(
        "--data",
        metavar="DATA",
        help="Folder or data set of the same classes to evaluate on, without the images that the network was made with;"
        " or where the images of the run are now. Default: the data of the run.",
    )


def run(parsed: argparse.Namespace) -> Answer:
    """Evaluate the network and each of its files."""
    from proxyless.job import finished
    from proxyless.job.run_folder import RunFolder

    values = finished.evaluate(RunFolder(parsed.run_folder), parsed.data)
    name = metric_name(values)
    lines = [
        ("data", f"{values['data']}, {values['test_images']} test images"),
        *([("", values["note"])] if values["note"] else []),
        *([("", f"by {name}")] if name != "accuracy" else []),
        ("PyTorch", written(values, values[f"test_{name}"])),
        *(("", text) for text in by_class(values)),
    ]
    for file, value in values[f"test_{name}_files"].items():
        lines.append((file, "what runs it is not installed" if value is None else written(values, value)))
    lines += [("caution", caution) for caution in values["cautions"]]
    return Answer(rows(lines, 17), {"run": parsed.run_folder, **values})
