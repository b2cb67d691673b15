"""Published latency tables: their numbers, their sums, and which spaces they cover."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from proxyless.cost import CostTable
from proxyless.errors import ProxylessError
from proxyless.latency import published
from proxyless.spaces.mobilenet import MobileNetSpace
from proxyless.supernet import Supernet

PAPER, MOBILE = MobileNetSpace(), MobileNetSpace(first_width=32)
SPACES = {"pixel1": PAPER, "pixel1-tunas": MOBILE}

# ms of the published mobile network's blocks, in order, from the authors' table with 24 channels in the first stage;
# before them stem, first block, head and classifier.
PIXEL1_MOBILE = [
    *(4.083756, 3.882135, 3.088623, 0.309642),
    *(7.519107, 6.273092),
    *(5.026178, 2.85684, 3.483712, 3.483712),
    *(4.252205, 2.126526, 2.126526, 2.126526),
    *(4.28894, 2.791579, 2.791579, 2.791579),
    *(3.787692, 4.692726, 2.456553, 2.456553),
    5.828078,
]
MOBILE_CHOICES = [
    *("k5_e3", "k3_e3", "skip", "skip"),
    *("k7_e3", "k3_e3", "k5_e3", "k5_e3"),
    *("k7_e6", "k5_e3", "k5_e3", "k5_e3"),
    *("k5_e6", "k5_e3", "k5_e3", "k5_e3"),
    *("k7_e6", "k7_e6", "k7_e3", "k7_e3"),
    "k7_e6",
]


def table(name: str) -> CostTable:
    return published.table(name, SPACES[name])


def of(cost: CostTable, space: MobileNetSpace, taken: list[str]) -> float:
    return cost.of(space.architecture(dict(zip(space.choices(), taken, strict=True))))


@pytest.mark.parametrize("name", published.names())
def test_table_has_the_candidates_of_the_space_in_its_order(name: str) -> None:
    table(name).check(Supernet(SPACES[name].network()))
    assert table(name).unit == "ms"


@pytest.mark.parametrize("name", published.names())
def test_zero_costs_nothing(name: str) -> None:
    rows = table(name).entries

    assert [row["skip"] for row in rows.values() if "skip" in row] == [0.0] * 15


def test_latency_on_pixel1_is_the_sum_of_the_rows_of_the_authors_table() -> None:
    cost = table("pixel1")

    assert cost.base == pytest.approx(sum(PIXEL1_MOBILE[:4]))
    assert of(cost, PAPER, MOBILE_CHOICES) == pytest.approx(sum(PIXEL1_MOBILE))


def test_published_mobile_network_takes_84_ms_by_the_tunas_model() -> None:
    assert of(table("pixel1-tunas"), MOBILE, MOBILE_CHOICES) == pytest.approx(84.42, abs=0.005)


def test_tunas_model_is_its_bias_and_the_coefficients_of_what_was_chosen() -> None:
    cost = table("pixel1-tunas")
    taken = dict.fromkeys(MOBILE.choices(), "k3_e3")
    skips = [-9.737999, -9.741877, -9.745625, -2.259662, -2.249445, -2.25264, -1.090691, -1.085342, -1.082632]
    skips += [-2.036103, -2.030967, -2.037987, -2.747505, -2.748865, -2.750063]
    firsts = [-4.025259, -1.444107, 0.398656, 0.07737, 0.329675, -1.186296]
    k3_e3 = [-4.247996, -4.243709, -4.245379, -0.423078, -0.418092, -0.42421, 0.315172, 0.318926, 0.320253]
    k3_e3 += [-0.035418, -0.034044, -0.046599, -0.212744, -0.210756, -0.206015]
    fixed = 92.13599395751953 - 1.752522

    assert cost.of(MOBILE.architecture(taken)) == pytest.approx(fixed + sum(firsts) + sum(k3_e3))
    skipped = {name: "k3_e3" if name.endswith("block0") else "skip" for name in taken}
    assert cost.of(MOBILE.architecture(skipped)) == pytest.approx(fixed + sum(firsts) + sum(skips))


@pytest.mark.parametrize(
    ("name", "smallest", "largest"), [("pixel1", 29.608776, 191.029869), ("pixel1-tunas", 30.936108, 209.111553)]
)
def test_smallest_and_largest_network(name: str, smallest: float, largest: float) -> None:
    space = SPACES[name]
    small = [candidates[0] if len(candidates) == 6 else "skip" for candidates in space.choices().values()]

    assert of(table(name), space, small) == table(name).smallest() == pytest.approx(smallest)
    assert of(table(name), space, ["k7_e6"] * 21) == table(name).largest() == pytest.approx(largest)


@pytest.mark.parametrize("name", published.names())
def test_expected_latency_under_equal_probabilities_is_the_mean_of_every_choice(name: str) -> None:
    cost = table(name)
    supernet = Supernet(SPACES[name].network(), init_std=0.0)

    expected = cost.expected(supernet.probabilities().double())

    assert expected.item() == pytest.approx(cost.base + sum(math.fsum(r.values()) / len(r) for r in cost.rows.values()))
    (gradient,) = torch.autograd.grad(expected, supernet.alpha)
    first = list(cost.rows["stage1.block0"].values())
    closed = torch.tensor([(ms - sum(first) / 6) / 6 for ms in first])
    torch.testing.assert_close(gradient[0, :6], closed, rtol=1e-4, atol=1e-5)


def test_shallower_space_costs_what_the_deeper_one_does_with_its_blocks_skipped() -> None:
    for name, first_width in (("pixel1", 24), ("pixel1-tunas", 32)):
        shallow = MobileNetSpace(first_width=first_width, depths=(2, 4, 4, 4, 4, 1))
        shallow_ms = of(published.table(name, shallow), shallow, MOBILE_CHOICES[:2] + MOBILE_CHOICES[4:])

        assert shallow_ms == pytest.approx(of(table(name), SPACES[name], MOBILE_CHOICES))


@pytest.mark.parametrize(
    ("name", "arguments", "missing"),
    [
        ("pixel1", {"image_size": 192}, "stem, 192x192x3 to 96x96x32"),
        ("pixel1", {"channels": 1}, "stem, 224x224x1 to 112x112x32"),
        ("pixel1", {"width": 1.1}, "stage2.block0 k3_e3, 56x56x24 to 28x28x48"),
        ("pixel1", {"width": 0.5}, "stem, 224x224x3 to 112x112x16"),
        ("pixel1", {"first_width": 32}, "stage1.block0 k3_e3, 112x112x16 to 56x56x32"),
        ("pixel1", {"kernels": (3, 9)}, "stage1.block0 k9_e3"),
        ("pixel1", {"expansions": (3, 4)}, "stage1.block0 k3_e4"),
        ("pixel1", {"depths": (4, 4, 4, 4, 4, 2)}, "stage6.block1 k3_e3, 7x7x320 to 7x7x320"),
        ("pixel1", {"classes": 2000}, "classifier, 7x7x1280 to 2000"),
        ("pixel1-tunas", {}, "stage1.block0 k3_e3, 112x112x16 to 56x56x24"),
        ("pixel1-tunas", {"first_width": 32, "depths": (5, 4, 4, 4, 4, 1)}, "stage1.block4 k3_e3"),
    ],
)
def test_space_that_a_table_does_not_cover_is_refused_by_its_first_missing_operator(
    name: str, arguments: dict[str, Any], missing: str
) -> None:
    with pytest.raises(ProxylessError, match=f"the published table {name} has no {missing}.*: it covers"):
        published.table(name, MobileNetSpace(**arguments))


def test_fewer_classes_count_like_the_thousand_of_the_table() -> None:
    assert published.table("pixel1", MobileNetSpace(classes=10)) == table("pixel1")


@pytest.mark.parametrize("name", published.names())
def test_tables_say_where_they_come_from(name: str) -> None:
    described = published.describe(name)

    assert described.name == name
    assert "Pixel 1" in described.device
    assert "github.com" in described.source
    assert described.licence
    assert "ms" in described.note


def test_unknown_table_lists_the_known_ones() -> None:
    with pytest.raises(ProxylessError, match="'pixel9': there is pixel1, pixel1-tunas"):
        published.describe("pixel9")
