"""Blocks that the backward pass runs again (torch.utils.checkpoint) take the path that they took at first.

By then the path may have moved on: another one was sampled, or an architecture step came between. A supernet therefore
leaves a note in the graph of its outputs, which the backward pass meets before anything else of that forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from proxyless.errors import ContractError


class Repeated(Protocol):
    """A choice, with what it needs to run a candidate again.

    Args:
        name: of the choice.
        active: index of the candidate that is active.
        ran: index of the candidate that ran last.
        again: index of the candidate that the backward pass at work has to repeat; None where it repeats none.
        waiting: indices of the candidates that a backward pass has still to repeat.
    """

    name: str
    active: int
    ran: int
    again: int | None
    waiting: list[int]


def in_backward() -> bool:
    """Whether this is run by a backward pass."""
    return torch._C._current_graph_task_id() != -1


def candidate(choice: Repeated) -> int:
    """Index of the candidate that ``choice`` has to run: the active one, or the one of the pass that is repeated.

    Raises:
        ContractError: it is repeated, another candidate has become active, and no supernet left a note.
    """
    if torch.compiler.is_compiling():
        return choice.active
    if not in_backward():
        choice.ran = choice.active
        return choice.active
    repeated = choice.active if choice.again is None else choice.again
    if choice.again is None and {choice.ran, *choice.waiting} != {choice.active}:
        raise ContractError(
            f"choice {choice.name} is run again by a backward pass (torch.utils.checkpoint), but its path has moved on:"
            " call the Supernet itself, not its network, or go backward before the next path is set"
        )
    if repeated in choice.waiting:
        choice.waiting.remove(repeated)
    return repeated


def expect(choice: Repeated, index: int, inputs: Sequence[Tensor]) -> None:
    """Note that a backward pass will run candidate ``index`` again, where it runs inside of torch.utils.checkpoint."""
    if torch.compiler.is_compiling() or in_backward():
        return
    if torch.is_grad_enabled():
        inside = torch._C._autograd._top_saved_tensors_default_hooks(False) is not None
    else:  # use_reentrant=True: no gradients, though an input requires one
        inside = any(tensor.requires_grad for tensor in inputs)
    if inside:
        choice.waiting.append(index)


def begin(choices: Mapping[str, Repeated]) -> None:
    """Forget the notes of earlier backward passes: a new forward pass begins."""
    if not torch.compiler.is_compiling() and not in_backward():
        for choice in choices.values():
            choice.again = None
            choice.waiting.clear()


def note(choices: Mapping[str, Repeated], outputs: Any) -> None:
    """Let the backward pass through ``outputs`` repeat the present path, whatever the path is by then."""
    if torch.compiler.is_compiling() or in_backward():
        return
    path = [choice.active for choice in choices.values()]
    for output in tree_leaves(outputs):
        if isinstance(output, Tensor) and output.grad_fn is not None:
            output.register_hook(partial(_repeat, tuple(choices.values()), path))


def _repeat(choices: tuple[Repeated, ...], path: list[int], _: Tensor) -> None:
    for choice, index in zip(choices, path, strict=True):
        choice.again = index
