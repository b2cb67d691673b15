"""Adapting known tables to a new device from few timings."""

from __future__ import annotations

import numpy as np
import pytest

from proxyless.cost import CostTable
from proxyless.errors import ProxylessError
from proxyless.latency.predict.new_device import adapt, gate_vectors

LAYERS, CANDIDATES = 12, ("k3", "k5", "k7", "zero")
BASE = np.random.default_rng(0).uniform(0.5, 2.0, (LAYERS, 3))


def device(seed: int, scale: float = 1.0, unlike: float = 0.2) -> CostTable:
    """A made-up device: a common table, its own entries off by a share of ``unlike``, everything times ``scale``."""
    own = BASE * np.random.default_rng(seed).lognormal(0, unlike, BASE.shape) * scale
    rows = {f"layer {i}": dict(zip(CANDIDATES, [*row, 0.0], strict=True)) for i, row in enumerate(own.tolist())}
    return CostTable("ms", 5.0 * scale, rows)


def networks(count: int, seed: int) -> list[list[int]]:
    return np.random.default_rng(seed).integers(0, len(CANDIDATES), (count, LAYERS)).tolist()


def timed(table: CostTable, paths: list[list[int]], noise: float = 0.0, seed: int = 9) -> list[float]:
    factors = np.random.default_rng(seed).normal(1, noise, len(paths))
    return [table.of_path(path) * factor for path, factor in zip(paths, factors.tolist(), strict=True)]


def mean_error(table: CostTable, truth: CostTable) -> float:
    paths = networks(300, seed=99)
    return float(np.mean([abs(table.of_path(path) / truth.of_path(path) - 1) for path in paths]))


def from_nothing(paths: list[list[int]], ms: list[float], ridge: float = 1.0) -> float:
    """Error on ``TARGET`` of a ridge regression on plain one-hot gates that knows no other device."""

    def gates(of: list[list[int]]) -> np.ndarray:
        return np.eye(len(CANDIDATES))[np.array(of)].reshape(len(of), -1)

    x, y = gates(paths), np.array(ms)
    centre = x.mean(axis=0)
    entries = np.linalg.solve(
        (x - centre).T @ (x - centre) + ridge * np.eye(x.shape[1]), (x - centre).T @ (y - y.mean())
    )
    test = networks(300, seed=99)
    predicted = y.mean() + (gates(test) - centre) @ entries
    return float(np.mean([abs(p / TARGET.of_path(path) - 1) for p, path in zip(predicted, test, strict=True)]))


KNOWN = [device(seed, scale) for seed, scale in ((1, 1.0), (2, 0.3), (3, 7.0), (4, 2.0))]
TARGET = device(50, scale=3.0)


def test_gates_are_one_hot_and_centred_by_choice():
    gates = gate_vectors([[1, 0], [0, 2]], (2, 3))
    np.testing.assert_allclose(gates[0], [-0.5, 0.5, 2 / 3, -1 / 3, -1 / 3])
    np.testing.assert_allclose(gates[1], [0.5, -0.5, -1 / 3, -1 / 3, 2 / 3])


def test_a_device_that_is_a_known_one_made_slower_is_found_from_two_networks():
    twin = device(3, scale=7.0 * 1.7)
    paths = networks(2, seed=5)
    assert mean_error(adapt([KNOWN[2]], paths, timed(twin, paths)).table, twin) < 0.01


def test_ten_networks_and_other_devices_beat_ten_networks_alone():
    paths = networks(10, seed=6)
    ms = timed(TARGET, paths, noise=0.02)
    error = mean_error(adapt(KNOWN, paths, ms).table, TARGET)
    assert error < 0.06
    assert error < from_nothing(paths, ms) / 2


def test_the_known_tables_no_longer_matter_when_there_are_many_timings():
    stranger = device(60, unlike=1.0)
    paths = networks(600, seed=7)
    ms = timed(stranger, paths, noise=0.01)
    misled = adapt(KNOWN, paths, ms)
    helped = adapt([stranger], paths, ms)
    assert mean_error(misled.table, stranger) < 0.004
    assert mean_error(misled.table, stranger) < mean_error(helped.table, stranger) + 0.003


def test_exact_timings_of_an_additive_device_give_its_table_back():
    paths = networks(200, seed=8)
    found = adapt(KNOWN[:1], paths, timed(TARGET, paths)).table
    assert mean_error(found, TARGET) < 0.001
    for name, row in TARGET.entries.items():
        for candidate, ms in row.items():
            # zero has 0 ms in the known table and keeps it, so that here even the fixed part can be told.
            assert found.entries[name][candidate] == pytest.approx(ms, abs=0.1)
        assert found.entries[name]["zero"] == 0
    assert found.fixed == pytest.approx(TARGET.fixed, rel=0.05)
    assert found.unit == "ms"


def test_the_nearest_known_device_gets_the_weight():
    near = device(3, scale=0.4)
    paths = networks(40, seed=10)
    adapted = adapt(KNOWN, paths, timed(near, paths, noise=0.01))
    assert sum(adapted.weights) == pytest.approx(1)
    assert adapted.weights[2] > 0.9


