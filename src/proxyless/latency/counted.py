"""MACs and parameters as costs: tables like those of latency, counted and not measured."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from proxyless.architecture import derive
from proxyless.choice import settled
from proxyless.errors import ContractError
from proxyless.inputs import Inputs
from proxyless.inspection import Runs, inspect
from proxyless.latency.operators import count_macs, example_inputs
from proxyless.latency.table import CostTable
from proxyless.supernet import Supernet


def macs_table(supernet: Supernet, input_shape: tuple[int, ...]) -> CostTable:
    """Multiply-accumulates of one forward pass of a single input of ``input_shape`` (without the batch).

    Every run of a choice counts.

    Raises:
        ContractError: the MACs of a choice depend on what others take; names it.
    """
    inputs, runs = _runs(supernet, input_shape)
    rows = {
        name: {
            operation: float(sum(count_macs(run.bound(settled(choice, index)), run.tensors) for run in runs[name]))
            for index, operation in enumerate(choice.operations)
        }
        for name, choice in supernet.choices.items()
    }

    def whole(path: list[int]) -> float:
        return float(count_macs(derive(supernet, path), inputs))

    first = [0] * len(rows)
    table = CostTable("MACs", whole(first) - sum(next(iter(row.values())) for row in rows.values()), rows)
    last = [len(choice) - 1 for choice in supernet.choices.values()]
    if whole(last) != table.of_path(last):
        for row, name in enumerate(rows):
            changed = [*first[:row], last[row], *first[row + 1 :]]
            if whole(changed) != table.of_path(changed):
                raise ContractError(f"the MACs outside of choice {name} depend on the candidate that it takes")
        raise ContractError("the MACs of the network are not a sum over its choices")
    return table


def parameters_table(supernet: Supernet, input_shape: tuple[int, ...]) -> CostTable:
    """Number of parameters; ``input_shape`` is that of one input, without the batch.

    A parameter counts once, in however many places it stands and however often it is run.

    Raises:
        ContractError: whether a parameter is part of the network depends on more than one choice; names them.
    """
    _runs(supernet, input_shape)
    held = {
        name: [set(choice.candidate(index).parameters()) for index in range(len(choice))]
        for name, choice in supernet.choices.items()
    }
    fixed = _outside(supernet)
    for row in held.values():  # what every candidate of a choice holds is part of every network
        fixed |= set.intersection(*row)
    owner: dict[nn.Parameter, str] = {}
    for name, row in held.items():
        for parameter in set.union(*row) - fixed:
            if owner.setdefault(parameter, name) != name:
                raise ContractError(
                    f"choices {owner[parameter]} and {name} have candidates that share parameters: their number is no"
                    " sum over choices, so no table can hold it"
                )
    rows = {
        name: {
            operation: float(sum(parameter.numel() for parameter in parameters - fixed))
            for operation, parameters in zip(supernet.choices[name].operations, row, strict=True)
        }
        for name, row in held.items()
    }
    return CostTable("parameters", float(sum(parameter.numel() for parameter in fixed)), rows)


def _runs(supernet: Supernet, input_shape: tuple[int, ...]) -> tuple[tuple[Tensor, ...], Runs]:
    """A single example input of the network, and what its choices are given then."""
    like = next((parameter for parameter in supernet.weights() if parameter.is_floating_point()), torch.zeros(()))
    inputs = tuple(x.to(like.device, like.dtype) for x in example_inputs(((1, *input_shape),)))
    return inputs, inspect(supernet.network, supernet.choices, Inputs(inputs)).always()


def _outside(supernet: Supernet) -> set[nn.Parameter]:
    """Parameters that the network holds outside of its choices, whether or not a candidate holds them too."""
    inside = set(supernet.choices.values())
    found: set[nn.Parameter] = set()
    waiting: list[nn.Module] = [supernet.network]
    seen: set[nn.Module] = set()
    while waiting:
        module = waiting.pop()
        if module in inside or module in seen:
            continue
        seen.add(module)
        found |= set(module.parameters(recurse=False))
        waiting += module.children()
    return found
