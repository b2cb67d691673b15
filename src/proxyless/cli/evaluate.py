"""Accuracy of a run's network on the test split of data, with PyTorch and of each file that is handed over."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="Folder of a finished run.")
    parser.add_argument(
        "--data",
        metavar="DATA",
        help="Folder or data set of the same classes to evaluate on. Default: the data of the run.",
    )


def run(parsed: argparse.Namespace) -> None:
    from proxyless import delivery
    from proxyless.cli.output import by_class
    from proxyless.run_folder import RunFolder

    values = delivery.evaluate(RunFolder(parsed.run_folder), parsed.data)
    print(f"data              {values['data']}, {values['test_images']} test images")
    print(f"PyTorch           {values['test_accuracy']:.2%}")
    for text in by_class(values):
        print(f"{'':<17} {text}")
    for name, accuracy in values["test_accuracy_files"].items():
        print(f"{name:<17} {'what runs it is not installed' if accuracy is None else f'{accuracy:.2%}'}")
