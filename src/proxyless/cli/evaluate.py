"""Accuracy of a run's network on the test split of data, with PyTorch and with ONNX Runtime alone."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("--data", metavar="DATA", help="folder or data set with the same classes (default: the run's)")


def run(parsed: argparse.Namespace) -> None:
    from proxyless import delivery
    from proxyless.run_folder import RunFolder

    values = delivery.evaluate(RunFolder(parsed.run_folder), parsed.data)
    print(f"data            {values['data']}, {values['test_images']} test images")
    print(f"PyTorch         {values['test_accuracy']:.2%}")
    print(f"ONNX Runtime    {values['test_accuracy_onnx']:.2%}")
    if values["test_accuracy_int8"] is not None:
        print(f"int8            {values['test_accuracy_int8']:.2%}")
