"""Finds the kernels that a runtime would launch for a module, with their dimensions, by running the module once.

They are the features of the paper's latency model (section 3.3: type, input and output feature map, kernel, stride),
and are found for any module without tracing: PyTorch shows every operator of one forward pass as it dispatches it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from proxyless.modules.modes import evaluation


class Kind(StrEnum):
    """What a kernel does, as far as runtimes have different implementations for it."""

    DENSE = "dense convolution"
    POINTWISE = "pointwise convolution"
    DEPTHWISE = "depthwise convolution"
    GROUPED = "grouped convolution"
    MATMUL = "matrix product"
    POOLING = "pooling"
    ELEMENTWISE = "elementwise operation"


@dataclass(frozen=True)
class Kernel:
    """A kernel as it is launched once, with its dimensions.

    Feature maps of other than two spatial dimensions have them multiplied into ``width``; a matrix product of
    (batch, height, in) by (in, out) has width 1.

    Args:
        kind: what it does.
        batch: images, or independent products.
        in_height, in_width, in_channels: of its first input.
        out_height, out_width, out_channels: of its output.
        kernel: size of the window, by dimension.
        stride: of the window, by dimension.
        dilation: of the window, by dimension.
        groups: that the channels are divided into.
        macs: multiply-accumulates.
        weight_bytes, input_bytes, output_bytes: read and written, once each, at the precision of the module.
    """

    kind: Kind
    batch: int
    in_height: int
    in_width: int
    in_channels: int
    out_height: int
    out_width: int
    out_channels: int
    kernel: tuple[int, ...] = (1, 1)
    stride: tuple[int, ...] = (1, 1)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1
    macs: int = 0
    weight_bytes: int = 0
    input_bytes: int = 0
    output_bytes: int = 0

    def __str__(self) -> str:
        window = "x".join(str(size) for size in self.kernel)
        return (
            f"{self.kind} {window} of {self.in_channels} x {self.in_height} x {self.in_width}"
            f" to {self.out_channels} x {self.out_height} x {self.out_width}"
        )


def kernels(module: nn.Module, inputs: Sequence[Tensor]) -> tuple[Kernel, ...]:
    """Find the kernels of one forward pass in evaluation mode.

    A sum of two feature maps is a kernel. Three things are none: a batch norm, an activation or an operation with a
    constant, which runtimes fold into the convolution or matrix product that is its only source; what depends on
    weights alone, which is computed beforehand; and a view, which costs nothing.

    Args:
        module: any module.
        inputs: what it is run on.

    Returns:
        The kernels, in the order they are run.
    """
    with evaluation(module), torch.no_grad(), _Watcher(inputs) as watcher:
        returned = module(*inputs)
    for value in tree_leaves(returned):
        if isinstance(value, Tensor):
            watcher.read(value)
    return tuple(_kernel(operation) for operation in watcher.operations if not watcher.fused(operation))


_VIEWS = frozenset(
    ("detach", "alias", "lift_fresh", "view", "_unsafe_view", "_reshape_alias", "unsqueeze", "squeeze", "expand")
) | {"clone", "contiguous"}
"""Operators that leave data where it is, and copies that only the memory layouts of PyTorch need."""

_NORMS = frozenset(("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"))
_UNTAGGED = frozenset(("hardswish", "_prelu_kernel", "prelu"))
"""Activations that PyTorch does not list among the pointwise operators."""

_SHAPE_ONLY = frozenset(("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full"))
"""Operators whose result depends on the shape of their input alone, and so is a constant."""

_POOLS = ("pool", "mean", "sum", "amax", "amin", "max.dim", "min.dim")


@dataclass(eq=False)
class _Operation:
    """One operator that was run on what derives from the inputs: its arguments, live inputs, weights and outputs."""

    func: Any
    arguments: tuple[Any, ...]
    live: list[Tensor]
    weights: list[Tensor]
    outputs: list[Tensor]
    macs: int
    sources: list[_Operation | None]
    readers: int = 0

    @property
    def name(self) -> str:
        return str(self.func.overloadpacket.__name__).removesuffix("_")


class _Watcher(TorchDispatchMode):
    """Notes each operator that reads what derives from the inputs, and which operator made what it reads."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.operations: list[_Operation] = []
        self.makers: dict[int, _Operation | None] = {id(tensor): None for tensor in inputs}
        self.kept: list[Tensor] = list(inputs)  # so that no id is given to a second tensor

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [value for value in tree_leaves((args, kwargs or {})) if isinstance(value, Tensor)]
        live = [tensor for tensor in tensors if id(tensor) in self.makers]
        returned = [value for value in tree_leaves(result) if isinstance(value, Tensor)]
        if not live or not returned or func.overloadpacket.__name__ in _SHAPE_ONLY:
            return result
        if func.overloadpacket.__name__ in _VIEWS:
            self._made(returned, self.makers[id(live[0])])
            return result
        if isinstance(result, tuple):
            returned = returned[:1]  # the others are for the backward pass
        count = flop_registry.get(func.overloadpacket)
        operation = _Operation(
            func,
            args,
            list({id(tensor): tensor for tensor in live}.values()),
            [tensor for tensor in tensors if id(tensor) not in self.makers],
            returned,
            count(*args, **(kwargs or {}), out_val=result) // 2 if count else 0,
            [self.read(tensor) for tensor in live],
        )
        self.operations.append(operation)
        self._made(returned, operation)
        return result

    def read(self, tensor: Tensor) -> _Operation | None:
        """Return the operation that made ``tensor``, and note one more reader; None for inputs and constants."""
        maker = self.makers.get(id(tensor))
        if maker is not None:
            maker.readers += 1
        return maker

    def fused(self, operation: _Operation) -> bool:
        """Say whether it is folded into the convolution or matrix product before, whose result nothing else reads."""
        if operation.macs or len(operation.sources) != 1 or not _pointwise(operation):
            return False
        source = operation.sources[0]
        return source is not None and source.readers == 1 and (source.macs > 0 or self.fused(source))

    def _made(self, tensors: Sequence[Tensor], maker: _Operation | None) -> None:
        for tensor in tensors:
            self.makers[id(tensor)] = maker
            self.kept.append(tensor)


