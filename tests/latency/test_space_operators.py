from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from proxyless import Choice, ProxylessError, Supernet, Zero, derive
from proxyless.bundle.manifest import Manifest
from proxyless.bundle.results import Results
from proxyless.bundle.tables import table_of
from proxyless.latency.calibration import calibrated
from proxyless.latency.operators import space_operators, spread_paths
from proxyless.latency.table import MeasuredNetwork
from proxyless.latency.timing.statistics import Interval
from proxyless.modules.operators import count_macs, example_inputs


class Net(nn.Module):
    """Three equal choices and one of another width."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(Choice(a=nn.Conv2d(2, 2, 1), b=nn.Conv2d(2, 2, 3, padding=1)) for _ in range(3)),
            Choice(wide=nn.Conv2d(2, width, 1), zero=Zero(), shortcut=width == 2),
        )

    def forward(self, x):
        return self.blocks(x)


SHAPES = ((1, 2, 6, 6),)


def measured(found):
    return {key: Interval(1.0, 0.9, 1.1) for key in found.operators}


def test_equal_candidates_are_one_operator_and_zero_beside_a_shortcut_is_none():
    found = space_operators(Supernet(Net()), SHAPES)
    rows = list(found.candidates.values())
    assert rows[0] == rows[1] == rows[2]
    assert rows[3]["zero"] is None
    assert set(found.operators) == {*rows[0].values(), rows[3]["wide"]}
    assert all(operator.shapes == SHAPES for operator in found.operators.values())


def test_weights_are_counted_in_mib():
    found = space_operators(Supernet(Net()), SHAPES)
    assert found.weight_mib()["blocks.0"] == {"a": (4 + 2) * 4 / 2**20, "b": (36 + 2) * 4 / 2**20}
    assert found.weight_mib()["blocks.3"]["zero"] == 0.0


def test_a_table_holds_every_candidate_with_its_operator():
    found = space_operators(Supernet(Net()), SHAPES)
    table = found.table(measured(found), {"name": "made up"})
    table.check(Supernet(Net()))
    assert table.entries["blocks.3"]["zero"].ms == 0.0
    entry = table.entries["blocks.1"]["b"]
    assert (entry.ms, entry.in_network_ms, entry.operator) == (1.0, 1.0, found.candidates["blocks.1"]["b"])


def test_a_candidate_without_a_measurement_is_named():
    found = space_operators(Supernet(Net()), SHAPES)
    known = measured(found)
    del known[found.candidates["blocks.3"]["wide"]]
    with pytest.raises(ProxylessError, match=r"no measurement of candidate wide of choice blocks\.3"):
        found.table(known, {})


def test_a_table_of_other_shapes_is_refused_and_a_published_one_is_not():
    found, other = space_operators(Supernet(Net()), SHAPES), space_operators(Supernet(Net()), ((1, 2, 8, 8),))
    table = other.table(measured(other), {})
    other.check(table, "t.json")
    with pytest.raises(ProxylessError, match=r"t\.json: a of choice blocks\.0 was measured with other shapes"):
        found.check(table, "t.json")
    given = {n: {op: replace(entry, operator=None) for op, entry in row.items()} for n, row in table.entries.items()}
    found.check(replace(table, entries=given), "t.json")


def test_spread_paths_go_from_the_smallest_to_the_largest(tiny_net):
    supernet = Supernet(tiny_net)
    paths = spread_paths(supernet, 8, seed=0)
    assert paths[0] == [2, 1]  # no parameters; without the bias
    assert paths[-1] == [1, 0]
    assert paths == spread_paths(supernet, 8, seed=0)
    assert len({tuple(path) for path in paths}) > 3


def test_the_shapes_of_a_batch_make_other_operators():
    one, two = space_operators(Supernet(Net()), SHAPES), space_operators(Supernet(Net()), ((2, 2, 6, 6),))
    assert not set(one.operators) & set(two.operators)


class Siamese(nn.Module):
    """A trunk that is run on two sizes, twice on the larger one, and a choice with keywords."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Choice(k1=nn.Conv2d(2, 2, 1), k3=nn.Conv2d(2, 2, 3, padding=1), same=Zero(), shortcut=True)
        self.last = Choice(plain=Scaled(), wide=Last(nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1)))

    def forward(self, x):
        large = self.trunk(self.trunk(x))
        return self.last(large, factor=2.0) + self.last(self.trunk(x[..., ::2, ::2]), factor=2.0).mean()


class Scaled(nn.Conv2d):
    def __init__(self) -> None:
        super().__init__(2, 2, 1)

    def forward(self, x, factor=1.0):
        return super().forward(x) * factor


