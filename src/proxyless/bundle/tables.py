"""Makes timings of a bundle into the latency table that a measurement on that device would have given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from proxyless import spaces
from proxyless.architecture import indices
from proxyless.bundle.results import Results, model_name, read_results
from proxyless.errors import ProxylessError
from proxyless.latency.calibration import calibrated
from proxyless.latency.operators import SpaceOperators, space_operators
from proxyless.latency.predict.new_device import adapt
from proxyless.latency.table import Entry, LatencyTable, MeasuredNetwork
from proxyless.modules.operators import parts
from proxyless.supernet import Shapes, Supernet


def table_from_results(path: Path, bundle: Path | None = None, known: Sequence[Path] = ()) -> LatencyTable:
    """Make the latency table of timings that were made on another device.

    Args:
        path: of the timings; see :func:`proxyless.bundle.results.read_results`.
        bundle: folder of the bundle that was timed, which a CSV file needs.
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


def table_of(results: Results, supernet: Supernet) -> LatencyTable:
    """Make the latency table of a space whose candidates were timed, with the correction by its whole networks.

    Args:
        results: the timings.
        supernet: the space that the results name.

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
                if model_name(manifest.operators[part]) not in results.times:
                    raise ProxylessError(
                        f"{source}: no time of {operation} of choice {name}, which is {manifest.operators[part]}; time"
                        " it, or give tables of other devices by --adapt"
                    )
    known = {
        key: results.times[model_name(file)]
        for key, file in manifest.operators.items()
        if model_name(file) in results.times
    }
    for network in manifest.networks:
        if model_name(network.file) not in results.times:
            raise ProxylessError(f"{source}: no time of the whole network {network.file}")
    table = found.table(known, results.device)
    table = replace(table, networks=_networks(results, supernet), conditions=results.conditions)
    return calibrated(table, found.weight_mib())


def table_adapted(results: Results, supernet: Supernet, known: Mapping[str, LatencyTable]) -> LatencyTable:
    """Make the latency table of a space from a few timed whole networks and tables of other devices.

    Times of candidates are not used; see :func:`proxyless.latency.predict.new_device.adapt` for how it is made.

    Args:
        results: the timings.
        supernet: the space that the results name.
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


def _layout(results: Results, supernet: Supernet) -> SpaceOperators:
    """Find the operators of ``supernet``, and make sure that they are those of the bundle."""
    source, manifest = results.source, results.manifest
    shapes: Shapes = ((manifest.batch, *manifest.input_shape),)
    found = space_operators(supernet, shapes)
    for name, row in found.candidates.items():
        for operation, key in row.items():
            if manifest.candidates.get(name, {}).get(operation, "") != key:
                raise ProxylessError(
                    f"{source}: {operation} of choice {name} is another operator than in the bundle, which proxyless"
                    f" {manifest.proxyless} wrote; write the bundle again and time it again"
                )
    return found


def _networks(results: Results, supernet: Supernet) -> tuple[MeasuredNetwork, ...]:
    """Return the whole networks that were timed."""
    candidates = {name: choice.operations for name, choice in supernet.choices.items()}
    networks = []
    for network in results.manifest.networks:
        try:
            indices(network.choices, candidates)
        except ProxylessError as error:
            raise ProxylessError(f"{results.source}: {network.file}: {error}") from None
        if model_name(network.file) in results.times:
            time = results.times[model_name(network.file)]
            networks.append(MeasuredNetwork(network.choices, time.ms, time.low_ms, time.high_ms, "calibration"))
    return tuple(networks)
