from dataclasses import replace

import pytest
from torch import nn

from proxyless import Choice, ProxylessError, Supernet, Zero
from proxyless.latency.layout import layout, spread_paths
from proxyless.latency.rounds import Interval


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
    found = layout(Supernet(Net()), SHAPES)
    rows = list(found.candidates.values())
    assert rows[0] == rows[1] == rows[2]
    assert rows[3]["zero"] is None
    assert set(found.operators) == {*rows[0].values(), rows[3]["wide"]}
    assert all(operator.shapes == SHAPES for operator in found.operators.values())


def test_weights_are_counted_in_mib():
    found = layout(Supernet(Net()), SHAPES)
    assert found.weight_mib()["blocks.0"] == {"a": (4 + 2) * 4 / 2**20, "b": (36 + 2) * 4 / 2**20}
    assert found.weight_mib()["blocks.3"]["zero"] == 0.0


def test_a_table_holds_every_candidate_with_its_operator():
    found = layout(Supernet(Net()), SHAPES)
    table = found.table(measured(found), {"name": "made up"})
    table.check(Supernet(Net()))
    assert table.entries["blocks.3"]["zero"].ms == 0.0
    entry = table.entries["blocks.1"]["b"]
    assert (entry.ms, entry.in_network_ms, entry.operator) == (1.0, 1.0, found.candidates["blocks.1"]["b"])


def test_a_candidate_without_a_measurement_is_named():
    found = layout(Supernet(Net()), SHAPES)
    known = measured(found)
    del known[found.candidates["blocks.3"]["wide"]]
    with pytest.raises(ProxylessError, match=r"no measurement of candidate wide of choice blocks\.3"):
        found.table(known, {})


def test_a_table_of_other_shapes_is_refused_and_a_published_one_is_not():
    found, other = layout(Supernet(Net()), SHAPES), layout(Supernet(Net()), ((1, 2, 8, 8),))
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
    one, two = layout(Supernet(Net()), SHAPES), layout(Supernet(Net()), ((2, 2, 6, 6),))
    assert not set(one.operators) & set(two.operators)
