"""The NAS-Bench-Macro space: its costs are those of the published table."""

from __future__ import annotations

import json
import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from proxyless import Architecture, ProxylessError, Supernet
from proxyless.architecture import derive
from proxyless.choice import Choice
from proxyless.modules.operators import count_macs, count_parameters
from proxyless.spaces.nas_bench_macro import NasBenchMacroSpace

SPACE = NasBenchMacroSpace()
TABLE = os.environ.get("PROXYLESS_NAS_BENCH_MACRO")

# digits: (flops, params) in nas-bench-macro_cifar10.json, https://github.com/xiusu/NAS-Bench-Macro (Apache-2.0).
PUBLISHED = {
    "00000000": (7_713_280, 387_882),
    "11111111": (53_246_464, 1_588_874),
    "22222222": (105_660_928, 2_932_586),
    "22212220": (85_164_544, 1_985_514),
    "01201201": (46_109_184, 1_283_434),
    "20120210": (51_593_728, 1_348_266),
    "02012100": (47_327_744, 890_666),
}


def built_costs(digits: str) -> tuple[int, int]:
    network = SPACE.build(SPACE.architecture(SPACE.decode(digits)))
    return count_macs(network, [torch.zeros(1, *SPACE.input_shape)]), count_parameters(network)


@pytest.mark.parametrize("digits", PUBLISHED)
def test_closed_forms_are_the_published_costs(digits: str) -> None:
    assert (SPACE.macs(digits), SPACE.parameters(digits)) == PUBLISHED[digits]


@pytest.mark.parametrize("digits", PUBLISHED)
def test_built_networks_have_the_published_costs(digits: str) -> None:
    assert built_costs(digits) == PUBLISHED[digits]


@pytest.mark.skipif(not TABLE, reason="PROXYLESS_NAS_BENCH_MACRO does not name nas-bench-macro_cifar10.json")
def test_all_networks_of_the_table_have_its_costs() -> None:
    table = json.loads(Path(str(TABLE)).read_text())
    assert len(table) == 3**8
    wrong = [d for d, row in table.items() if (SPACE.macs(d), SPACE.parameters(d)) != (row["flops"], row["params"])]
    assert wrong == []
    for digits in np.random.default_rng(0).choice(sorted(table), 30, replace=False):
        assert built_costs(str(digits)) == (table[digits]["flops"], table[digits]["params"])


def test_macs_are_linear_in_the_gates() -> None:
    rows = SPACE.layer_macs()
    for digits in ("00000000", "21021021", "12121212"):
        total = SPACE.fixed_macs() + sum(
            list(row.values())[int(d)] for row, d in zip(rows.values(), digits, strict=True)
        )
        assert total == SPACE.macs(digits)


def test_the_network_holds_eight_choices_of_three_candidates_in_the_benchmark_s_order() -> None:
    supernet = Supernet(SPACE.network())
    assert list(supernet.choices) == [f"layer{i}" for i in range(8)]
    assert {choice.operations for choice in supernet.choices.values()} == {("identity", "k3_e3", "k5_e6")}
    supernet.input_shapes(torch.zeros(1, 3, 32, 32))  # raises where candidates disagree


def test_names_and_choices_are_the_same_thing_written_twice() -> None:
    assert SPACE.decode("01200000")["layer2"] == "k5_e6"
    for digits in ("00000000", "01201201", "22212220"):
        assert SPACE.encode(SPACE.decode(digits)) == digits
    assert len({SPACE.encode(SPACE.decode("".join(d))) for d in product("012", repeat=8)}) == 3**8


@pytest.mark.parametrize("digits", ["", "0120", "012012013", "0120120a", "01201203"])
def test_what_is_no_name_of_a_network_is_refused(digits: str) -> None:
    with pytest.raises(ProxylessError, match="8 digits from 0 to 2"):
        SPACE.decode(digits)


def test_a_built_network_has_no_choices_and_classifies() -> None:
    network = SPACE.build(SPACE.architecture(SPACE.decode("02101220"))).eval()
    assert not any(isinstance(module, Choice) for module in network.modules())
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_an_identity_within_a_stage_leaves_its_input_as_it_is() -> None:
    network = SPACE.network().eval()
    x = torch.randn(2, 64, 16, 16, generator=torch.Generator().manual_seed(0))
    layer = network.get_submodule("layer1")
    assert isinstance(layer, Choice)
    layer.active = 0
    assert torch.equal(layer(x), x)


def test_an_mbconv_within_a_stage_adds_to_its_input_and_one_that_downsamples_does_not() -> None:
    shortcuts = [choice.shortcut for choice in Supernet(SPACE.network()).choices.values()]
    assert shortcuts == [False, True, False, True, True, False, True, True]


def test_an_architecture_rebuilds_the_derived_network_s_shape_from_its_data() -> None:
    space = NasBenchMacroSpace(classes=4, image_size=24)
    architecture = space.architecture(space.decode("10200120"))
    again = NasBenchMacroSpace(**architecture.arguments)
    assert architecture.space == again.name == "nas-bench-macro"
    derived = derive(space.network(), architecture)
    rebuilt = again.build(architecture)
    assert {n: p.shape for n, p in derived.named_parameters()} == {n: p.shape for n, p in rebuilt.named_parameters()}
    assert count_macs(rebuilt, [torch.zeros(1, 3, 24, 24)]) == space.macs("10200120")
    assert count_parameters(rebuilt) == space.parameters("10200120")


def test_architectures_of_other_spaces_are_refused() -> None:
    with pytest.raises(ProxylessError, match="does not fit"):
        SPACE.build(Architecture({"layer0": "k3_e3"}))
    with pytest.raises(ProxylessError, match="no candidate"):
        SPACE.build(Architecture(SPACE.decode("00000000") | {"layer0": "k7_e6"}))


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ProxylessError, match="image_size must be at least 8"):
        NasBenchMacroSpace(image_size=4)


def test_a_line_shows_the_digits_by_stage() -> None:
    assert SPACE.describe(SPACE.architecture(SPACE.decode("22212220"))) == "64: 22 | 128: 212 | 256: 220"
