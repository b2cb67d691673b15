import time
from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from torch import nn

from proxyless import Choice, ProxylessError, Supernet, Zero
from proxyless.latency.device import Device, device
from proxyless.latency.identity import key
from proxyless.latency.measure import (
    Effort,
    calibrated,
    measure_networks,
    measure_table,
    predictions,
    recalibrated,
    spread_paths,
    time_interleaved,
)
from proxyless.latency.table import Interval, LatencyTable, MeasuredNetwork

QUICK = Effort(rounds=3, burst_ms=0.5, networks=4)


class Sleeper:
    """Keeps the processor busy for ``ms``."""

    def __init__(self, ms: float) -> None:
        self.ms = ms

    def run(self) -> None:
        end = time.perf_counter() + self.ms / 1e3
        while time.perf_counter() < end:
            pass


def test_slower_modules_take_longer_and_intervals_hold_their_value():
    fast, slow = time_interleaved([Sleeper(0.2), Sleeper(0.6)], Effort(rounds=5, burst_ms=2, networks=0))
    assert fast.ms >= 0.2
    assert slow.ms >= 0.6
    assert all(t.low_ms <= t.ms <= t.high_ms for t in (fast, slow))


def test_progress_ends_at_one():
    seen = []
    time_interleaved([Sleeper(0.01)], QUICK, advance=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_a_whole_space_is_measured_with_names_and_zero_free(tiny_net):
    supernet = Supernet(tiny_net)
    table = measure_table(supernet, (2, 6, 6), device("cpu"), effort=QUICK)
    table.check(supernet)
    assert table.entries["first"]["skip"] == Interval(0, 0, 0)
    assert all(t.ms > 0 for row in table.entries.values() for name, t in row.items() if name != "skip")
    assert len(table.networks) == 4
    assert table.device["runtime"] == "onnxruntime"
    assert table.device["threads"] == 1


def test_equal_candidates_are_measured_once():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.Sequential(
                *(Choice(a=nn.Conv2d(2, 2, 1), b=nn.Conv2d(2, 2, 3, padding=1)) for _ in range(3))
            )

        def forward(self, x):
            return self.blocks(x)

    table = measure_table(Supernet(Net()), (2, 6, 6), device("cpu"), effort=QUICK)
    rows = list(table.entries.values())
    assert rows[0] == rows[1] == rows[2]


class Counting:
    """A runtime that notes what it prepares."""

    def __init__(self) -> None:
        self.prepared: list[nn.Module] = []

    def version(self) -> str:
        return "1"

    def prepare(self, module, inputs, device):
        self.prepared.append(module)
        return Sleeper(0.01)


def test_what_is_known_is_not_measured_again_and_networks_always_are(tiny_net, tmp_path, monkeypatch):
    from proxyless.latency import identity, measure

    counting = Counting()
    monkeypatch.setattr(measure, "runtime", lambda name: counting)
    monkeypatch.setattr(identity, "runtime", lambda name: counting)
    supernet = Supernet(tiny_net)

    def prepared(chosen: Device, effort: Effort = QUICK) -> int:
        counting.prepared.clear()
        measure_table(supernet, (2, 6, 6), chosen, effort=effort, cache=tmp_path)
        return len(counting.prepared)

    candidates, networks = 4, QUICK.networks
    assert prepared(device("cpu")) == candidates + networks
    assert prepared(device("cpu")) == networks
    assert prepared(device("cpu", threads=2)) == candidates + networks
    assert prepared(device("cpu"), Effort(rounds=4, burst_ms=0.5, networks=4)) == candidates + networks
    for stored in tmp_path.glob("*.json"):
        stored.write_text("{")  # a broken file is as good as none
    assert prepared(device("cpu")) == candidates + networks


def test_measuring_leaves_the_supernet_as_it_was(tiny_net):
    supernet = Supernet(tiny_net).train()
    supernet.path = [1, 0]
    state = {name: value.clone() for name, value in supernet.state_dict().items()}
    threads = torch.get_num_threads()
    measure_table(supernet, (2, 6, 6), device("cpu"), effort=QUICK)
    assert supernet.path == [1, 0]
    assert all(module.training for module in supernet.modules())
    assert all(torch.equal(value, state[name]) for name, value in supernet.state_dict().items())
    assert torch.get_num_threads() == threads


def test_a_candidate_that_cannot_be_exported_is_named():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    with pytest.raises(ProxylessError, match="Odd cannot be exported to ONNX"):
        measure_table(Supernet(Choice(fine=nn.Identity(), odd=Odd())), (2, 6, 6), device("cpu"), effort=QUICK)


def test_spread_paths_go_from_the_smallest_to_the_largest(tiny_net):
    supernet = Supernet(tiny_net)
    paths = spread_paths(supernet, 8, seed=0)
    assert paths[0] == [2, 1]  # no parameters; without the bias
    assert paths[-1] == [1, 0]
    assert paths == spread_paths(supernet, 8, seed=0)
    assert len({tuple(path) for path in paths}) > 3


def made_up(fixed, factor, per_block, noise, seed=0):
    """A table of eight choices, and networks that follow the given correction but for the noise."""
    rng = np.random.default_rng(seed)
    rows = {f"c{i}": {"a": rng.uniform(0.05, 0.2), "b": rng.uniform(0.2, 0.4), "skip": 0.0} for i in range(8)}
    entries = {name: {op: Interval(ms, ms, ms) for op, ms in row.items()} for name, row in rows.items()}
    networks = []
    for _ in range(24):
        choices = {name: ("a", "b", "skip")[rng.integers(3)] for name in rows}
        chosen = [rows[name][op] for name, op in choices.items()]
        ms = fixed + factor * sum(chosen) + per_block * sum(v > 0 for v in chosen)
        ms *= 1 + noise * rng.normal()
        networks.append(MeasuredNetwork(choices, ms, ms, ms, "calibration"))
    return LatencyTable({}, 0.0, 1.0, 0.0, entries, tuple(networks))


def test_the_correction_recovers_fixed_part_factor_and_ms_a_block():
    table = calibrated(made_up(fixed=0.3, factor=0.9, per_block=-0.006, noise=0.0))
    assert table.fixed_ms == pytest.approx(0.3, abs=0.01)
    assert table.factor == pytest.approx(0.9, abs=0.02)
    assert table.per_block_ms == pytest.approx(-0.006, abs=0.004)
    errors = [abs(predicted / measured - 1) for predicted, measured in predictions(table)]
    assert max(errors) < 0.005


def test_the_correction_is_no_worse_than_the_noise_it_was_fitted_on():
    table = calibrated(made_up(fixed=0.3, factor=1.1, per_block=-0.01, noise=0.01))
    errors = [abs(predicted / measured - 1) for predicted, measured in predictions(table)]
    assert np.mean(errors) < 0.01


def test_a_table_of_a_slower_hour_is_put_right_by_measuring_its_networks_again(tiny_net):
    supernet = Supernet(tiny_net)
    table = measure_table(supernet, (2, 6, 6), device("cpu"), effort=QUICK)
    slow = replace(
        table,
        entries={
            n: {op: Interval(*(10 * v for v in astuple(t))) for op, t in r.items()} for n, r in table.entries.items()
        },
        networks=tuple(replace(network, measured_ms=10 * network.measured_ms) for network in table.networks),
    )
    slow = calibrated(slow)
    again = recalibrated(slow, supernet, (2, 6, 6), device("cpu"), QUICK)
    assert again.entries == slow.entries
    assert slow.largest() > 5 * table.largest()
    assert again.largest() < 0.5 * slow.largest()


def test_whole_networks_are_measured_with_the_batch_asked():
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(tuple(map(int, x.shape)))
            return x * 2

    measure_networks([Spy()], ((16, 3, 8, 8),), device("cpu"), QUICK)
    assert set(seen) == {(16, 3, 8, 8)}


def test_unknown_devices_and_numbers_below_one_are_refused():
    with pytest.raises(ProxylessError, match="no device called 'tpu': there is cpu"):
        device("tpu")
    with pytest.raises(ProxylessError, match="at least 1"):
        device("cpu", threads=0)


def test_a_measurement_is_keyed_by_all_that_changes_it():
    base = Device("cpu", "onnxruntime")
    keys = {key(d) for d in (base, Device("cpu", "onnxruntime", threads=2), Device("cpu", "onnxruntime", batch=8))}
    assert len(keys) == 3
    assert key(Device("renamed", "onnxruntime")) == key(base)


def test_zero_without_a_shortcut_is_something_to_run():
    network = nn.Sequential(Choice(a=nn.Conv2d(2, 2, 1), zero=Zero()))
    table = measure_table(Supernet(network), (2, 6, 6), device("cpu"), effort=QUICK)
    assert table.entries["0"]["zero"].ms > 0
