"""Timings of a bundle made on another device, as the latency table that a measurement there would have given."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from proxyless import files
from proxyless.architecture import indices
from proxyless.bundle.runner import BUNDLE, RESULTS
from proxyless.errors import ProxylessError, short
from proxyless.files import reading
from proxyless.files.fields import Fields
from proxyless.latency.calibration import calibrated
from proxyless.latency.operators import Layout, layout
from proxyless.latency.predict.new_device import adapt
from proxyless.latency.table import Entry, LatencyTable, MeasuredNetwork, read_conditions
from proxyless.latency.timing.statistics import Interval
from proxyless.modules.operators import parts
from proxyless.supernet import Shapes, Supernet

MOST_NUMBERS = 2**26
"""In the input of an inference: 256 MiB as float32."""


@dataclass(frozen=True)
class Network:
    """A whole network of a bundle: its file and the candidate taken at each choice."""

    file: str
    choices: Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
    """What is in a bundle.

    Args:
        proxyless: version that wrote it.
        space: name of the search space.
        arguments: what the space was made with.
        input_shape: of one input, without the batch.
        batch: images in one inference.
        precision: of weights and activations.
        candidates: signature of each candidate by choice, as :class:`proxyless.latency.operators.Layout` has it.
        operators: file of each operator by signature.
        networks: the whole networks.
    """

    proxyless: str
    space: str
    arguments: Mapping[str, Any]
    input_shape: tuple[int, ...]
    batch: int
    precision: str
    candidates: Mapping[str, Mapping[str, str | None]]
    operators: Mapping[str, str]
    networks: tuple[Network, ...]

    @property
    def files(self) -> list[str]:
        """Of all models, relative to the bundle."""
        return [*self.operators.values(), *(network.file for network in self.networks)]

    @classmethod
    def parse(cls, value: Any, source: Path) -> Manifest:
        """The manifest in a JSON value that was read from ``source``.

        Raises:
            ProxylessError: it is something else, or of another format.
        """
        fields = Fields(value, "", source=f"{source}: not the manifest of a bundle", whole="the manifest")
        if fields.get("format") != BUNDLE:
            raise ProxylessError(f"{source}: of a bundle of another format; write the bundle again and time it again")
        space, candidates, operators = (fields.child(key) for key in ("space", "candidates", "operators"))
        return cls(
            proxyless=fields.text("proxyless"),
            space=space.text("name"),
            arguments=space.mapping("arguments"),
            input_shape=_shape(fields),
            batch=fields.count("batch"),
            precision=fields.text("precision"),
            candidates={name: _signatures(candidates.child(name)) for name in candidates.names},
            operators={key: operators.child(key).text("file") for key in operators.names},
            networks=tuple(Network(item.text("file"), item.texts("choices")) for item in fields.objects("networks")),
        )


def _shape(fields: Fields) -> tuple[int, ...]:
    sizes = fields.values("input_shape")
    if len(sizes) != 3 or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
        raise fields.problem(f"input_shape must be channels, height and width, got {short(sizes)}")
    if math.prod(sizes) * fields.count("batch") > MOST_NUMBERS:
        raise fields.problem(f"an input of batch {fields.count('batch')} and {short(sizes)} is too large")
    return tuple(sizes)


def _signatures(row: Fields) -> dict[str, str | None]:
    return {operation: None if row.get(operation) is None else row.text(operation) for operation in row.names}


@dataclass(frozen=True)
class Results:
    """Timings of a bundle's files on a device.

    Args:
        source: the file they were read from.
        manifest: of the bundle.
        device: name, runtime and machine, in the words of :func:`proxyless.latency.identity.describe`.
        times: by name of the model's file, without folder and suffix.
        conditions: what the device was like meanwhile; empty where that is not known.
    """

    source: Path
    manifest: Manifest
    device: Mapping[str, Any]
    times: Mapping[str, Interval]
    conditions: Mapping[str, Any]


def read_results(path: Path, bundle: Path | None = None) -> Results:
    """Timings from the ``results.json`` of a bundle's runner, or from a CSV file with the columns file and ms.

    Args:
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
        raise ProxylessError(f"{path}: not the results of a bundle; it is run.py that writes them on the device")
    if value["format"] != RESULTS:
        raise ProxylessError(f"{path}: results of another format; time the bundle again with its own run.py")
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


