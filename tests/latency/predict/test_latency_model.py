import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from proxyless import Choice, ProxylessError, Supernet
from proxyless.latency.operators import space_operators
from proxyless.latency.predict.kernels import Kind, kernels
from proxyless.latency.predict.model import LatencyModel, Measured, fit
from proxyless.latency.predict.physical import fit_physical
from proxyless.latency.predict.selection import choose_operators, complete_table
from proxyless.latency.timing.statistics import Interval
from proxyless.spaces.mobilenet import MobileNetSpace


def block(width, hidden, out, kernel, stride):
    return nn.Sequential(
        nn.Conv2d(width, hidden, 1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU6(),
        nn.Conv2d(hidden, hidden, kernel, stride, kernel // 2, groups=hidden, bias=False),
        nn.Conv2d(hidden, out, 1, bias=False),
    )


def made_up_ms(operator):
    """A device with vectors of 8 channels: launches, multiply-accumulates and elements at speeds of its own."""
    ms = 0.002
    for kernel in operator:
        pads = [-(-channels // 8) * 8 / channels for channels in (kernel.in_channels, kernel.out_channels)]
        padding = pads[1] if kernel.kind is Kind.DEPTHWISE else pads[0] * pads[1]
        speed = {Kind.DEPTHWISE: 8e-8, Kind.POINTWISE: 1e-8}[kernel.kind]
        outputs = kernel.out_height * kernel.out_width * kernel.out_channels * pads[1]
        ms += 0.003 + speed * kernel.macs * padding + 3e-7 * outputs
    return ms


@pytest.fixture(scope="module")
def operators():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(160):
        width, out = rng.integers(6, 60, 2).tolist()
        size, kernel, stride = int(rng.integers(6, 30)), int(rng.choice([3, 5, 7])), int(rng.integers(1, 3))
        module = block(width, width * int(rng.choice([3, 6])), out, kernel, stride)
        found.append(kernels(module, [torch.zeros(1, width, size, size)]))
    return found


def noisy(operators, noise, seed=0):
    """Measurements of the made-up device with normal noise of this share."""
    rng = np.random.default_rng(seed)
    rows = []
    for operator in operators:
        ms = made_up_ms(operator) * (1 + noise * rng.standard_normal())
        rows.append(Measured(operator, ms, ms * (1 - 2 * noise), ms * (1 + 2 * noise)))
    return rows


def test_the_physical_model_recovers_made_up_coefficients(operators):
    found = fit_physical(operators, np.array([made_up_ms(operator) for operator in operators]))
    rates = found.coefficients
    assert found.vector == 8
    # What a kernel of one of these kinds pays for each launch and each multiply-accumulate, however it is split up.
    for kind, speed in ((Kind.DEPTHWISE, 8e-8), (Kind.POINTWISE, 1e-8)):
        assert rates["launch"] + rates[f"{kind}: launch"] + rates["call"] / 3 == pytest.approx(
            0.003 + 0.002 / 3, rel=0.25
        )
        rows = rates[f"{kind}: rows of windows"] / (1 if kind is Kind.POINTWISE else 7)
        assert rates[f"{kind}: macs"] + rows == pytest.approx(speed, rel=0.1)
    errors = [found.ms(operator) / made_up_ms(operator) - 1 for operator in operators]
    assert np.abs(errors).max() < 0.01


def test_operators_never_measured_are_predicted(operators):
    model = fit(noisy(operators[:80], 0.005))
    errors = [model.predict(operator).ms / made_up_ms(operator) - 1 for operator in operators[80:]]
    assert np.abs(errors).mean() < 0.005


def test_a_departure_that_coefficients_cannot_express_is_learnt_from_kernels_alike(operators):
    def slow_at_five(rows):
        return [replace(row, ms=row.ms * (1.2 if row.kernels[1].kernel == (5, 5) else 1.0)) for row in rows]

    train, test = slow_at_five(noisy(operators[:120], 0.002)), slow_at_five(noisy(operators[120:], 0.0))
    model = fit(train)
    alone = model.physical
    errors = np.array([[alone.ms(row.kernels), model.predict(row.kernels).ms] for row in test])
    errors = np.abs(errors / np.array([[row.ms] for row in test]) - 1).mean(axis=0)
    assert errors[1] < 0.5 * errors[0]


def test_intervals_hold_as_often_as_they_promise(operators):
    held = {0.5: [], 0.9: []}
    for seed in range(3):
        rows = noisy(operators, 0.03, seed)
        order = np.random.default_rng(seed).permutation(len(rows))
        model = fit([rows[i] for i in order[:80]])
        for level, counts in held.items():
            found = model.predict_all([rows[i].kernels for i in order[80:]], level=level)
            counts += [f.low_ms <= rows[i].ms <= f.high_ms for f, i in zip(found, order[80:], strict=True)]
    assert 0.4 < np.mean(held[0.5]) < 0.65
    assert 0.85 < np.mean(held[0.9]) < 0.97


def test_a_longer_sum_of_kernels_is_a_network_of_which_the_call_is_paid_once(operators):
    model = fit(noisy(operators, 0.001))
    network = sum(operators[:10], ())
    assert model.predict(network).ms == pytest.approx(made_up_ms(network), rel=0.02)
    assert model.predict(network).ms < sum(model.predict(operator).ms for operator in operators[:10])


def test_networks_pay_for_what_the_cache_does_not_hold_as_networks_measured_did(operators):
    cache, per_byte = 2 * 2**20, 2e-7
    rng = np.random.default_rng(0)
    networks = [sum((operators[i] for i in rng.permutation(160)[:count]), ()) for count in rng.integers(2, 60, 16)]

    def ms(operator):
        touched = sum(kernel.weight_bytes + kernel.output_bytes for kernel in operator)
        return made_up_ms(operator) + per_byte * max(0, touched - cache)

    rows = [Measured(row, ms(row), ms(row), ms(row)) for row in [*operators, *networks]]
    apart = fit(rows[:-8])
    errors = [apart.predict(row).ms / ms(row) - 1 for row in networks[-8:]]
    without = [made_up_ms(row) / ms(row) - 1 for row in networks[-8:]]
    assert np.abs(errors).max() < 0.02
    assert np.abs(without).max() > 0.1


def test_survives_the_way_through_a_file_bit_by_bit(operators, tmp_path):
    model = fit(noisy(operators[:40], 0.01))
    model.save(tmp_path / "model.json")
    again = LatencyModel.load(tmp_path / "model.json")
    assert again.operators == model.operators
    assert again.predict_all(operators) == model.predict_all(operators)


@pytest.mark.parametrize("content", ["[1]", "{}", '{"format": 9, "operators": []}', '{"format": 1, "operators": [{}]}'])
def test_a_file_that_is_no_model_is_one_clear_error(tmp_path, content):
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(ProxylessError, match=r"model\.json"):
        LatencyModel.load(tmp_path / "model.json")


def test_too_few_operators_are_one_clear_error(operators):
    with pytest.raises(ProxylessError, match="9 measured operators are too few"):
        fit(noisy(operators[:9], 0.01))
    with pytest.raises(ProxylessError, match="0 ms"):
        fit([replace(row, ms=0.0) for row in noisy(operators[:20], 0.01)])


def test_a_kind_never_measured_is_an_error_and_no_number(operators):
    model = fit(noisy(operators[:20], 0.01))
    dense = kernels(nn.Conv2d(3, 8, 3), [torch.zeros(1, 3, 9, 9)])
    with pytest.raises(ProxylessError, match=r"no dense convolution was measured.*3x3 of 3 x 9 x 9 to 8 x 7 x 7"):
        model.predict(dense)


def test_the_error_of_a_table_names_the_candidate(operators):
    net = nn.Sequential(Choice(thin=nn.Conv2d(4, 4, 1), full=nn.Conv2d(4, 4, 3, padding=1)))
    with pytest.raises(ProxylessError, match="candidate full of choice 0: no dense convolution"):
        fit(noisy(operators[:20], 0.01)).table(space_operators(Supernet(net), ((1, 4, 8, 8),)), {})


def test_a_table_holds_what_was_measured_as_it_is_and_predicts_the_rest(operators):
    net = nn.Sequential(Choice(thin=block(8, 24, 8, 3, 1), wide=block(8, 48, 8, 3, 1)))
    found = space_operators(Supernet(net), ((1, 8, 12, 12),))
    thin, wide = found.candidates["0"].values()
    table = fit(noisy(operators, 0.001)).table(found, {"name": "made up"}, {thin: Interval(7.0, 6.0, 8.0)})
    row = table.entries["0"]
    assert (row["thin"].ms, row["thin"].low_ms, row["thin"].operator) == (7.0, 6.0, thin)
    expected = made_up_ms(kernels(found.operators[wide].module, [torch.zeros(1, 8, 12, 12)]))
    assert row["wide"].ms == pytest.approx(expected, rel=0.02)
    assert row["wide"].low_ms < row["wide"].ms < row["wide"].high_ms


def test_a_share_of_a_space_is_spread_over_its_kinds_windows_and_expansions():
    net = Supernet(MobileNetSpace(image_size=32, depths=(2, 2, 1, 1, 1, 1)).network())
    found = space_operators(net, ((1, 3, 32, 32),))
    taken = choose_operators(found, 0.5, seed=1)
    assert len(taken) == len(set(taken)) == -(-len(found.operators) // 2)
    assert taken == choose_operators(found, 0.5, seed=1)
    names = {op for row in found.candidates.values() for op, key in row.items() if key in taken}
    assert names == {f"k{kernel}_e{expansion}" for kernel in (3, 5, 7) for expansion in (3, 6)}
    assert sorted(choose_operators(found, 1.0, seed=0)) == sorted(found.operators)


def test_half_of_a_space_measured_gives_the_table_of_the_whole():
    width = (8, 12, 20)
    net = nn.Sequential(*(
        Choice(**{f"k{k}_e{e}": block(a, a * e, b, k, 1) for k in (3, 5, 7) for e in (3, 6)})
        for a, b in zip(width, (*width[1:], 24), strict=True)
    ))  # fmt: skip
    found = space_operators(Supernet(net), ((1, 8, 14, 14),))
    true = {
        key: made_up_ms(kernels(operator.module, [torch.zeros(shape) for shape in operator.shapes]))
        for key, operator in found.operators.items()
    }
    taken = choose_operators(found, 0.5, seed=0)
    table = complete_table(found, {key: Interval(true[key], true[key], true[key]) for key in taken}, {})
    errors = {e.operator: e.ms / true[e.operator] - 1 for row in table.entries.values() for e in row.values()}
    assert [errors[key] for key in taken] == [0.0] * len(taken)
    assert np.abs(list(errors.values())).max() < 0.05


def test_every_kind_of_kernel_is_measured_whatever_the_share():
    dense = {f"c{i}": nn.Conv2d(8, 8, 2 * i + 1, 1, i) for i in range(9)}
    grouped = {f"g{g}{k}": nn.Conv2d(8, 8, k, 1, k // 2, groups=g) for g in (2, 4, 8) for k in (3, 5)}
    odd = nn.Sequential(Choice(pool=nn.AvgPool2d(3, 1, 1), **dense, **grouped))
    found = space_operators(Supernet(odd), ((1, 8, 20, 20),))
    pooled = found.candidates["0"]["pool"]
    assert pooled in choose_operators(found, 0.01, seed=0)
    assert len(choose_operators(found, 0.01, seed=0)) >= 10


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5])
def test_a_share_out_of_range_is_one_clear_error(share):
    net = nn.Sequential(Choice(thin=nn.Conv2d(4, 4, 1), full=nn.Conv2d(4, 4, 3, padding=1)))
    with pytest.raises(ProxylessError, match="share of operators"):
        choose_operators(space_operators(Supernet(net), ((1, 4, 8, 8),)), share, seed=0)


def test_importing_the_model_loads_no_heavy_library():
    code = (
        "import sys; import proxyless.latency.predict.model, proxyless.latency.predict.selection;"
        "assert not {'sklearn', 'scipy.optimize', 'onnxruntime', 'timm'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
