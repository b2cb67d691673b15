"""A choice: one edge of a network that holds candidate operations and runs one of them (paper, section 3.1)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn


class Zero(nn.Module):
    """The candidate that computes nothing: its output is zero.

    In a :class:`Choice` with a shortcut it means "skip this block", so that depth is searched as well. It costs
    0 ms and 0 MACs, and may only stand where the other candidates keep the shape of their input.
    """

    def forward(self, x: Tensor, *rest: Tensor) -> Tensor:
        """Zeros of the shape of ``x``."""
        return torch.zeros_like(x)


class Gating(Protocol):
    """How a choice mixes its candidates while architecture gradients are computed; an update rule brings its own."""

    def mix(self, choice: Choice, inputs: tuple[Tensor, ...]) -> Tensor:
        """The output of the active candidate, connected to the gates so that they receive a gradient."""
        ...


class Choice(nn.Module):
    """One edge with N candidate operations, of which the active one runs (paper, Eqs. 2 and 3).

    ``Choice(k3=MBConv(24, 24, kernel=3), k5=MBConv(24, 24, kernel=5), skip=Zero(), shortcut=True)`` computes
    ``x + candidate(x)``; without ``shortcut`` it computes ``candidate(x)``. With the shortcut held here and not in
    the candidates, the output of ``Zero`` is truly zero, and its gate gradient with it.

    Args:
        candidates: the operations by name, in order. Any modules that take the same tensors and return one tensor of
            the same shape. They must not change their input in place: other candidates may be run on it.
        shortcut: add the first input to the output.

    Raises:
        ValueError: fewer than two candidates, or a name that PyTorch's modules use themselves, such as ``double``.

    Attributes:
        active: index of the candidate that runs; plain state, set by the supernet.
        gating: set by an architecture update for the length of one forward pass, otherwise None.
    """

    def __init__(self, *, shortcut: bool = False, **candidates: nn.Module) -> None:
        super().__init__()
        if len(candidates) < 2:
            raise ValueError(f"a Choice needs at least two candidates, got {sorted(candidates) or 'none'}")
        taken = [name for name in candidates if hasattr(nn.ModuleDict, name)]
        if taken:
            raise ValueError(f"a candidate cannot be called {taken[0]!r}: PyTorch's modules have a method of that name")
        self.candidates = nn.ModuleDict(candidates)
        self.operations: tuple[str, ...] = tuple(candidates)
        self.shortcut = shortcut
        self.active = 0
        self.gating: Gating | None = None

    def __len__(self) -> int:
        return len(self.operations)

    def candidate(self, index: int) -> nn.Module:
        """The candidate operation at ``index``."""
        return self.candidates[self.operations[index]]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Run the active candidate on ``inputs``, which it must accept; the shortcut adds the first of them."""
        if self.gating is not None:
            mixed = self.gating.mix(self, inputs)
        else:
            candidate = self.candidate(self.active)
            if self.shortcut and isinstance(candidate, Zero):
                return inputs[0]
            mixed = candidate(*inputs)
        return inputs[0] + mixed if self.shortcut else mixed

    def extra_repr(self) -> str:
        return f"shortcut={self.shortcut}, active={self.operations[self.active]!r}"


class Residual(nn.Module):
    """``x + operation(x)``: what is left of a choice with a shortcut once its candidate is fixed."""

    def __init__(self, operation: nn.Module) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, x: Tensor, *rest: Tensor) -> Tensor:
        """The sum of the first input and the operation's output."""
        return x + self.operation(x, *rest)


def settled(choice: Choice, index: int) -> nn.Module:
    """The ordinary module that computes what ``choice`` computes with candidate ``index`` active (not a copy)."""
    candidate = choice.candidate(index)
    if not choice.shortcut:
        return candidate
    return nn.Identity() if isinstance(candidate, Zero) else Residual(candidate)
