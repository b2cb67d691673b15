"""What the networks of a space cost: a fixed part plus one entry for each chosen candidate, linear in the gates.

Because a cost is linear in the binary gates, its expectation under the path probabilities, the gradient of that
expectation (paper, section 3.3) and the derivation of a network under a budget are all exact. MACs and parameters are
counted here; latencies, which are measured, are a cost of the same kind (:mod:`proxyless.latency.table`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from proxyless.architecture import Architecture, derive, indices
from proxyless.choice import settled
from proxyless.errors import ContractError, ProxylessError
from proxyless.inspection import Runs, inspect
from proxyless.modules.inputs import Inputs
from proxyless.modules.operators import count_macs, example_inputs
from proxyless.supernet import Supernet

Rows = Mapping[str, Mapping[str, float]]
"""A number for each candidate, by choice, in the order of the supernet's choices and candidates."""


class Cost(ABC):
    """A cost that is linear in the gates, in ``unit``."""

    unit: str

    @property
    @abstractmethod
    def fixed(self) -> float:
        """Cost of what every network of the space contains."""

    @property
    @abstractmethod
    def rows(self) -> Rows:
        """Cost of each candidate."""

    def matrix(self) -> Tensor:
        """The rows padded with zeros to (choices, most candidates of a choice), float64; not to be written to."""
        return self._matrix

    @cached_property
    def _matrix(self) -> Tensor:
        # Every architecture step asks for it.
        rows = [list(row.values()) for row in self.rows.values()]
        widest = max(len(row) for row in rows)
        return torch.tensor([row + [0.0] * (widest - len(row)) for row in rows], dtype=torch.float64)

    def expected(self, probabilities: Tensor) -> Tensor:
        """E[cost] = fixed + sum_ij p_ij F(o_ij), a differentiable scalar (paper, Eq. 6).

        Args:
            probabilities: (choices, most candidates of a choice), 0 at the padding.
        """
        return self.fixed + (probabilities * self.matrix().to(probabilities)).sum()

    def of_path(self, path: Sequence[int]) -> float:
        """Cost of the network that takes candidate ``path[i]`` at choice i."""
        return self.fixed + sum(list(row.values())[i] for row, i in zip(self.rows.values(), path, strict=True))

    def of(self, architecture: Architecture) -> float:
        """Cost of an architecture; one that has other choices or candidates is a :class:`ProxylessError`."""
        return self.of_path(indices(architecture.choices, {name: list(row) for name, row in self.rows.items()}))

    def smallest(self) -> float:
        """Cost of the cheapest network of the space."""
        return self.fixed + sum(min(row.values()) for row in self.rows.values())

    def largest(self) -> float:
        """Cost of the dearest network of the space."""
        return self.fixed + sum(max(row.values()) for row in self.rows.values())

    def check(self, supernet: Supernet) -> None:
        """Make sure that the rows are the candidates of ``supernet``, in order.

        Raises:
            ProxylessError: naming the first choice or candidate that is missing here or unknown there.
        """
        rows = {name: tuple(row) for name, row in self.rows.items()}
        for name, choice in supernet.choices.items():
            if name not in rows:
                raise ProxylessError(f"the {self.unit} table has no choice {name}: measure this space again")
            for operation in choice.operations:
                if operation not in rows[name]:
                    raise ProxylessError(f"the {self.unit} table has no candidate {operation} of choice {name}")
            if rows[name] != choice.operations:
                raise ProxylessError(f"the {self.unit} table lists other candidates or another order for choice {name}")
        if list(rows) != list(supernet.choices):
            raise ProxylessError(f"the {self.unit} table is of another space: it lists other choices or another order")


@dataclass(frozen=True)
class CostTable(Cost):
    """A cost given as numbers: MACs, parameters, energy, a latency somebody else measured.

    Args:
        unit: of all numbers.
        base: what no choice changes.
        entries: cost of each candidate by choice.

    Example:
        >>> from proxyless import Architecture, CostTable
        >>> cost = CostTable("ms", 0.5, {"first": {"k3": 1.0, "k5": 2.0}, "second": {"k3": 3.0, "skip": 0.0}})
        >>> cost.of(Architecture({"first": "k5", "second": "skip"}))
        2.5
        >>> cost.smallest(), cost.largest()
        (1.5, 5.5)
    """

    unit: str
    base: float
    entries: Rows

    @property
    def fixed(self) -> float:
        return self.base

    @property
    def rows(self) -> Rows:
        return self.entries


def macs_table(supernet: Supernet, input_shape: tuple[int, ...]) -> CostTable:
    """Multiply-accumulates (MACs) of one forward pass of a single input.

    Every run of a choice counts.

    Args:
        supernet: the network with choices.
        input_shape: of one input, without the batch dimension.

    Raises:
        ContractError: the MACs of a choice depend on what others take; names it.

    Example:
        >>> from torch import nn
        >>> from proxyless import Choice, Supernet, Zero
        >>> net = nn.Sequential(Choice(linear=nn.Linear(4, 4), skip=Zero(), shortcut=True), nn.Linear(4, 2))
        >>> table = macs_table(Supernet(net), (4,))
        >>> table.fixed, table.rows
        (8.0, {'0': {'linear': 16.0, 'skip': 0.0}})
        >>> table.smallest(), table.largest()
        (8.0, 24.0)
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
    """Number of parameters.

    A parameter counts once, in however many places it stands and however often it is run.

    Args:
        supernet: the network with choices.
        input_shape: of one input, without the batch dimension.

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