def _pointwise(operation: _Operation) -> bool:
    tagged = torch.Tag.pointwise in operation.func.tags
    known = tagged or operation.name in _NORMS or operation.name in _UNTAGGED
    return known and operation.outputs[0].shape == operation.live[0].shape


def _kernel(operation: _Operation) -> Kernel:
    source, made = operation.live[0], operation.outputs[0]
    batch, in_channels, in_height, in_width = _feature_map(source.shape)
    _, out_channels, out_height, out_width = _feature_map(made.shape)
    kind = Kind.ELEMENTWISE
    window: dict[str, Any] = {}
    if operation.name in ("convolution", "_convolution"):
        weight, stride, dilation, groups = (operation.arguments[i] for i in (1, 3, 5, 8))
        window = {"kernel": tuple(weight.shape[2:]), "stride": tuple(stride), "dilation": tuple(dilation)}
        kind, window["groups"] = _convolution(tuple(weight.shape[2:]), groups, in_channels), groups
    elif operation.macs:
        kind = Kind.MATMUL
        batch, in_height, in_channels = _matrix(source.shape)
        _, out_height, out_channels = _matrix(made.shape)
        in_width = out_width = 1
    elif any(part in f"{operation.name}.{operation.func._overloadname}" for part in _POOLS):
        kind = Kind.POOLING
        window = _pool_window(operation, (in_height, in_width), (out_height, out_width))
    return Kernel(
        kind,
        batch,
        in_height,
        in_width,
        in_channels,
        out_height,
        out_width,
        out_channels,
        **window,
        macs=operation.macs,
        weight_bytes=_bytes(operation.weights),
        input_bytes=_bytes(operation.live),
        output_bytes=_bytes(operation.outputs),
    )


def _convolution(kernel: tuple[int, ...], groups: int, channels: int) -> Kind:
    if groups == 1:
        return Kind.POINTWISE if math.prod(kernel) == 1 else Kind.DENSE
    return Kind.DEPTHWISE if groups == channels else Kind.GROUPED


def _pool_window(operation: _Operation, size: tuple[int, int], out: tuple[int, int]) -> dict[str, Any]:
    """Return window and stride as given; for a pooling to a fixed size and a mean, as they follow from the sizes."""
    arguments = operation.arguments
    if "adaptive" not in operation.name and operation.name.startswith(("avg_pool", "max_pool")):
        window = tuple(arguments[1])
        return {"kernel": window, "stride": tuple(arguments[2]) if len(arguments) > 2 and arguments[2] else window}
    window = tuple(math.ceil(a / b) for a, b in zip(size, out, strict=True))
    return {"kernel": window, "stride": window}


def _feature_map(shape: Sequence[int]) -> tuple[int, int, int, int]:
    """Return (batch, channels, height, width) of a tensor of any number of dimensions."""
    batch, channels, height, *rest = [*shape, *[1] * max(0, 3 - len(shape))]
    return batch, channels, height, math.prod(rest)


def _matrix(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return (batch, rows, columns) of a tensor of any number of dimensions."""
    *batch, rows, columns = [*[1] * max(0, 2 - len(shape)), *shape]
    return math.prod(batch), rows, columns


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
