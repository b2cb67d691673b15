"""Write a trained run's network as ONNX again, or for other programs, compared with PyTorch on real images."""

from __future__ import annotations

import argparse
from pathlib import Path

from proxyless.cli.output import Answer
from proxyless.errors import one_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="Folder of a trained run.")
    parser.add_argument(
        "--int8", action="store_true", help="Write model.int8.onnx too, with int8 weights and activations."
    )
    parser.add_argument(
        "--tflite", action="store_true", help="Write model.tflite too, and with --int8 model.int8.tflite."
    )
    parser.add_argument(
        "--pixels",
        action="store_true",
        help="Write model.pixels.onnx too, which takes uint8 pixels (batch, height, width, channels) and normalises"
        " them itself.",
    )
    parser.add_argument("--data", metavar="DATA", help="Where the images of the run are now. Default: where they were.")


def run(parsed: argparse.Namespace) -> Answer:
    """Write the files and compare them with PyTorch."""
    from proxyless.export.subnormals import subnormals_note
    from proxyless.job import finished
    from proxyless.job.run_folder import RunFolder

    folder = RunFolder(parsed.run_folder)
    wanted = [
        (folder.onnx_int8, parsed.int8),
        (folder.tflite, parsed.tflite),
        (folder.tflite_int8, parsed.tflite and parsed.int8),
    ]
    others = [path for path, asked in wanted if asked]
    with folder.at_work():
        exported, cautions = finished.export(folder, others, pixels=parsed.pixels, source=parsed.data)
    written = [folder.onnx_pixels] * parsed.pixels + others
    lines = [f"{folder.onnx}: outputs equal PyTorch's within {exported.difference:.1e}"]
    if exported.subnormals:
        lines.append(subnormals_note(exported.subnormals))
    lines += [str(path) for path in written]
    lines += [f"caution: {caution}" for caution in cautions]
    value = {
        "run": folder.path,
        "files": [folder.onnx, *written],
        "onnx_max_difference": exported.difference,
        "subnormal_weights": exported.subnormals,
        "warnings": cautions,
    }
    return Answer("\n".join(map(one_line, lines)), value)