def test_a_table_in_another_unit_says_as_much():
    paths = networks(12, seed=11)
    ms = timed(TARGET, paths, noise=0.01)
    rows = {name: {c: 1e6 * value for c, value in row.items()} for name, row in KNOWN[0].entries.items()}
    macs = CostTable("MACs", 1e6 * KNOWN[0].fixed, rows)
    one, other = adapt([KNOWN[0]], paths, ms).table, adapt([macs], paths, ms).table
    assert mean_error(one, other) < 1e-9


@pytest.mark.parametrize("count", [10, 50])
def test_about_95_percent_of_new_timings_lie_within_two_standard_deviations(count: int):
    inside, total = 0, 0
    for seed in range(4):
        paths, new = networks(count, seed=20 + seed), networks(200, seed=40 + seed)
        adapted = adapt(KNOWN, paths, timed(TARGET, paths, noise=0.03, seed=seed))
        for path, ms in zip(new, timed(TARGET, new, noise=0.03, seed=60 + seed), strict=True):
            inside += abs(adapted.table.of_path(path) - ms) <= 2 * adapted.std_ms(path)
            total += 1
    assert 0.88 < inside / total <= 0.999


def test_a_prediction_is_the_more_certain_the_more_networks_were_timed():
    few, many = networks(10, seed=12), networks(300, seed=13)
    path = networks(1, seed=14)[0]
    unsure = adapt(KNOWN, few, timed(TARGET, few, noise=0.02)).std_ms(path)
    sure = adapt(KNOWN, many, timed(TARGET, many, noise=0.02))
    mean = np.mean(timed(TARGET, many))
    assert sure.std_ms(path) < unsure
    assert 0.01 * mean < sure.noise_ms < 0.04 * mean


def test_whole_milliseconds_are_taken_as_noise():
    small = device(50, scale=0.5)  # 10 ms or so
    paths = networks(150, seed=15)
    adapted = adapt(KNOWN, paths, [float(round(ms)) for ms in timed(small, paths)])
    assert mean_error(adapted.table, small) < 0.03
    assert 0.15 < adapted.noise_ms < 0.6  # 1 / sqrt(12) = 0.29


def test_one_disturbed_timing_hardly_moves_the_table():
    paths = networks(30, seed=16)
    ms = timed(TARGET, paths, noise=0.01)
    disturbed = [*ms[:-1], 3 * ms[-1]]
    clean = mean_error(adapt(KNOWN, paths, ms).table, TARGET)
    assert mean_error(adapt(KNOWN, paths, disturbed).table, TARGET) < clean + 0.03


def test_choices_may_differ_in_their_number_of_candidates():
    rows = {"a": {"x": 1.0, "y": 2.0}, "b": {"only": 0.7}, "c": {"x": 3.0, "y": 1.0, "z": 0.5}}
    known = CostTable("ms", 1.0, rows)
    doubled = CostTable("ms", 2.0, {name: {c: 2 * ms for c, ms in row.items()} for name, row in rows.items()})
    paths = [[0, 0, 0], [1, 0, 1], [1, 0, 2], [0, 0, 2]]
    found = adapt([known], paths, timed(doubled, paths)).table
    assert [list(row) for row in found.rows.values()] == [list(row) for row in rows.values()]
    assert found.of_path([1, 0, 0]) == pytest.approx(doubled.of_path([1, 0, 0]), rel=0.02)


def test_the_same_timings_twice_and_equal_timings_are_no_trouble():
    paths = [[0] * LAYERS] * 3
    adapted = adapt(KNOWN, paths, [10.0, 10.0, 10.0])
    assert adapted.table.of_path(paths[0]) == pytest.approx(10, rel=0.05)
    assert np.isfinite(adapted.std_ms([1] * LAYERS))


PATHS, MS = networks(3, seed=17), [10.0, 11.0, 12.0]
FLAT = CostTable("ms", 1.0, {name: dict.fromkeys(row, 2.0) for name, row in TARGET.entries.items()})
OTHER = CostTable("ms", 1.0, {"elsewhere": {"k3": 1.0, "k5": 2.0}})


@pytest.mark.parametrize(
    ("known", "paths", "ms", "says"),
    [
        ([], PATHS, MS, "no known table"),
        ([KNOWN[0], OTHER], PATHS, MS, "known table 2 is of another space"),
        ([KNOWN[0], FLAT], PATHS, MS, "known table 2 tells no networks apart"),
        (KNOWN, PATHS, MS[:2], "3 networks but 2 latencies"),
        (KNOWN, PATHS[:1], MS[:1], "1 timed networks are too few"),
        (KNOWN, [*PATHS[:2], PATHS[2][:5]], MS, r"paths\[2\] is no network"),
        (KNOWN, [*PATHS[:2], [4] * LAYERS], MS, r"paths\[2\] is no network"),
        (KNOWN, PATHS, [10.0, 0.0, 12.0], r"measured_ms\[1\] is 0.0"),
        (KNOWN, PATHS, [10.0, 11.0, float("nan")], r"measured_ms\[2\] is nan"),
    ],
)
def test_mistakes_are_told_in_one_line(known: list, paths: list, ms: list, says: str):
    with pytest.raises(ProxylessError, match=says) as raised:
        adapt(known, paths, ms)
    assert "\n" not in str(raised.value)
