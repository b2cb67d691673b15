from dataclasses import replace

import numpy as np
import pytest

from proxyless.latency.calibration import calibrated, predictions
from proxyless.latency.table import Entry, LatencyTable, MeasuredNetwork

OPERATIONS = ("a", "b", "skip")


def made_up(fixed, factor, per_block, per_mib, noise, seed=0, scale=1.0):
    """A table of eight choices with weights in MiB, and networks that follow the given correction but for the noise."""
    rng = np.random.default_rng(seed)
    rows = {f"c{i}": dict(zip(OPERATIONS, [*rng.uniform(0.05, 0.4, 2) * scale, 0.0], strict=True)) for i in range(8)}
    mib = {name: dict(zip(OPERATIONS, [*rng.uniform(0.1, 2, 2), 0.0], strict=True)) for name in rows}
    entries = {name: {op: Entry(ms, ms, ms, ms) for op, ms in row.items()} for name, row in rows.items()}
    networks = []
    for _ in range(32):
        choices = {name: OPERATIONS[rng.integers(3)] for name in rows}
        kept = [(name, op) for name, op in choices.items() if op != "skip"]
        ms = fixed + sum(factor * rows[n][op] + per_block + per_mib * mib[n][op] for n, op in kept)
        ms *= 1 + noise * rng.normal()
        networks.append(MeasuredNetwork(choices, ms, ms, ms, "calibration"))
    return LatencyTable({}, 0.0, entries, tuple(networks)), mib


def errors(table):
    return np.array([abs(predicted / measured - 1) for predicted, measured in predictions(table)])


def test_the_correction_recovers_what_the_networks_were_made_with():
    table = calibrated(*made_up(fixed=0.3, factor=0.9, per_block=-0.006, per_mib=0.02, noise=0.0))
    assert table.fixed_ms == pytest.approx(0.3, abs=0.01)
    assert table.correction["factor"] == pytest.approx(0.9, abs=0.03)
    assert table.correction["ms_per_block"] == pytest.approx(-0.006, abs=0.005)
    assert table.correction["ms_per_mib"] == pytest.approx(0.02, abs=0.005)
    assert errors(table).max() < 0.005


def test_the_correction_is_no_worse_than_the_noise_it_was_fitted_on():
    assert errors(calibrated(*made_up(0.3, 1.1, -0.01, 0.0, noise=0.01))).mean() < 0.01


def test_a_slower_device_gets_the_same_correction_in_its_own_measure():
    quick = calibrated(*made_up(0.3, 0.9, -0.006, 0.02, noise=0.01))
    slow = calibrated(*made_up(30, 0.9, -0.6, 2, noise=0.01, scale=100))
    assert slow.fixed_ms == pytest.approx(100 * quick.fixed_ms, rel=1e-3)
    assert slow.correction["ms_per_mib"] == pytest.approx(100 * quick.correction["ms_per_mib"], rel=1e-3)


def test_rows_are_the_corrected_candidates_and_zero_stays_free():
    table, mib = made_up(0.3, 0.9, -0.006, 0.02, noise=0.01)
    found = calibrated(table, mib)
    parts = found.correction
    for name, row in found.rows.items():
        assert row["skip"] == 0.0
        for op in ("a", "b"):
            ms = table.entries[name][op].ms
            expected = parts["factor"] * ms + parts["ms_per_block"] + parts["ms_per_mib"] * mib[name][op]
            assert row[op] == pytest.approx(expected)
            assert found.entries[name][op].ms == ms


def test_networks_that_check_a_table_do_not_change_it():
    table, mib = made_up(0.3, 0.9, -0.006, 0.02, noise=0.01)
    check = replace(table.networks[0], measured_ms=100.0, role="check")
    assert calibrated(replace(table, networks=(*table.networks, check)), mib).rows == calibrated(table, mib).rows


def test_without_networks_there_is_no_correction():
    table, mib = made_up(0.3, 0.9, -0.006, 0.02, noise=0.01)
    assert calibrated(replace(table, networks=()), mib) == replace(table, networks=())
