"""A space as files to be timed on a device that has nothing of ours, and the latency table made of what comes back."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from torch import Tensor, nn

import proxyless
from proxyless import spaces
from proxyless.architecture import architecture_of, derive
from proxyless.bundle.readme import README
from proxyless.bundle.results import Manifest, read_results, table_adapted, table_of
from proxyless.bundle.runner import BUNDLE
from proxyless.errors import ProxylessError
from proxyless.export.onnx import to_onnx
from proxyless.export.onnx_session import input_names
from proxyless.files import place
from proxyless.job.objects import supernet as supernet_of
from proxyless.job.progress import Reporter, Silent
from proxyless.job.settings import Settings
from proxyless.latency.operators import layout, spread_paths
from proxyless.latency.runtimes import runtime
from proxyless.latency.table import LatencyTable
from proxyless.latency.timing.statistics import Conditions
from proxyless.modules.operators import example_inputs
from proxyless.supernet import Shapes, Supernet

OWN = ("README.md", "manifest.json", "networks", "operators", "run.py")
"""What a bundle's folder holds."""

WRITTEN = ("manifest.json", "run.py", "operators/0123456789abcdef01234567.tflite", "networks/network-000.tflite")
"""Names as a bundle has them, to try whether they can be written."""

RUNNER = (
    "export/onnxruntime_import.py",
    *(f"machine/{name}.py" for name in ("stopping", "system_files", "quota", "system")),
    *(f"latency/timing/{name}.py" for name in ("pinning", "interruptions", "statistics", "interleaved")),
    "latency/timing/repeated_loading.py",
    "bundle/runner.py",
)
"""What runs on the device, in order of import."""


def write_bundle(
    settings: Settings,
    out: Path,
    *,
    classes: int,
    channels: int,
    size: int,
    tflite: bool = False,
    reporter: Reporter | None = None,
) -> Manifest:
    """Write the distinct candidates of a space and a sample of its networks as ONNX, with what times them, to ``out``.

    A bundle that is there is replaced, once the new one is whole.

    Args:
        settings: of the space, the batch size and the number of whole networks; the device is where it will be timed.
        classes: of the networks.
        channels: of the images.
        size: height and width of the images in px.
        tflite: also as TFLite files beside, for programs that time these.

    Raises:
        ProxylessError: ``out`` is in the way, a candidate cannot be exported, which the message names, or LiteRT is not
            installed.
    """
    log = reporter or Silent()
    with place.named(f"--out {out}"):
        _check_folder(out)
    with place.new_folder(out, WRITTEN) as folder:
        manifest = _write_files(settings, folder, classes, channels, size, tflite, log)
    return Manifest.parse(manifest, out / "manifest.json")


