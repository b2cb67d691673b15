"""The gates of a choice in the graph: what makes one backward pass yield the gradients of all of them.

The output of a choice is that of its active candidate. The backward pass runs the other candidates that an update looks
at one after the other, without a graph, for dL/dg_j = sum over the output of dL/dm * o_j(x). So a step keeps what one
path keeps, however many candidates there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from proxyless.choice import Choice, Gating, Zero
from proxyless.errors import ContractError
from proxyless.modules import replay
from proxyless.modules.inputs import Inputs


class Ran:
    """Which choices ran, by row: where the gates receive a gradient, and where not."""

    def __init__(self) -> None:
        self.with_gradient: set[int] = set()
        self.without: set[int] = set()

    def check(self, names: Sequence[str]) -> None:
        """Make sure that every choice that ran has gates with a gradient.

        Raises:
            ContractError: names one that has none.
        """
        for row in sorted(self.without - self.with_gradient):
            raise ContractError(
                f"choice {names[row]} runs without a gradient in an architecture step: leave no_grad away, and give"
                " torch.utils.checkpoint use_reentrant=False"
            )


class Noting:
    """Notes which choices ran: one nested in a candidate that was not active has no gradient and must not move."""

    def __init__(self, inner: Gating, row: int, ran: Ran) -> None:
        self.inner, self.row, self.ran = inner, row, ran

    def mix(self, choice: Choice, inputs: tuple[Any, ...], **keywords: Any) -> Tensor:
        """As the inner gating does."""
        if not replay.in_backward():  # which runs again what is known, or is not on the path
            (self.ran.with_gradient if torch.is_grad_enabled() else self.ran.without).add(self.row)
        return self.inner.mix(choice, inputs, **keywords)


class Gates:
    """The gating of one choice.

    Args:
        gates: (m,), 1 for the active candidate and 0 for the others.
        support: indices of the m candidates that are looked at.
        active: position of the active one among them.
    """

    def __init__(self, gates: Tensor, support: Sequence[int], active: int) -> None:
        self.gates, self.support, self.active = gates, tuple(support), active

    def mix(self, choice: Choice, inputs: tuple[Any, ...], **keywords: Any) -> Tensor:
        """The output of the active candidate."""
        given = Inputs.of(inputs, keywords)
        output = choice.run(self.support[self.active], given)
        mixed: Tensor = _Mixed.apply(self.gates, output, self, choice, given.emptied(), *given.tensors)
        return mixed


class _Mixed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, output: Tensor, mixing: Gates, choice: Choice, inputs: Inputs, *tensors: Tensor
    ) -> Tensor:
        ctx.save_for_backward(output, *tensors)
        ctx.mixing, ctx.choice, ctx.inputs = mixing, choice, inputs
        ctx.autocast = _autocast(output)
        return output.clone()  # a view could not be changed in place by what follows, such as ReLU(inplace=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        output, *tensors = ctx.saved_tensors
        mixing, choice = ctx.mixing, ctx.choice
        gate_gradient = torch.zeros_like(mixing.gates)
        inputs = ctx.inputs.filled(tensors)
        # The backward pass may run after the forward pass's autocast has ended.
        changed = _autocast(output) != ctx.autocast
        with torch.no_grad(), torch.autocast(**ctx.autocast) if changed else nullcontext():
            for position, index in enumerate(mixing.support):
                if isinstance(choice.candidate(index), Zero):
                    continue  # its output is zero, and so is the gradient of its gate
                candidate = output if position == mixing.active else choice.run(index, inputs)
                if candidate.shape != output.shape:
                    shapes = {choice.operations[index]: tuple(candidate.shape)}
                    shapes[choice.operations[mixing.support[mixing.active]]] = tuple(output.shape)
                    raise ContractError(f"candidates of choice {choice.name} return different shapes: {shapes}")
                gate_gradient[position] = _inner(gradient, candidate)
        return gate_gradient, gradient, None, None, None, *(None for _ in tensors)


def _autocast(output: Tensor) -> dict[str, Any]:
    """The present autocast on the device of ``output``, as ``torch.autocast`` takes it."""
    kind = output.device.type
    return {"device_type": kind, "enabled": torch.is_autocast_enabled(kind), "dtype": torch.get_autocast_dtype(kind)}


def _inner(one: Tensor, other: Tensor) -> Tensor:
    """The sum of products, in float32 at least: the gates of alike candidates differ by little."""
    exact = torch.promote_types(torch.promote_types(one.dtype, other.dtype), torch.float32)
    return (one.to(exact) * other.to(exact)).sum()


def gradients(loss: Tensor, *variables: Tensor) -> list[Tensor]:
    """Gradient of ``loss`` with respect to each of ``variables``, 0 for one on which it does not depend.

    Raises:
        ContractError: a part of the network is checkpointed in the way that allows no gradients of chosen tensors.
    """
    try:
        found = torch.autograd.grad(loss, variables, allow_unused=True)
    except RuntimeError as error:
        if "use_reentrant" not in str(error):
            raise
        raise ContractError(
            "an architecture step cannot go back through torch.utils.checkpoint with use_reentrant=True: give it"
            " use_reentrant=False"
        ) from error
    return [torch.zeros_like(v) if g is None else g for v, g in zip(variables, found, strict=True)]
