"""Wide depthwise convolutions whose weight gradients are computed faster on a CPU, in training only.

oneDNN computes the weight gradient of a depthwise convolution fast only for kernels of at most three columns. A wider
kernel is therefore divided into strips of three columns. The gradient of a strip is that of a convolution whose input
begins some columns further to the right. All strips read one copy of the input with its padding, from different
positions. The result is exact up to the order of sums.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d

Pair = tuple[int, int]

STRIP = 3
"""Most columns of a kernel for which oneDNN is fast."""
CHUNK_BYTES = 4 * 2**20
"""Padded input that is computed on at a time, so that the strips find it in a cache."""
SMALL = 2**19
"""Convolutions of fewer input values stay as they are: there is little to gain, and no timing can be trusted."""
MARGIN = 1.15
"""How many times as fast the strips must be in the timing to be used."""
TIMED_IMAGES = 16
"""Most images of a batch in the timing."""


def weight_gradient(x: Tensor, gradient: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
    """Gradient of the weight of a depthwise convolution with more than three columns, (channels, 1, *kernel).

    Args:
        x: input, (images, channels, height, width).
        gradient: of the output, (images, channels, output height, output width).
        kernel: rows and columns.
        stride: down and to the right.
        padding: zeros on each side, vertically and horizontally.
    """
    images, channels, height, width = x.shape
    above, left = padding
    rows, columns = height + 2 * above, width + 2 * left
    out_rows, out_columns = gradient.shape[2:]
    wide = (columns - STRIP) // stride[1] + 1  # of the output of a strip; what it has more than the convolution's is 0
    last = kernel[1] - STRIP
    starts = [*range(0, last, STRIP), last]  # the last strip may overlap the one before it
    per_image = rows * columns * channels
    strides = (per_image, 1, columns * channels, channels)
    chunk = max(1, min(images, CHUNK_BYTES // (per_image * x.element_size())))
    # The zeros around the input are in the copy: where oneDNN adds more than two rows of them itself, it is slow again.
    # The strip that begins furthest to the right reads a little beyond the last row.
    flat = x.new_zeros(chunk * per_image + last * channels)
    inside = flat[: chunk * per_image].view(chunk, rows, columns, channels)
    inside = inside[:, above : above + height, left : left + width]
    gradients = gradient.new_zeros(chunk, out_rows, wide, channels)
    weight = x.new_empty(channels, 1, kernel[0], STRIP)
    sums: dict[int, Tensor] = {}
    for first in range(0, images, chunk):
        some = min(chunk, images - first)
        inside[:some].copy_(x[first : first + some].permute(0, 2, 3, 1))
        gradients[:some, :, :out_columns].copy_(gradient[first : first + some].permute(0, 2, 3, 1))
        of_outputs = gradients[:some].permute(0, 3, 1, 2)
        for start in starts:
            shifted = flat.as_strided((some, channels, rows, columns), strides, start * channels)
            found = _gradients(of_outputs, shifted, weight, stride, (0, 0), wanted=[False, True, False])[1]
            sums[start] = found if start not in sums else sums[start].add_(found)
    result = x.new_empty(channels, 1, *kernel)
    for start, total in sums.items():
        result[..., start : start + STRIP] = total
    return result


class _Weight(torch.autograd.Function):
    """Takes the gradient of an output, and gives that of the weight.

    It is apart from :class:`_Output`, so that a backward pass that is not asked for the weight's gradient does not
    compute it. What it returns has the output's shape and no meaning.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor, stride: Pair, padding: Pair) -> Tensor:
        ctx.save_for_backward(x)
        ctx.geometry = tuple(weight.shape[2:]), stride, padding
        sides = zip(x.shape[2:], *ctx.geometry, strict=True)
        shape = [(side + 2 * border - window) // step + 1 for side, window, step, border in sides]
        return x.new_zeros(()).expand(*x.shape[:2], *shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return weight_gradient(x, gradient, *ctx.geometry), None, None, None


class _Output(torch.autograd.Function):
    """The convolution; its backward pass hands the gradient of the output on to :class:`_Weight`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, path: Tensor, stride: Pair, padding: Pair
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = stride, padding
        return conv2d(x, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_input = of_bias = None
        if ctx.needs_input_grad[0]:
            of_input = _gradients(gradient, x, weight, *ctx.geometry, wanted=[True, False, False])[0]
        if ctx.needs_input_grad[2]:  # not by the library, which would compute the weight's as well
            of_bias = gradient.sum(dim=(0, 2, 3))
        return of_input, None, of_bias, gradient, None, None


def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, *, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of input, weight and bias as PyTorch computes them."""
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, (1, 1), False, (0, 0), len(weight), wanted
    )
    return found


@torch.no_grad()
def strips_are_faster(conv: nn.Conv2d, x: Tensor, repeats: int = 3) -> bool:
    """Time both ways in turn on some images of ``x``, and say whether strips are clearly faster."""
    x, weight = x[:TIMED_IMAGES].detach(), conv.weight.detach()
    stride, padding = _pair(conv.stride), _pair(conv.padding)
    gradient = conv2d(x, weight, None, stride, padding, groups=len(weight))
    ways: list[Callable[[], object]] = [
        lambda: _gradients(gradient, x, weight, stride, padding, wanted=[False, True, False]),
        lambda: weight_gradient(x, gradient, _pair(conv.kernel_size), stride, padding),
    ]
    seconds: list[list[float]] = [[], []]
    for _ in range(repeats + 1):
        for way, times in zip(ways, seconds, strict=True):
            start = time.perf_counter()
            way()
            times.append(time.perf_counter() - start)
    plain, strips = (min(times[1:]) for times in seconds)  # the first call of each also prepares it
    return strips * MARGIN < plain


def _pair(sizes: Any) -> Pair:
    height, width = sizes
    return int(height), int(width)


@dataclass
class Plan:
    """Decides by a short timing which convolutions have their weight gradients computed in strips, and remembers it.

    A sum in another order has other last bits. So what continues a training must be given what was decided before.

    Args:
        known: what is decided already, by the description of the convolution and of its input.
        decided: called with all that is known after each decision.
        timing: says whether strips are faster for (convolution, input).
        small: convolutions with fewer input values than this are left as they are.
    """

    known: dict[str, bool] = field(default_factory=dict)
    decided: Callable[[Mapping[str, bool]], None] = lambda known: None
    timing: Callable[[nn.Conv2d, Tensor], bool] = strips_are_faster
    small: int = SMALL

    def strips(self, conv: nn.Conv2d, x: Tensor) -> bool:
        """Say whether the weight gradient of ``conv`` for an input such as ``x`` is to be computed in strips."""
        if x.numel() < self.small:
            return False
        name = described(conv, x)
        if name not in self.known:
            self.known[name] = self.timing(conv, x)
            self.decided(self.known)
        return self.known[name]


def described(conv: nn.Conv2d, x: Tensor) -> str:
    """A convolution and its input, as ``64 x 96 x 14 x 14, kernel 5 x 5, stride 1 x 1, padding 2 x 2``."""
    parts = {"": x.shape, "kernel ": conv.kernel_size, "stride ": conv.stride, "padding ": conv.padding}
    return ", ".join(name + " x ".join(map(str, sizes)) for name, sizes in parts.items())


class DepthwiseConvolution(nn.Conv2d):
    """A depthwise convolution whose weight gradient may be computed in strips; otherwise as :class:`torch.nn.Conv2d`.

    Strips are for the CPU, in float32 or float64. Anywhere else, under autocast, while it is traced, compiled or
    exported, and where no gradient of the weight is wanted, it does what its base class does. It can be differentiated
    once only.

    Attributes:
        plan: decides for which inputs strips are used. None: for all.
    """

    plan: Plan | None = None

    def forward(self, input: Tensor) -> Tensor:
        """The convolution of ``input``, (images, channels, height, width)."""
        if not self._in_strips(input):
            return super().forward(input)
        geometry = _pair(self.stride), _pair(self.padding)
        path = _Weight.apply(self.weight, input.detach(), *geometry)
        result: Tensor = _Output.apply(input, self.weight.detach(), self.bias, path, *geometry)
        return result

    def _in_strips(self, x: Tensor) -> bool:
        return (
            not torch.jit.is_tracing()
            and not torch.compiler.is_compiling()
            and torch.is_grad_enabled()
            and self.weight.requires_grad
            and x.device.type == self.weight.device.type == "cpu"
            and x.dtype == self.weight.dtype
            and x.dtype in (torch.float32, torch.float64)
            and x.dim() == 4
            and x.numel() > 0
            and type(x) in (Tensor, nn.Parameter)
            and not torch.is_autocast_enabled("cpu")
            and is_wide_depthwise(self)
            and (self.plan is None or self.plan.strips(self, x))
        )


def is_wide_depthwise(conv: nn.Conv2d) -> bool:
    """Say whether ``conv`` is a depthwise convolution of more than three columns, without dilation, padded by zeros."""
    return (
        conv.groups == conv.in_channels == conv.out_channels
        and conv.kernel_size[1] > STRIP
        and tuple(conv.dilation) == (1, 1)
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
    )


@contextmanager
def fast_weight_gradients(network: nn.Module, plan: Plan | None) -> Iterator[None]:
    """Meanwhile the wide depthwise convolutions of ``network`` are :class:`DepthwiseConvolution`; afterwards as before.

    They stay the same objects with the same weights, to which others may hold references, and become of another class.

    Args:
        network: changed in place, meanwhile.
        plan: what is computed in strips; None leaves the network as it is.
    """
    found = [part for part in network.modules() if type(part) is nn.Conv2d and is_wide_depthwise(part)]
    changed = [] if plan is None else found
    for part in changed:
        part.__class__ = DepthwiseConvolution
        part.plan = plan  # type: ignore[assignment]
    try:
        yield
    finally:
        for part in changed:
            del part.plan
            part.__class__ = nn.Conv2d