def _write_files(
    settings: Settings, folder: Path, classes: int, channels: int, size: int, tflite: bool, log: Reporter
) -> dict[str, Any]:
    if tflite:
        runtime("litert")  # complains now
    chosen = {name: value for name, value in dataclasses.asdict(settings.space).items() if value is not None}
    del chosen["name"]
    space = spaces.make(settings.space.name, chosen | {"classes": classes, "channels": channels, "image_size": size})
    log.stage("bundle")
    if settings.device != "cpu":
        log.note(f"device {settings.device} has no effect: a bundle holds float32 models for the device that times it")
    batch = settings.measure.batch or 1
    shapes: Shapes = ((batch, *space.input_shape),)
    supernet = supernet_of(settings, space)
    found = layout(supernet, shapes)
    names = found.names()
    paths = spread_paths(supernet, settings.measure.networks, seed=0)
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
        log.advance(number, total, {})
    inputs = example_inputs(shapes)
    for number, path in enumerate(paths):
        file = f"networks/network-{number:03}.onnx"
        item = _write_model(folder, file, derive(supernet, path), inputs, tflite)
        manifest["networks"].append(item | {"choices": dict(architecture_of(supernet, path).choices)})
        log.advance(len(found.operators) + number + 1, total, {})
    (folder / "run.py").write_text(runner_source(), encoding="utf-8")
    (folder / "README.md").write_text(README, encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def table_from_results(path: Path, bundle: Path | None = None, known: Sequence[Path] = ()) -> LatencyTable:
    """The latency table that the timings in ``path`` make, see :func:`proxyless.bundle.results.read_results`.

    Args:
        known: files of tables of the same space on other devices. The table is then adapted from these to the timed
            whole networks, and timings of candidates are not needed, nor used.

    Raises:
        ProxylessError: the files are not what they should be, or do not belong together.
    """
    results = read_results(path, bundle)
    manifest = results.manifest
    space = spaces.make(manifest.space, manifest.arguments)
    if space.input_shape != manifest.input_shape:
        raise ProxylessError(
            f"{path}: the space {manifest.space} takes inputs of {space.input_shape}, not {manifest.input_shape}"
        )
    supernet = Supernet(space.network())
    if known:
        return table_adapted(results, supernet, {str(file): LatencyTable.load(file) for file in known})
    return table_of(results, supernet)


def measured_elsewhere(
    path: Path,
    out: Path,
    *,
    bundle: Path | None = None,
    known: Sequence[Path] = (),
    reporter: Reporter | None = None,
) -> LatencyTable:
    """The latency table of timings made on another device, written as JSON to ``out``.

    Raises:
        ProxylessError: as :func:`table_from_results`, or ``out`` cannot be written.
    """
    with place.file(out):
        table = table_from_results(path, bundle, known)
        for warning in Conditions(**table.conditions).warnings() if table.conditions else ():
            (reporter or Silent()).note(warning)
        table.save(out)
    return table


def runner_source() -> str:
    """The one Python file that times a bundle: our own timing, and the command line around it.

    The files named in :data:`RUNNER` one after the other, with the imports of all at the top and those
    of ours left out. They are ordinary modules here, so that they are tested and checked like all others, and
    what runs on the device is what runs here.
    """
    sources = [resources.files("proxyless").joinpath(name).read_text(encoding="utf-8") for name in RUNNER]
    plain: set[str] = set()
    named: dict[str, set[str]] = {}
    bodies = []
    for source in sources:
        imports = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
        for node in imports:
            if isinstance(node, ast.Import):
                plain |= {ast.unparse(node)}
            elif node.module != "__future__" and not str(node.module).startswith("proxyless."):
                named.setdefault(str(node.module), set()).update(alias.name for alias in node.names)
        about = "The command line." if source is sources[-1] else str(ast.get_docstring(ast.parse(source)))
        remark = "\n".join(f"# {line}".rstrip() for line in about.splitlines())
        body = "\n".join(source.splitlines()[imports[-1].end_lineno :]).strip()
        bodies.append(f"{remark}\n\n{body}")
    numpy = "import numpy as np"
    head = [
        f'"""{ast.get_docstring(ast.parse(sources[-1]))}\n"""',
        "from __future__ import annotations",
        "\n".join(
            sorted(plain - {numpy}) + [f"from {m} import {', '.join(sorted(n))}" for m, n in sorted(named.items())]
        ),
        f"try:\n    {numpy}\nexcept ImportError as error:\n"
        '    print(f"run.py: numpy cannot be imported ({error}): pip install numpy onnxruntime", file=sys.stderr)\n'
        "    sys.exit(2)",
    ]
    return "\n\n\n".join(["\n\n".join(head), *bodies]) + "\n"


def _write_model(folder: Path, file: str, module: nn.Module, inputs: Sequence[Tensor], tflite: bool) -> dict[str, Any]:
    """Write ``module`` as ONNX, and as TFLite beside, and say of it what the runner needs."""
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
    """Make sure before any work that ``out`` can be made, or is a bundle without anything of the user's in it."""
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