def table_of(results: Results, supernet: Supernet) -> LatencyTable:
    """The latency table of ``supernet``, the space that the results name, with the correction by the whole networks.

    Raises:
        ProxylessError: a candidate or a network was not timed, or is not what the space holds; the message names it.
    """
    found = _layout(results, supernet)
    source, manifest = results.source, results.manifest
    for name, row in found.candidates.items():
        for operation, key in row.items():
            for part in parts(key):
                if part not in manifest.operators:
                    raise ProxylessError(f"{source}: the manifest has no file of {operation} of choice {name}")
                if _stem(manifest.operators[part]) not in results.times:
                    raise ProxylessError(
                        f"{source}: no time of {operation} of choice {name}, which is {manifest.operators[part]}; time"
                        " it, or give tables of other devices by --adapt"
                    )
    known = {
        key: results.times[_stem(file)] for key, file in manifest.operators.items() if _stem(file) in results.times
    }
    for network in manifest.networks:
        if _stem(network.file) not in results.times:
            raise ProxylessError(f"{source}: no time of the whole network {network.file}")
    table = found.table(known, results.device)
    table = replace(table, networks=_networks(results, supernet), conditions=results.conditions)
    return calibrated(table, found.weight_mib())


def table_adapted(results: Results, supernet: Supernet, known: Mapping[str, LatencyTable]) -> LatencyTable:
    """The latency table of ``supernet`` from its timed whole networks alone and tables of other devices.

    No candidate of it was measured; see :func:`proxyless.latency.predict.new_device.adapt` for what it is made of.

    Args:
        known: tables of the same space by the file they came from.

    Raises:
        ProxylessError: a table is of another space, or fewer than two networks were timed.
    """
    found = _layout(results, supernet)
    for source, table in known.items():
        try:
            table.check(supernet)
        except ProxylessError as error:
            raise ProxylessError(f"{source}: {error}") from None
        found.check(table, source)
    networks = _networks(results, supernet)
    candidates = {name: choice.operations for name, choice in supernet.choices.items()}
    paths = [indices(network.choices, candidates) for network in networks]
    try:
        adapted = adapt(list(known.values()), paths, [network.measured_ms for network in networks])
    except ProxylessError as error:
        raise ProxylessError(f"{results.source}: {error}") from None
    table = LatencyTable.of_cost(adapted.table, results.device)
    reach = iter(2 * np.sqrt(np.maximum(np.diag(adapted.covariance)[1:], 0)))  # about 95 %, in the order of the entries
    entries = {
        name: {
            op: _adapted(entry, found.candidates[name][op], float(within))
            for (op, entry), within in zip(row.items(), reach, strict=False)
        }
        for name, row in table.entries.items()
    }
    return replace(table, entries=entries, networks=networks, conditions=results.conditions)


def _adapted(entry: Entry, operator: str | None, reach_ms: float) -> Entry:
    if operator is None:
        return entry
    low, high = max(0.0, entry.ms - reach_ms), entry.ms + reach_ms
    return replace(entry, low_ms=low, high_ms=high, operator=operator, measured=False)


def _layout(results: Results, supernet: Supernet) -> Layout:
    """The operators of ``supernet``, sure to be those of the bundle."""
    source, manifest = results.source, results.manifest
    shapes: Shapes = ((manifest.batch, *manifest.input_shape),)
    found = layout(supernet, shapes)
    for name, row in found.candidates.items():
        for operation, key in row.items():
            if manifest.candidates.get(name, {}).get(operation, "") != key:
                raise ProxylessError(
                    f"{source}: {operation} of choice {name} is another operator than in the bundle, which proxyless"
                    f" {manifest.proxyless} wrote; write the bundle again and time it again"
                )
    return found


def _networks(results: Results, supernet: Supernet) -> tuple[MeasuredNetwork, ...]:
    """The whole networks that were timed."""
    candidates = {name: choice.operations for name, choice in supernet.choices.items()}
    networks = []
    for network in results.manifest.networks:
        try:
            indices(network.choices, candidates)
        except ProxylessError as error:
            raise ProxylessError(f"{results.source}: {network.file}: {error}") from None
        if _stem(network.file) in results.times:
            time = results.times[_stem(network.file)]
            networks.append(MeasuredNetwork(network.choices, time.ms, time.low_ms, time.high_ms, "calibration"))
    return tuple(networks)


def _read_manifest(bundle: Path) -> Any:
    if not (bundle / "manifest.json").is_file():
        raise ProxylessError(f"--bundle {bundle}: no bundle, it has no manifest.json; `proxyless bundle` writes one")
    return files.read_json(bundle / "manifest.json")


def _of_csv(path: Path, manifest: Manifest) -> Results:
    """Several times of one file count as their median, and their range as its interval."""
    known = {_stem(file) for file in manifest.files}
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
        if _stem(file) not in known:
            raise ProxylessError(f"{path}: line {number}: the bundle has no model called {file}")
        times.setdefault(_stem(file), []).append(ms)
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


def _stem(file: str) -> str:
    """A model's name: that of its file, in whatever format and folder it was timed."""
    return PurePosixPath(file.replace("\\", "/")).stem


def _interval(fields: Fields) -> Interval:
    low, ms, high = (fields.measured(key) for key in ("low_ms", "ms", "high_ms"))
    if not 0 < low <= ms <= high:
        raise fields.problem(f"{ms} ms, {low} to {high}, is no interval")
    return Interval(ms, low, high)
