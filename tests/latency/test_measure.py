import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from proxyless import Architecture, Choice, ProxylessError, Supernet, Zero
from proxyless.job.layers import layers as layers_of
from proxyless.latency import identity, measure, session
from proxyless.latency.calibration import calibrated
from proxyless.latency.device import Device, device
from proxyless.latency.identity import key
from proxyless.latency.measure import measure_networks, measure_table, recalibrated, spread_evenly
from proxyless.latency.operators import space_operators
from proxyless.latency.table import Entry
from proxyless.latency.timing import interleaved as timing
from proxyless.latency.timing.interruptions import Interruptions
from proxyless.latency.timing.statistics import Effort
from proxyless.spaces.mobilenet import MobileNetSpace

QUICK = Effort(rounds=3, burst_ms=0.5, width=1.0, limit_s=0.0, loadings=1)
NETWORKS = 4


@pytest.fixture
def idle(monkeypatch):
    """A machine without other programs, which these tests are not about: their rounds would be measured again."""
    monkeypatch.setattr(timing._OtherPrograms, "other_cores", lambda load: 0.0)
    monkeypatch.setattr(timing.InterruptionWatch, "until_now", lambda watch, stopped_s=0.0: Interruptions())


def test_a_whole_space_is_measured_with_names_and_zero_free(tiny_net):
    supernet = Supernet(tiny_net)
    table = measure_table(supernet, (2, 6, 6), device("cpu"), effort=QUICK, networks=NETWORKS)
    table.check(supernet)
    assert table.entries["first"]["skip"] == Entry(0, 0, 0, 0)
    assert all(t.ms > 0 for row in table.entries.values() for name, t in row.items() if name != "skip")
    assert len(table.networks) == 4
    assert table.device["runtime"] == "onnxruntime"
    assert table.device["threads"] == 1


class Counting:
    """A runtime that notes what it prepares, and converts nothing that could be loaded elsewhere."""

    def __init__(self) -> None:
        self.prepared: list[nn.Module] = []

    def version(self) -> str:
        return "1"

    def prepare(self, module, inputs, device):
        self.prepared.append(module)
        return self

    def times_ms(self, count):
        return np.full(count, 0.01)


def test_what_is_known_is_not_measured_again_and_networks_always_are(idle, tiny_net, tmp_path, monkeypatch):
    counting = Counting()
    monkeypatch.setattr(session, "runtime", lambda name: counting)
    monkeypatch.setattr(identity, "runtime", lambda name: counting)
    supernet = Supernet(tiny_net)

    def prepared(chosen: Device, effort: Effort = QUICK) -> int:
        counting.prepared.clear()
        measure_table(supernet, (2, 6, 6), chosen, effort=effort, networks=NETWORKS, cache=tmp_path)
        return len(counting.prepared)

    monkeypatch.setattr(session, "usable_cores", lambda: 2)
    candidates = 4
    assert prepared(device("cpu")) == candidates + NETWORKS
    assert prepared(device("cpu")) == NETWORKS
    assert prepared(device("cpu", threads=2)) == candidates + NETWORKS
    assert prepared(device("cpu"), replace(QUICK, rounds=4)) == candidates + NETWORKS
    for stored in tmp_path.glob("*.jsonl"):
        stored.write_text("{")  # a broken file is as good as none
    assert prepared(device("cpu")) == candidates + NETWORKS


def test_operators_known_from_a_slower_session_are_put_on_the_level_of_new_ones(idle, tiny_net, tmp_path, monkeypatch):
    """The same operators an hour later, on a machine that is 20 % quicker, with one of them not known yet."""
    counting = Counting()
    monkeypatch.setattr(session, "runtime", lambda name: counting)
    monkeypatch.setattr(identity, "runtime", lambda name: counting)
    supernet, cpu = Supernet(tiny_net), device("cpu")
    arguments = (supernet, (2, 6, 6), cpu)
    measure_table(*arguments, effort=QUICK, networks=NETWORKS, cache=tmp_path)
    (path,) = tmp_path.glob("*.jsonl")
    new = measure_table(*arguments, effort=QUICK, networks=NETWORKS).entries["first"]["k1"].operator
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines[1:]:
        del line["bursts"][new]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(Counting, "times_ms", lambda self, count: np.full(count, 0.008))
    counting.prepared.clear()
    table = measure_table(*arguments, effort=QUICK, networks=NETWORKS, cache=tmp_path)
    assert len(counting.prepared) == 1 + 3 + NETWORKS  # the new one, the three known ones, whole networks
    times = [entry.ms for row in table.entries.values() for entry in row.values() if entry.ms]
    assert times == pytest.approx([0.008] * 4)
    assert new in json.loads(path.read_text().splitlines()[-1])["bursts"]


