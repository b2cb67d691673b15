"""A choice: one edge of a network that holds candidate operations and runs one of them (paper, section 3.1)."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from proxyless.errors import ContractError, first_line
from proxyless.modules import replay
from proxyless.modules.inputs import Inputs, first_tensor


class Zero(nn.Module):
    """The candidate that computes nothing: its output is zero.

    In a :class:`Choice` with a shortcut it means "skip this block", so that depth is searched as well. It costs
    0 ms and 0 MACs, and may only stand where the other candidates keep the shape of their input.

    Example:
        >>> import torch
        >>> Zero()(torch.ones(2, 3))
        tensor([[0., 0., 0.],
                [0., 0., 0.]])
    """

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        """Zeros of the shape of the first tensor."""
        return torch.zeros_like(first_tensor(inputs, keywords))


class Gating(Protocol):
    """How a choice mixes its candidates while architecture gradients are computed; an update rule brings its own."""

    def mix(self, choice: Choice, inputs: tuple[Any, ...], **keywords: Any) -> Tensor:
        """The output of the active candidate, connected to the gates so that they receive a gradient."""
        ...


class Choice(nn.Module):
    """One edge with N candidate operations, of which the active one runs (paper, Eqs. 2 and 3).

    ``Choice(k3=MBConv(24, 24, kernel=3), k5=MBConv(24, 24, kernel=5), skip=Zero(), shortcut=True)`` computes
    ``x + candidate(x)``; without ``shortcut`` it computes ``candidate(x)``. With the shortcut held here and not in
    the candidates, the output of ``Zero`` is truly zero, and its gate gradient with it.

    Args:
        candidates: the operations by name, in order. Any modules that take the same arguments, at least one of them a
            tensor, and return one tensor of the same shape. They must not change their input in place: other
            candidates may be run on it.
        shortcut: add the first input tensor to the output.

    Raises:
        ValueError: fewer than two candidates, or a name that PyTorch's modules use themselves, such as ``double``.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> k3, k5 = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 5, padding=2)
        >>> block = Choice(k3=k3, k5=k5, skip=Zero(), shortcut=True)
        >>> block.operations
        ('k3', 'k5', 'skip')
        >>> x = torch.randn(1, 8, 6, 6)  # (batch, channels, height, width)
        >>> block(x).shape  # x + k3(x): the first candidate is active until a supernet samples another
        torch.Size([1, 8, 6, 6])
        >>> block.active = 2
        >>> bool((block(x) == x).all())
        True

    Attributes:
        active: index of the candidate that runs; plain state, set by the supernet.
        operations: names of the candidates, in order.
        name: what the supernet calls it; for messages.
        gating: set by an architecture update for the length of one forward pass, otherwise None.
        again: index of the candidate that a backward pass runs again, see :mod:`proxyless.modules.replay`.
        waiting: indices of the candidates that a backward pass has still to run again.
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
        self.name = f"of {', '.join(candidates)}"
        self.gating: Gating | None = None
        self.again: int | None = None
        self.ran = 0
        self.waiting: list[int] = []

    def __len__(self) -> int:
        return len(self.operations)

    def candidate(self, index: int) -> nn.Module:
        """The candidate operation at ``index``."""
        return self.candidates[self.operations[index]]

    def called(self, index: int) -> str:
        """What the candidate at ``index`` is called in messages."""
        return f"candidate {self.operations[index]} of choice {self.name}"

    def run(self, index: int, inputs: Inputs) -> Tensor:
        """The output of the candidate at ``index`` alone.

        Raises:
            ContractError: it does not take the arguments, changes its input in place, or returns something else
                than one tensor.
        """
        before = inputs.versions()
        called = self.called(index)
        try:
            output: Any = self.candidate(index)(*inputs.positional, **inputs.keywords)
        except TypeError as error:
            raise ContractError(
                f"{called} does not take what the choice is given ({first_line(error)}): wrap it in a module that does"
            ) from error
        if inputs.versions() != before:
            raise changes_input(called)
        if not isinstance(output, Tensor):
            raise ContractError(
                f"{called} returns a {type(output).__name__}: wrap it in a module that returns one tensor"
            )
        return output

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        """Run the active candidate on the arguments, which it must accept; the shortcut adds the first tensor."""
        given = Inputs.of(inputs, keywords)
        x = given.first(f"choice {self.name}")
        if self.gating is not None:
            mixed = self.gating.mix(self, inputs, **keywords)
        else:
            index = replay.candidate(self)
            if self.shortcut and isinstance(self.candidate(index), Zero):
                return x.clone()
            mixed = self.run(index, given)
            if not given.hold(mixed):  # else nothing is computed that has to be repeated
                replay.expect(self, index, given.tensors)
            elif not self.shortcut:
                return mixed.clone()  # so that what follows may change the output in place, whichever candidate ran
        if not self.shortcut:
            return mixed
        if mixed.shape != x.shape:
            raise ContractError(
                f"choice {self.name} adds a shortcut of shape {tuple(x.shape)} to an output of {tuple(mixed.shape)}"
            )
        return x + mixed

    def extra_repr(self) -> str:
        return f"shortcut={self.shortcut}, active={self.operations[self.active]!r}"


def changes_input(called: str) -> ContractError:
    """The error of a candidate that changes its input."""
    return ContractError(
        f"{called} changes its input in place, on which the shortcut and other candidates rely: give what changes it,"
        " an activation for one, inplace=False"
    )


class Residual(nn.Module):
    """``x + operation(x)``: what is left of a choice with a shortcut once its candidate is fixed."""

    def __init__(self, operation: nn.Module) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        """The sum of the first tensor and the operation's output."""
        x = first_tensor(inputs, keywords)
        output: Tensor = self.operation(*inputs, **keywords)
        return x + output


class Skip(nn.Identity):
    """What is left of a choice with a shortcut once its candidate is ``Zero``: the first tensor, as it is."""

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        """The first tensor."""
        return first_tensor(inputs, keywords)


def settled(choice: Choice, index: int) -> nn.Module:
    """The ordinary module that computes what ``choice`` computes with candidate ``index`` active (not a copy)."""
    candidate = choice.candidate(index)
    if not choice.shortcut:
        return candidate
    return Skip() if isinstance(candidate, Zero) else Residual(candidate)
