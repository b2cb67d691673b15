"""Weight gradients of wide depthwise convolutions in strips: the same gradients, and nothing else is changed."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from proxyless import Choice, Supernet
from proxyless.modules import depthwise
from proxyless.modules.copying import copied
from proxyless.modules.depthwise import DepthwiseConvolution, Plan, fast_weight_gradients
from proxyless.search.gradient import AllPathUpdate, TwoPathUpdate
from proxyless.search.objective import TaskOnly

KERNELS = [(5, 5), (7, 7), (3, 5), (9, 4), (1, 6), (2, 11)]
STRIDES = [(1, 1), (2, 2), (2, 1), (1, 3)]


def pair(kernel, stride, padding, *, bias=True, channels=6, dtype=torch.float32):
    torch.manual_seed(0)
    plain = nn.Conv2d(channels, channels, kernel, stride, padding, groups=channels, bias=bias, dtype=dtype)
    strips = DepthwiseConvolution(channels, channels, kernel, stride, padding, groups=channels, bias=bias, dtype=dtype)
    strips.load_state_dict(plain.state_dict())
    return plain, strips


def gradients(conv, x, weights):
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = conv(x)
    (y * weights[..., : y.shape[2], : y.shape[3]]).sum().backward()
    return y.detach(), x.grad, conv.weight.grad, None if conv.bias is None else conv.bias.grad


@pytest.fixture
def calls(monkeypatch):
    """Counts how often strips are computed."""
    counted = []
    real = depthwise.weight_gradient
    monkeypatch.setattr(depthwise, "weight_gradient", lambda *args: (counted.append(1), real(*args))[1])
    return counted


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_outputs_are_the_same_and_gradients_those_of_autograd(kernel, stride, calls):
    for padding in ((kernel[0] // 2, kernel[1] // 2), (0, 0), (1, 3)):
        for layout in (torch.contiguous_format, torch.channels_last):
            for bias in (True, False):
                plain, strips = (
                    conv.to(memory_format=layout)
                    for conv in pair(kernel, stride, padding, bias=bias, dtype=torch.double)
                )
                x = torch.randn(3, 6, 13, 14, dtype=torch.double).to(memory_format=layout)
                weights = torch.randn(3, 6, 30, 30, dtype=torch.double)
                expected, found = gradients(plain, x, weights), gradients(strips, x, weights)
                assert torch.equal(found[0], expected[0])
                for ours, theirs in zip(found, expected, strict=True):
                    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    assert len(calls) == 12


def test_in_float32_and_in_several_chunks_too(calls, monkeypatch):
    monkeypatch.setattr(depthwise, "CHUNK_BYTES", 3 * 32 * 16 * 20 * 4)
    plain, strips = (c.to(memory_format=torch.channels_last) for c in pair((7, 7), 1, 3, channels=32))
    x = torch.randn(8, 32, 14, 14).to(memory_format=torch.channels_last)
    weights = torch.randn(8, 32, 14, 14)
    for ours, theirs in zip(gradients(strips, x, weights), gradients(plain, x, weights), strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    assert calls


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [(3, 5), (2, 7)])
def test_gradients_are_those_of_finite_differences(kernel, stride):
    conv = pair(kernel, stride, (1, 2), channels=2, dtype=torch.double)[1]
    x = torch.randn(2, 2, 6, 7, dtype=torch.double, requires_grad=True)

    def run(x, weight, bias):
        return torch.func.functional_call(conv, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(run, (x, *(p.detach().requires_grad_() for p in (conv.weight, conv.bias))))


def test_a_backward_pass_that_does_not_ask_for_the_weight_does_not_compute_its_gradient(calls):
    plain, strips = pair(5, 1, 2)
    x = torch.randn(2, 6, 8, 8, requires_grad=True)
    (found,) = torch.autograd.grad(strips(x).square().sum(), x)
    (expected,) = torch.autograd.grad(plain(x).square().sum(), x)
    assert torch.equal(found, expected)
    assert not calls


def test_a_second_differentiation_is_refused(calls):
    strips = pair(5, 1, 2)[1]
    x = torch.randn(1, 6, 8, 8, requires_grad=True)
    (first,) = torch.autograd.grad(strips(x).square().sum(), strips.weight, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        first.sum().backward()


def test_an_input_that_is_changed_before_the_backward_pass_is_noticed():
    strips = pair(5, 1, 2)[1]
    x = torch.randn(1, 6, 8, 8)
    y = strips(x)
    x.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def without_gradient(conv, x):
    with torch.no_grad():
        return conv(x)


def frozen(conv, x):
    conv.weight.requires_grad_(False)
    conv(x.requires_grad_()).sum().backward()


def autocast(conv, x):
    with torch.autocast("cpu", torch.bfloat16):
        conv(x).sum().backward()


def half(conv, x):
    conv.bfloat16()(x.bfloat16()).sum().backward()


def traced(conv, x):
    torch.jit.trace(conv, x)(x).sum().backward()


def unbatched(conv, x):
    conv(x[0]).sum().backward()


@pytest.mark.parametrize("way", [without_gradient, frozen, autocast, half, traced, unbatched])
def test_elsewhere_it_is_an_ordinary_convolution(way, calls):
    way(pair(5, 1, 2)[1], torch.randn(2, 6, 8, 8))
    assert not calls


@pytest.mark.parametrize(
    "conv",
    [
        DepthwiseConvolution(6, 6, 3, padding=1, groups=6),
        DepthwiseConvolution(6, 12, 5, padding=2, groups=6),
        DepthwiseConvolution(6, 6, 5, padding=2),
        DepthwiseConvolution(6, 6, 5, padding=2, dilation=2, groups=6),
        DepthwiseConvolution(6, 6, 5, padding="same", groups=6),
        DepthwiseConvolution(6, 6, 5, padding=2, padding_mode="circular", groups=6),
    ],
    ids=["narrow", "two outputs a channel", "dense", "dilated", "same", "circular"],
)
def test_of_other_shapes_it_is_an_ordinary_convolution(conv, calls):
    conv(torch.randn(2, 6, 8, 8)).sum().backward()
    assert conv.weight.grad is not None
    assert not calls


def test_an_export_is_that_of_an_ordinary_convolution():
    plain, strips = pair(5, 1, 2)
    x = torch.randn(2, 6, 8, 8)
    code = [torch.export.export(conv, (x,)).graph_module.code for conv in (plain, strips)]
    assert code[0] == code[1]


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.Sequential(nn.Conv2d(8, 8, 7, 2, 3, groups=8), nn.Conv2d(8, 8, 3, padding=1, groups=8)),
    )


def saved(net):
    content = io.BytesIO()
    torch.save(net.state_dict(), content)
    return content.getvalue()


def test_a_network_is_changed_in_training_only(calls):
    net = network()
    before, content, attributes = list(net.modules()), saved(net), [dict(vars(m)) for m in net.modules()]

    def train():
        with fast_weight_gradients(net, Plan(small=0, timing=lambda *_: True)):
            assert [type(part) for part in net.modules()].count(DepthwiseConvolution) == 2
            assert saved(net) == content
            net(torch.randn(2, 1, 9, 9)).sum().backward()
            assert len(calls) == 2
            net(torch.randn(2, 3, 9, 9))

    with pytest.raises(RuntimeError, match="expected input"):
        train()
    assert [id(part) for part in net.modules()] == [id(part) for part in before]
    assert DepthwiseConvolution not in map(type, net.modules())
    assert [set(vars(m)) for m in net.modules()] == [set(a) for a in attributes]


@pytest.mark.parametrize("reentrant", [True, False])
def test_what_the_backward_pass_runs_again_has_the_same_gradients(reentrant, calls):
    plain, strips = pair(5, 1, 2, dtype=torch.double)
    x = torch.randn(2, 6, 8, 8, dtype=torch.double, requires_grad=True)
    for conv in (plain, strips):
        checkpoint(conv, x, use_reentrant=reentrant).square().sum().backward()
    torch.testing.assert_close(strips.weight.grad, plain.weight.grad)
    assert len(calls) == 1


@pytest.mark.parametrize("rule", [TwoPathUpdate, AllPathUpdate])
def test_an_architecture_step_is_the_same_and_computes_no_weight_gradients(rule, calls):
    batch = torch.randn(4, 8, 9, 9), torch.randint(8, (4,))
    alphas = []
    for plan in (None, Plan(small=0, timing=lambda *_: True)):
        torch.manual_seed(0)
        k5, k7 = (nn.Conv2d(8, 8, k, padding=k // 2, groups=8, bias=False) for k in (5, 7))
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        supernet = Supernet(nn.Sequential(nn.Conv2d(8, 8, 1), Choice(k5=k5, k7=k7), head))
        with fast_weight_gradients(supernet, plan):
            rule(supernet, TaskOnly()).step(batch, nn.functional.cross_entropy)
        alphas.append(supernet.alpha.detach().clone())
    assert torch.equal(*alphas)
    assert not calls


def test_without_a_plan_a_network_stays_as_it_is():
    net = network()
    with fast_weight_gradients(net, None):
        assert DepthwiseConvolution not in map(type, net.modules())


def test_a_copy_made_meanwhile_computes_the_same():
    net = network().eval()
    x = torch.randn(2, 1, 9, 9)
    with fast_weight_gradients(net, Plan(small=0, timing=lambda *_: True)):
        copies = [copied(net), copy.deepcopy(net)]
    assert all(torch.equal(other(x), net(x)) for other in copies)


def test_each_shape_is_timed_once_and_the_decision_remembered(calls):
    net, timed, records = network(), [], []

    def timing(conv, x):
        timed.append(tuple(x.shape))
        return conv.kernel_size == (5, 5)

    with fast_weight_gradients(net, Plan({}, lambda known: records.append(dict(known)), timing, small=0)):
        for _ in range(3):
            net(torch.randn(2, 1, 9, 9)).sum().backward()
    assert timed == [(2, 8, 9, 9)] * 2
    assert len(calls) == 3
    assert records[-1] == {
        "2 x 8 x 9 x 9, kernel 5 x 5, stride 1 x 1, padding 2 x 2": True,
        "2 x 8 x 9 x 9, kernel 7 x 7, stride 2 x 2, padding 3 x 3": False,
    }
    with fast_weight_gradients(net, Plan(records[-1], lambda known: pytest.fail("decided again"), small=0)):
        net(torch.randn(2, 1, 9, 9)).sum().backward()
    assert len(calls) == 4


def test_what_is_small_is_neither_timed_nor_changed(calls):
    net = network()
    with fast_weight_gradients(net, Plan(timing=lambda *_: pytest.fail("timed"))):
        net(torch.randn(2, 1, 9, 9)).sum().backward()
    assert not calls


def test_the_timing_itself_gives_an_answer_and_draws_nothing_at_random():
    plain, _ = pair(5, 1, 2)
    state = torch.get_rng_state()
    assert depthwise.strips_are_faster(plain, torch.randn(2, 6, 8, 8, generator=torch.Generator())) in (True, False)
    assert torch.equal(torch.get_rng_state(), state)
    assert plain.weight.grad is None
