"""Write a space as ONNX files and the program that times them on a device without this package."""

from __future__ import annotations

import argparse
from pathlib import Path

from proxyless.cli import options
from proxyless.cli.output import Answer, rows
from proxyless.cli.parsing import CommandParser

ON_THE_DEVICE = ["threads", "rounds", "loadings", "burst_ms", "width", "limit_s", "share", "cache"]
"""Settings of measuring that are chosen where the bundle is timed."""


def add_arguments(parser: CommandParser) -> None:
    """Add what the command takes to its parser."""
    parser.usage = "proxyless bundle --space NAME --image-size PX --out FOLDER [any setting below]"
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="Folder for the bundle, to be copied to the device."
    )
    options.add_format(parser)
    text = "Write TFLite files too, for benchmark_model on a phone. Needs pip install 'proxyless[litert]'."
    parser.add_argument("--tflite", action="store_true", help=text)
    parser.add_argument("--quiet", action="store_true", help="Show no progress, only the summary.")
    skip = ["data", "device", "latency", *(f"measure.{name}" for name in ON_THE_DEVICE)]
    options.add_settings(parser, ["", "space", "measure"], skip=skip)


def run(parsed: argparse.Namespace) -> Answer:
    """Write the bundle and say what it holds."""
    settings = options.chosen(parsed)
    from proxyless.job import bundles
    from proxyless.job.progress import shown

    with shown(quiet=parsed.quiet) as reporter:
        manifest = bundles.bundle(
            settings,
            parsed.out,
            **options.image_format(parsed, settings),
            tflite=parsed.tflite,
            reporter=reporter,
        )
    lines = [
        ("operators", f"{len(manifest.operators)} distinct at {len(manifest.candidates)} choices"),
        ("networks", str(len(manifest.networks))),
        ("bundle", f"{parsed.out}: on the device, python run.pyz --out results.json"),
    ]
    value = {
        "bundle": parsed.out,
        "operators": len(manifest.operators),
        "choices": len(manifest.candidates),
        "networks": len(manifest.networks),
    }
    return Answer(rows(lines), value)
