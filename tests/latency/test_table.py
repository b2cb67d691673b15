import json
import re
from itertools import product

import pytest
import torch
from torch import nn

from proxyless import Architecture, Choice, ProxylessError, Supernet, Zero
from proxyless.cost import CostTable
from proxyless.latency.table import Entry, LatencyTable, MeasuredNetwork

COST = CostTable("MACs", 10.0, {"a": {"x": 1.0, "y": 2.0, "skip": 0.0}, "b": {"x": 4.0, "y": 8.0}})


def entry(ms, in_network_ms):
    return Entry(ms, 0.9 * ms, 1.1 * ms, in_network_ms, "abc")


LATENCY = LatencyTable(
    device={"name": "cpu", "runtime": "onnxruntime", "runtime_version": "1", "machine": "some processor"},
    fixed_ms=0.5,
    entries={"a": {"x": entry(1.0, 0.8), "skip": entry(0.0, 0.0)}, "b": {"x": entry(2.0, 1.7), "y": entry(3.0, 2.6)}},
    networks=(MeasuredNetwork({"a": "x", "b": "y"}, 3.9, 3.8, 4.0, "calibration"),),
    correction={"factor": 0.9, "ms_per_block": -0.1, "ms_per_mib": 0.0},
    conditions={"rounds": 15, "disturbed": 1, "other_cores": None, "seconds": 2.0, "wide": 0, "busy": False},
)


def test_a_network_costs_the_fixed_part_and_its_entries():
    assert COST.of(Architecture({"a": "y", "b": "x"})) == 16.0
    assert COST.of_path([2, 1]) == 18.0
    assert (COST.smallest(), COST.largest()) == (14.0, 20.0)


def test_the_expected_cost_equals_enumeration_and_so_does_its_gradient():
    alpha = torch.tensor([[0.3, -1.0, 0.7], [1.0, 0.2, 0.0]], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    p = alpha.masked_fill(~mask, -torch.inf).softmax(1)
    expected = sum(p[0, i] * p[1, j] * COST.of_path([i, j]) for i, j in product(range(3), range(2)))
    assert COST.expected(p).item() == pytest.approx(expected.item(), rel=1e-12)
    one, two = (torch.autograd.grad(v, alpha, retain_graph=True)[0] for v in (COST.expected(p), expected))
    assert torch.allclose(one, two, atol=1e-12)


def test_a_network_costs_what_its_candidates_take_within_one():
    assert LATENCY.rows == {"a": {"x": 0.8, "skip": 0.0}, "b": {"x": 1.7, "y": 2.6}}
    assert LATENCY.of(Architecture({"a": "skip", "b": "y"})) == pytest.approx(0.5 + 2.6)
    assert LATENCY.of(Architecture({"a": "x", "b": "x"})) == pytest.approx(0.5 + 0.8 + 1.7)


def test_survives_the_way_through_a_file(tmp_path):
    LATENCY.save(tmp_path / "latency.json")
    assert LatencyTable.load(tmp_path / "latency.json") == LATENCY


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda value: value["device"].pop("machine"), "machine"),
        (lambda value: value["device"].update(name=3), "device: name must be a string, got 3"),
        (lambda value: value.update(fixed_ms=float("nan")), "NaN is no number of JSON"),
        (
            lambda value: value["choices"]["a"]["x"].update(in_network_ms="fast"),
            "choices.a.x: in_network_ms must be a finite number, got 'fast'",
        ),
        (lambda value: value["choices"]["a"]["x"].update(ms=None), "choices.a.x: ms must be a finite number, got None"),
        (lambda value: value["choices"]["a"]["x"].pop("low_ms"), "low_ms"),
        (lambda value: value.update(times={}), "`proxyless measure --from` makes a table"),
    ],
)
def test_what_is_wrong_in_a_table_is_said_when_it_is_read(tmp_path, change, told):
    path = tmp_path / "latency.json"
    LATENCY.save(path)
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    with pytest.raises(ProxylessError, match=rf"latency\.json: .*{re.escape(told)}"):
        LatencyTable.load(path)


@pytest.mark.parametrize(
    "content", ['{"format": 1, "unit": "ms"', "{}", '{"format": 2, "unit": "ms"}', '{"format": 1, "unit": "ms"}', "[1]"]
)
def test_a_file_that_is_no_table_is_one_clear_error(tmp_path, content):
    path = tmp_path / "latency.json"
    path.write_text(content)
    with pytest.raises(ProxylessError, match=r"latency\.json"):
        LatencyTable.load(path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"b": {"x": 1.0, "y": 1.0}}, "no choice a"),
        ({"a": {"x": 1.0}, "b": {"x": 1.0, "y": 1.0}}, "no candidate y of choice a"),
        ({"a": {"x": 1.0, "skip": 0.0, "y": 1.0}, "b": {"x": 1.0, "y": 1.0}}, "another order for choice a"),
        ({"b": {"x": 1.0, "y": 1.0}, "a": {"x": 1.0, "y": 1.0, "skip": 0.0}}, "another space"),
    ],
)
def test_a_table_of_other_candidates_is_refused_by_name(rows, message):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = Choice(x=nn.Identity(), y=nn.Identity(), skip=Zero())
            self.b = Choice(x=nn.Identity(), y=nn.Identity())

    with pytest.raises(ProxylessError, match=message):
        CostTable("ms", 0.0, rows).check(Supernet(Net()))
    CostTable("ms", 0.0, COST.entries).check(Supernet(Net()))
