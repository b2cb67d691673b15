"""What a module computes on given inputs: its MACs, and a signature by which equal operators are recognised."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import FlopCounterMode

from proxyless.modules.inputs import Shapes
from proxyless.modules.modes import evaluation

Shape = tuple[int, ...]

_FREE = ("detach", "alias", "lift_fresh")  # operators of PyTorch's bookkeeping, which no runtime executes


class _Recorder(TorchDispatchMode):
    """Writes one line for each operator: its name, its plain arguments and which earlier tensors it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.numbers: dict[int, int] = {}
        self.kept: list[Tensor] = []  # so that no id is given to a second tensor

    def _write(self, value: Any) -> str:
        if not isinstance(value, Tensor):
            return repr(value)
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.numbers)
            self.kept.append(value)
        return f"t{self.numbers[id(value)]}:{value.dtype}:{tuple(value.shape)}"

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        inputs = tree_flatten((args, kwargs or {}))[0]
        if name in _FREE:
            for value in tree_flatten(result)[0]:
                if isinstance(value, Tensor) and isinstance(inputs[0], Tensor):
                    self._write(inputs[0])
                    self.numbers[id(value)] = self.numbers[id(inputs[0])]
                    self.kept.append(value)
            return result
        read = [self._write(value) for value in inputs]
        written = [self._write(value) for value in tree_flatten(result)[0]]
        self.lines.append(f"{name}({', '.join(read)}) -> {', '.join(written)}")
        return result


def example_inputs(shapes: Shapes, *, seed: int = 0) -> tuple[Tensor, ...]:
    """Draw standard normal tensors of the given shapes."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


def signature(module: nn.Module, inputs: Sequence[Tensor]) -> str:
    """Hash the operators that ``module`` runs on ``inputs`` in evaluation mode, with shapes, types and data flow.

    Independent of weights, names and classes: two modules with one signature do the same work.
    """
    with evaluation(module), torch.no_grad(), _Recorder() as recorder:
        module(*inputs)
    return hashlib.sha256("\n".join(recorder.lines).encode()).hexdigest()[:24]


def joined(signatures: Sequence[str]) -> str | None:
    """Join the signatures of the operators that a candidate runs one after the other; None for no operator."""
    return "+".join(signatures) or None


def parts(signatures: str | None) -> list[str]:
    """Take apart what :func:`joined` joined."""
    return signatures.split("+") if signatures else []


def count_macs(module: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Count the multiply-accumulates of convolutions and matrix products of one forward pass; no norms, no biases.

    Those inside of attention and of recurrent layers count as well.
    """
    with evaluation(module), torch.no_grad(), _taken_apart(module), _Counter(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops() // 2


class _Counter(FlopCounterMode):
    """PyTorch's counter, which leaves out products with vectors."""

    def __init__(self, **arguments: Any) -> None:
        aten = torch.ops.aten
        products = {aten.mv: _mv_flops, aten.addmv: _addmv_flops, aten.dot: _dot_flops}
        super().__init__(custom_mapping=products, **arguments)


def _mv_flops(matrix: Shape, vector: Shape, *args: Any, **kwargs: Any) -> int:
    return 2 * matrix[0] * matrix[1]


def _addmv_flops(bias: Shape, matrix: Shape, vector: Shape, *args: Any, **kwargs: Any) -> int:
    return 2 * matrix[0] * matrix[1]


def _dot_flops(one: Shape, other: Shape, *args: Any, **kwargs: Any) -> int:
    return 2 * one[0]


@contextmanager
def _taken_apart(module: nn.Module) -> Iterator[None]:
    """Let attention and recurrent layers run as single products, which the counter sees.

    As whole operators of a backend they would hide what they compute.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), ExitStack() as stack:
            # Convolutions are slow without these libraries, and the counter sees them anyway.
            if any(isinstance(part, nn.RNNBase) for part in module.modules()):
                stack.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")  # of what other processors could do
                stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def count_parameters(module: nn.Module) -> int:
    """Count the parameters; buffers do not count."""
    return sum(parameter.numel() for parameter in module.parameters())
