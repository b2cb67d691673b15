"""Corrects latencies of candidates that were measured alone by whole networks, linearly in the gates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import lsq_linear

from proxyless.architecture import Architecture
from proxyless.cost import Rows
from proxyless.latency.table import Entry, LatencyTable
from proxyless.modules.operators import parts

NETWORK_DEVIATION = 0.01
"""Standard deviation of the measured latency of a network, as a share of it."""

FACTOR, PER_BLOCK, PER_WEIGHT = 0.2, 0.3, 0.1
"""Expected standard deviations of the parts of the correction, as shares of the usual latency of a network."""


def calibrated(table: LatencyTable, weight_mib: Rows) -> LatencyTable:
    """Fit the correction of a table to its whole networks.

    in_network_ms = factor * ms + ms_per_block + ms_per_mib * (MiB of weights), at least 0, and 0 for Zero beside a
    shortcut. The factor is what fusion and clock speed do to all blocks. The ms for each block are what a block that is
    measured alone pays for being called. The ms for each MiB are what a network pays for weights that a block keeps in
    the caches when it is measured over and over again.

    It is a least squares fit of relative errors, so that small networks count as much as large ones. As there are few
    networks, each part is drawn towards no correction: factor 1 and 0 ms.

    Args:
        table: with whole networks of the role ``calibration``.
        weight_mib: MiB of weights of each candidate by choice.

    Returns:
        The table with its correction; as it was if it has no such networks.
    """
    networks = [network for network in table.networks if network.role == "calibration"]
    if not networks:
        return table
    chosen = [[(name, op) for name, op in network.choices.items()] for network in networks]
    sums = np.array([sum(table.entries[name][op].ms for name, op in pairs) for pairs in chosen])
    blocks = np.array([sum(_calls(table.entries[name][op]) for name, op in pairs) for pairs in chosen], dtype=float)
    weights = np.array([sum(weight_mib[name][op] for name, op in pairs) for pairs in chosen])
    measured = np.array([network.measured_ms for network in networks])
    # Where most of the networks take nothing but their fixed part, what they take on the whole.
    usual = float(np.median(sums)) or float(np.median(measured))

    def expected(share: float, amount: np.ndarray) -> float:
        return share * usual / max(float(np.median(amount)), 1e-9)

    priors = np.array([np.inf, FACTOR, expected(PER_BLOCK, blocks), expected(PER_WEIGHT, weights)])
    # Unknowns: fixed part, factor - 1, ms a block, ms a MiB.
    design = np.stack([np.ones_like(measured), sums, blocks, weights], axis=1)
    left = np.concatenate([design / measured[:, None] / NETWORK_DEVIATION, np.diag(1 / priors)])
    right = np.concatenate([(measured - sums) / measured / NETWORK_DEVIATION, np.zeros(len(priors))])
    # A network's fixed part takes time, and so does a factor's worth of its blocks.
    fitted = lsq_linear(left, right, bounds=([0.0, -0.9, -np.inf, -np.inf], np.inf))
    fixed, change, per_block, per_mib = (float(value) for value in fitted.x)
    entries = {
        name: {
            op: replace(
                entry,
                in_network_ms=max(
                    0.0, (1 + change) * entry.ms + per_block * _calls(entry) + per_mib * weight_mib[name][op]
                )
                if entry.ms
                else 0.0,
            )
            for op, entry in row.items()
        }
        for name, row in table.entries.items()
    }
    correction = {"factor": 1 + change, "ms_per_block": per_block, "ms_per_mib": per_mib}
    return replace(table, fixed_ms=fixed, entries=entries, correction=correction)


def _calls(entry: Entry) -> int:
    """Count the blocks that a candidate is in a network: one for each run, none if it takes no time."""
    return max(1, len(parts(entry.operator))) if entry.ms > 0 else 0


def predictions(table: LatencyTable) -> list[tuple[float, float]]:
    """Return (predicted, measured) ms of each whole network of the table."""
    return [(table.of(Architecture(network.choices)), network.measured_ms) for network in table.networks]