def test_networks_that_checked_a_derivation_are_not_used_for_the_correction_later(tiny_net):
    supernet = Supernet(tiny_net)
    arguments = (supernet, (2, 6, 6), device("cpu"))
    table = measure_table(*arguments, effort=QUICK, networks=NETWORKS)
    checked = replace(table, networks=(*table.networks, replace(table.networks[0], role="check")))
    again = measure.recalibrated(checked, *arguments, QUICK)
    assert [network.role for network in again.networks] == ["calibration"] * NETWORKS


def test_more_threads_than_cores_are_refused(tiny_net, monkeypatch):
    monkeypatch.setattr(session, "usable_cores", lambda: 2)
    with pytest.raises(ProxylessError, match=r"^device cpu: 3 threads, but this process may use 2 cores$"):
        measure_table(Supernet(tiny_net), (2, 6, 6), device("cpu", threads=3), effort=QUICK, networks=NETWORKS)


def test_an_interrupted_measurement_goes_on_with_the_rounds_it_has(idle, tiny_net, tmp_path, monkeypatch):
    counting = Counting()
    monkeypatch.setattr(session, "runtime", lambda name: counting)
    monkeypatch.setattr(identity, "runtime", lambda name: counting)
    supernet, effort = Supernet(tiny_net), Effort(rounds=6, burst_ms=0.1, width=1.0, limit_s=30)

    def stop(share: float) -> None:
        if share > 0.7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_table(supernet, (2, 6, 6), device("cpu"), effort=effort, networks=4, cache=tmp_path, advance=stop)
    (path,) = tmp_path.glob("*.jsonl")
    before = len(path.read_text().splitlines()) - 1
    assert 0 < before < effort.rounds
    measure_table(supernet, (2, 6, 6), device("cpu"), effort=effort, networks=4, cache=tmp_path)
    assert len(path.read_text().splitlines()) - 1 == effort.rounds


def test_measuring_leaves_the_supernet_as_it_was(tiny_net):
    supernet = Supernet(tiny_net).train()
    supernet.path = [1, 0]
    state = {name: value.clone() for name, value in supernet.state_dict().items()}
    threads = torch.get_num_threads()
    measure_table(supernet, (2, 6, 6), device("cpu"), effort=QUICK, networks=NETWORKS)
    assert supernet.path == [1, 0]
    assert all(module.training for module in supernet.modules())
    assert all(torch.equal(value, state[name]) for name, value in supernet.state_dict().items())
    assert torch.get_num_threads() == threads


def test_a_candidate_that_cannot_be_exported_is_named():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    with pytest.raises(ProxylessError, match=r"odd of choice  on cpu \(onnxruntime\): Odd cannot be exported to ONNX"):
        measure_table(
            Supernet(Choice(fine=nn.Identity(), odd=Odd())), (2, 6, 6), device("cpu"), effort=QUICK, networks=NETWORKS
        )


def test_a_table_of_a_slower_hour_is_put_right_by_measuring_its_networks_again(tiny_net):
    supernet = Supernet(tiny_net)
    table = measure_table(supernet, (2, 6, 6), device("cpu"), effort=QUICK, networks=NETWORKS)
    weights = space_operators(supernet, ((1, 2, 6, 6),)).weight_mib()
    slow = replace(
        table,
        entries={n: {op: replace(t, ms=10 * t.ms) for op, t in r.items()} for n, r in table.entries.items()},
        networks=tuple(replace(network, measured_ms=10 * network.measured_ms) for network in table.networks),
    )
    slow = calibrated(slow, weights)
    again = recalibrated(slow, supernet, (2, 6, 6), device("cpu"), QUICK)
    assert [t.ms for t in again.entries["first"].values()] == [t.ms for t in slow.entries["first"].values()]
    assert slow.largest() > 5 * table.largest()
    assert again.largest() < 0.5 * slow.largest()


