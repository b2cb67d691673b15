"""A search space written as files that are timed on a device without this package."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import proxyless
from proxyless.architecture import architecture_of, derive
from proxyless.bundle import application
from proxyless.bundle.manifest import Manifest
from proxyless.bundle.program import BUNDLE
from proxyless.bundle.readme import README
from proxyless.errors import ProxylessError
from proxyless.export.onnx import to_onnx
from proxyless.export.onnx_session import input_names
from proxyless.files import place
from proxyless.latency.operators import space_operators, spread_paths
from proxyless.latency.runtimes import runtime
from proxyless.modules.operators import example_inputs
from proxyless.spaces import Space
from proxyless.supernet import Shapes, Supernet

OWN = ("README.md", "manifest.json", "networks", "operators", "run.py", "run.pyz")
"""What the folder of a bundle holds; ``run.py`` is what version 0.1.0 wrote in place of ``run.pyz``."""

WRITTEN = ("manifest.json", "run.pyz", "operators/0123456789abcdef01234567.tflite", "networks/network-000.tflite")
"""Names as a bundle has them, to try whether they can be written."""


def write_bundle(
    space: Space,
    out: Path,
    *,
    batch: int = 1,
    networks: int,
    seed: int = 0,
    tflite: bool = False,
    advance: Callable[[float], None] = lambda share: None,
) -> Manifest:
    """Write the distinct candidates of a space and a sample of its networks as ONNX, with the program that times them.

    Args:
        space: the search space.
        out: folder for the bundle; a bundle that is there is replaced, once the new one is whole.
        batch: images in one inference.
        networks: how many whole networks.
        seed: of the weights.
        tflite: write TFLite files beside the ONNX files too, for programs that time these.
        advance: told the share done, 0 to 1.

    Returns:
        What is in the bundle.

    Raises:
        ProxylessError: ``out`` is in the way, a candidate cannot be exported, which the message names, or LiteRT is not
            installed.
    """
    with place.named(f"--out {out}"):
        _check_folder(out)
    if tflite:
        runtime("litert")  # complains now
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        supernet = Supernet(space.network(), seed=seed)
    with place.new_folder(out, WRITTEN) as folder:
        manifest = _write_files(space, supernet, folder, batch, networks, tflite, advance)
    return Manifest.parse(manifest, out / "manifest.json")


def _write_files(
    space: Space,
    supernet: Supernet,
    folder: Path,
    batch: int,
    networks: int,
    tflite: bool,
    advance: Callable[[float], None],
) -> dict[str, Any]:
    shapes: Shapes = ((batch, *space.input_shape),)
    found = space_operators(supernet, shapes)
    names = found.names()
    paths = spread_paths(supernet, networks, seed=0)
    total = len(found.operators) + len(paths)
    manifest: dict[str, Any] = {
        "format": BUNDLE,
        "proxyless": proxyless.__version__,
        "space": {"name": space.name, "arguments": dict(space.architecture({}).arguments)},
        "input_shape": list(space.input_shape),
        "batch": batch,
        "precision": "float32",
        "candidates": found.candidates,
        "operators": {},
        "networks": [],
    }
    (folder / "operators").mkdir()
    (folder / "networks").mkdir()
    for number, (key, operator) in enumerate(found.operators.items(), start=1):
        try:
            file = f"operators/{key}.onnx"
            item = _write_model(folder, file, operator.module, example_inputs(operator.shapes), tflite)
        except ProxylessError as error:
            raise ProxylessError(f"{names[key]}: {error}") from error.__cause__
        manifest["operators"][key] = item
        advance(number / total)
    inputs = example_inputs(shapes)
    for number, path in enumerate(paths):
        file = f"networks/network-{number:03}.onnx"
        item = _write_model(folder, file, derive(supernet, path), inputs, tflite)
        manifest["networks"].append(item | {"choices": dict(architecture_of(supernet, path).choices)})
        advance((len(found.operators) + number + 1) / total)
    application.write(folder / "run.pyz")
    (folder / "README.md").write_text(README, encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def _write_model(folder: Path, file: str, module: nn.Module, inputs: Sequence[Tensor], tflite: bool) -> dict[str, Any]:
    """Write ``module`` as ONNX, and as TFLite beside, and return its entry in the manifest."""
    import onnx

    content = to_onnx(module, inputs, dynamic_batch=False)
    (folder / file).write_bytes(content)
    if tflite:
        from proxyless.export.litert import to_tflite

        (folder / file).with_suffix(".tflite").write_bytes(to_tflite(module, inputs))
    # An input that the module does not read has been lost in the export.
    read = {value.name for value in onnx.load_from_string(content).graph.input}
    named = zip(input_names(len(inputs)), inputs, strict=True)
    return {
        "file": file,
        "sha256": hashlib.sha256(content).hexdigest(),
        "inputs": [
            {"name": name, "dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}
            for name, value in named
            if name in read
        ],
    }


def _check_folder(out: Path) -> None:
    """Make sure before any work that ``out`` is free, or a bundle that holds nothing of the user's."""
    if out.is_dir():
        others = sorted(item.name for item in out.iterdir() if item.name not in OWN)
        if others and (out / "manifest.json").exists():
            raise ProxylessError(
                f"--out {out}: holds {others[0]} beside a bundle; move it away, or choose another name"
            )
        if others or (any(out.iterdir()) and not (out / "manifest.json").exists()):
            raise ProxylessError(f"--out {out}: the folder is not empty and holds no bundle; choose another name")
    elif out.exists():
        raise ProxylessError(f"--out {out}: is a file; choose another name")
