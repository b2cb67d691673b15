"""Timings of a bundle that were made on another device, as its program or another one wrote them."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from proxyless import files
from proxyless.bundle.manifest import Manifest
from proxyless.bundle.program import RESULTS
from proxyless.errors import ProxylessError, short
from proxyless.files import reading
from proxyless.files.fields import Fields
from proxyless.latency.table import read_conditions
from proxyless.latency.timing.statistics import Interval


@dataclass(frozen=True)
class Results:
    """The times of a bundle's models on a device.

    Args:
        source: the file they were read from.
        manifest: of the bundle.
        device: name, runtime and machine, as :func:`proxyless.latency.identity.describe` gives them.
        times: by name of the model's file, without folder and suffix.
        conditions: what the device was like meanwhile; empty where that is not known.
    """

    source: Path
    manifest: Manifest
    device: Mapping[str, Any]
    times: Mapping[str, Interval]
    conditions: Mapping[str, Any]


def read_results(path: Path, bundle: Path | None = None) -> Results:
    """Read timings from the ``results.json`` of a bundle's program, or from a CSV file with the columns file and ms.

    Args:
        path: of that file.
        bundle: the bundle's folder. A CSV file needs it; a ``results.json`` is then checked to be of this bundle.

    Raises:
        ProxylessError: a file is missing, is something else, or the two do not belong together.
    """
    if path.suffix.lower() == ".csv":
        if bundle is None:
            raise ProxylessError(
                f"{path}: a CSV file does not say what was timed: give the bundle's folder by --bundle"
            )
        return _of_csv(path, Manifest.parse(_read_manifest(bundle), bundle / "manifest.json"))
    value = files.read_json(path)
    if not isinstance(value, dict) or "format" not in value or "times" not in value:
        raise ProxylessError(f"{path}: not the results of a bundle; it is run.pyz that writes them on the device")
    if value["format"] != RESULTS:
        raise ProxylessError(f"{path}: results of another format; time the bundle again with its own program")
    if bundle is not None:
        _read_manifest(bundle)
        digest = hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
        if digest != value.get("bundle"):
            raise ProxylessError(f"{path}: results of another bundle than {bundle}")
    manifest = Manifest.parse(value.get("manifest"), path)
    fields = Fields(value, "", source=f"{path}: not the results of a bundle", whole="the results")
    device, conditions, times = (fields.child(key) for key in ("device", "conditions", "times"))
    found: dict[str, Any] = {name: device.text(name) for name in ("name", "runtime", "machine", "runtime_version")}
    found |= {"threads": device.count("threads"), "providers": device.values("providers")}
    found |= {"batch": manifest.batch, "precision": manifest.precision}
    intervals = {name: _interval(times.child(name)) for name in times.names}
    return Results(path, manifest, found, intervals, read_conditions(conditions))


def _read_manifest(bundle: Path) -> Any:
    if not (bundle / "manifest.json").is_file():
        raise ProxylessError(f"--bundle {bundle}: no bundle, it has no manifest.json; `proxyless bundle` writes one")
    return files.read_json(bundle / "manifest.json")


def _of_csv(path: Path, manifest: Manifest) -> Results:
    """Read a CSV file; several times of one model count as their median, and their range as its interval."""
    known = {model_name(file) for file in manifest.files}
    times: dict[str, list[float]] = {}
    try:
        rows = list(csv.reader(reading.text(path, "CSV").splitlines()))
    except csv.Error as error:
        raise ProxylessError(f"{path}: not readable as CSV ({error})") from None
    for number, row in enumerate(rows, start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (number == 1 and cells[1:2] == ["ms"]):
            continue
        try:
            file, text = cells
            ms = float(text)
        except ValueError:
            raise ProxylessError(
                f"{path}: line {number} must be a file's name and its ms, got {short(','.join(row))}"
            ) from None
        if not (math.isfinite(ms) and ms > 0):
            raise ProxylessError(f"{path}: line {number}: {text} is no latency; it must be a number of ms above 0")
        if model_name(file) not in known:
            raise ProxylessError(f"{path}: line {number}: the bundle has no model called {file}")
        times.setdefault(model_name(file), []).append(ms)
    medians = {name: Interval(float(np.median(all_ms)), min(all_ms), max(all_ms)) for name, all_ms in times.items()}
    device = {
        "name": path.stem,
        "runtime": "timings",
        "threads": None,
        "batch": manifest.batch,
        "precision": manifest.precision,
        "machine": "unknown machine",
        "runtime_version": f"from {path.name}",
    }
    return Results(path, manifest, device, medians, {})


def model_name(file: str) -> str:
    """Return a model's name: that of its file, in whatever format and folder it was timed."""
    return PurePosixPath(file.replace("\\", "/")).stem


def _interval(fields: Fields) -> Interval:
    low, ms, high = (fields.measured(key) for key in ("low_ms", "ms", "high_ms"))
    if not 0 < low <= ms <= high:
        raise fields.problem(f"{ms} ms, {low} to {high}, is no interval")
    return Interval(ms, low, high)