def test_whole_networks_are_measured_with_the_batch_asked():
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(tuple(map(int, x.shape)))
            return x * 2

    (found,), _ = measure_networks([Spy()], ((16, 3, 8, 8),), device("cpu"), QUICK)
    assert found.ms > 0
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
    table = measure_table(Supernet(network), (2, 6, 6), device("cpu"), effort=QUICK, networks=NETWORKS)
    assert table.entries["0"]["zero"].ms > 0


def test_a_part_of_the_candidates_is_measured_and_the_rest_predicted_and_marked():
    space = MobileNetSpace(classes=3, channels=1, image_size=16, width=0.25, depths=(2, 2, 1, 1, 1, 1))
    supernet = Supernet(space.network())
    effort = Effort(rounds=5, burst_ms=2.0, width=1.0, limit_s=0.0, loadings=1)
    whole = measure_table(supernet, space.input_shape, device("cpu"), effort=effort, networks=NETWORKS)
    part = measure_table(supernet, space.input_shape, device("cpu"), effort=effort, networks=NETWORKS, share=0.5)
    part.check(supernet)
    entries = {entry.operator: entry for row in part.entries.values() for entry in row.values() if entry.operator}
    predicted = [entry for entry in entries.values() if not entry.measured]
    assert 0.4 * len(entries) < len(predicted) <= 0.5 * len(entries)
    known = {entry.operator: entry.ms for row in whole.entries.values() for entry in row.values()}
    ratios = [entry.ms / known[entry.operator] for entry in predicted]
    assert 0.5 < np.median(ratios) < 2  # the machine may be busy; how good it is, is measured elsewhere


class Siamese(nn.Module):
    """A trunk that is run twice, on two sizes, with a keyword and a value that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Choice(k1=Scaled(2, 2, 1), k3=Scaled(2, 2, 3, padding=1), skip=Zero(), shortcut=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        one, other = self.trunk(x, 2.0, shift=x[:, :1]), self.trunk(x[..., ::2, ::2], 2.0, shift=x[:, 1:, ::2, ::2])
        return self.head(torch.cat([one.mean((2, 3)), other.mean((2, 3))], dim=1))


class Scaled(nn.Conv2d):
    def forward(self, x, factor, *, shift):
        return super().forward(x) * factor + shift


def test_a_trunk_that_runs_twice_is_measured_on_both_sizes_as_it_is_called(tmp_path):
    supernet = Supernet(Siamese())
    table = measure_table(supernet, (2, 8, 8), device("cpu"), effort=QUICK, networks=NETWORKS)
    keys = {op: entry.operator for op, entry in table.entries["trunk"].items()}
    assert [key and key.count("+") for key in keys.values()] == [1, 1, None]
    assert table.entries["trunk"]["skip"] == Entry(0, 0, 0, 0)
    table.save(tmp_path / "latency.json")
    assert type(table).load(tmp_path / "latency.json").rows == table.rows
    layers = layers_of(supernet, Architecture({"trunk": "k3"}), table, (2, 8, 8))
    macs = 2 * 2 * 9 * (64 + 16)
    ms = table.rows["trunk"]["k3"]
    assert layers == [
        {
            "name": "trunk",
            "operation": "k3",
            "input": [2, 8, 8],
            "output": [2, 8, 8],
            "macs": macs,
            "ms": ms,
            "skipped": False,
            "runs": 2,
        }
    ]


def test_operators_that_stand_for_others_lie_at_even_distances_over_all_of_them():
    keys = [str(number) for number in range(15)]
    assert spread_evenly(keys, 8) == ["0", "2", "4", "6", "8", "10", "12", "14"]
    assert spread_evenly(keys[:3], 8) == ["0", "1", "2"]
    assert spread_evenly([], 8) == []