class Last(nn.Sequential):
    def forward(self, x, factor):
        return super().forward(x) * factor


def test_a_candidate_takes_what_its_runs_take_together():
    """With ms in proportion to MACs, every network is the sum of its entries."""
    supernet = Supernet(Siamese())
    found = space_operators(supernet, SHAPES)
    ms = {key: float(count_macs(op.module, example_inputs(op.shapes))) for key, op in found.operators.items()}
    table = found.table({key: Interval(time, 0.9 * time, 1.1 * time) for key, time in ms.items()}, {"name": "made up"})
    for path in ([0, 0], [1, 1], [2, 0], [0, 1]):
        whole = count_macs(derive(supernet, path), example_inputs(SHAPES))
        assert table.of_path(path) == pytest.approx(whole)
    entry = table.entries["trunk"]["k3"]
    assert (entry.ms, entry.low_ms) == pytest.approx((4 * 9 * (36 + 36 + 9), 0.9 * 4 * 9 * (36 + 36 + 9)))
    assert table.entries["trunk"]["same"].operator is None
    found.check(table, "t.json")
    assert found.weight_mib()["trunk"]["k3"] == (36 + 2) * 4 / 2**20


def test_what_a_call_takes_is_corrected_once_a_run():
    supernet = Supernet(Siamese())
    found = space_operators(supernet, SHAPES)
    table = found.table(measured(found), {"name": "made up"})
    paths = spread_paths(supernet, 12, seed=0)
    runs = [[3 * (path[0] != 2), 2] for path in paths]  # a run alone takes 1 ms, in a network 0.5 ms
    networks = tuple(
        MeasuredNetwork(
            {name: choice.operations[i] for (name, choice), i in zip(supernet.choices.items(), path, strict=True)},
            *(3 * [1 + 0.5 * sum(counts)]),
            "calibration",
        )
        for path, counts in zip(paths, runs, strict=True)
    )
    fitted = calibrated(replace(table, networks=networks), found.weight_mib())
    assert fitted.entries["trunk"]["k1"].in_network_ms == pytest.approx(1.5, rel=0.1)


def test_a_missing_run_is_named():
    found = space_operators(Supernet(Siamese()), SHAPES)
    known = measured(found)
    del known[found.candidates["trunk"]["k3"].split("+")[-1]]
    with pytest.raises(ProxylessError, match="no measurement of candidate k3 of choice trunk"):
        found.table(known, {})


def test_a_choice_in_a_candidate_and_one_of_whole_numbers_have_no_latency_table():
    inner = Choice(a=nn.Conv2d(2, 2, 1), b=Zero())
    network = nn.Sequential(Choice(plain=nn.Conv2d(2, 2, 1), nested=nn.Sequential(inner)))
    with pytest.raises(ProxylessError, match=r"choice 0\.candidates\.nested\.0 stands in candidate nested of choice 0"):
        space_operators(Supernet(network), SHAPES)

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = Choice(a=nn.Embedding(9, 2), b=nn.Embedding(9, 2))

        def forward(self, x):
            return self.embed((x.abs() * 2).long().clamp(max=8))

    with pytest.raises(ProxylessError, match=r"choice embed is given a tensor of torch\.int64"):
        space_operators(Supernet(Whole()), SHAPES)
    assert Supernet(Whole()).input_shapes(torch.zeros(SHAPES[0])) == {"embed": SHAPES}


def test_a_network_of_half_precision_is_told_how_it_can_be_timed():
    with pytest.raises(ProxylessError, match=r"weights of torch\.float16: .* make it \.float\(\)"):
        space_operators(Supernet(Net().half()), SHAPES)


def test_results_of_a_bundle_are_those_of_all_runs():
    supernet = Supernet(Siamese())
    found = space_operators(supernet, SHAPES)
    files = {key: f"operators/{number}.onnx" for number, key in enumerate(found.operators)}
    times = {str(number): Interval(1.0 + number, 0.5, 9.0) for number in range(len(files))}
    manifest = Manifest("1", "own", {}, (2, 6, 6), 1, "float32", found.candidates, files, ())
    device = {"name": "d", "runtime": "r", "runtime_version": "1", "machine": "m"}
    table = table_of(Results(Path("r.json"), manifest, device, times, {}), supernet)
    numbers = [list(found.operators).index(key) for key in found.candidates["trunk"]["k1"].split("+")]
    assert table.entries["trunk"]["k1"].ms == sum(1.0 + number for number in numbers)
    del times[str(numbers[-1])]
    with pytest.raises(ProxylessError, match=r"no time of k1 of choice trunk, which is operators/"):
        table_of(Results(Path("r.json"), manifest, device, times, {}), supernet)
