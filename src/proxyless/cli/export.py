"""Write a trained run's network as ONNX again, and compare its outputs with PyTorch's on real images."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a trained run")


def run(parsed: argparse.Namespace) -> None:
    from proxyless import delivery
    from proxyless.run_folder import RunFolder

    run_folder = RunFolder(parsed.run_folder)
    difference = delivery.export(run_folder)
    print(f"{run_folder.onnx}: outputs equal PyTorch's within {difference:.1e}")
