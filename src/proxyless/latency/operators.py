"""Finds the distinct operators among the candidates of a space, so that equal ones are measured once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from proxyless.choice import settled
from proxyless.cost import Rows
from proxyless.errors import ContractError, ProxylessError
from proxyless.inspection import inspect
from proxyless.latency.table import Entry, LatencyTable
from proxyless.latency.timing.statistics import Interval
from proxyless.modules.inputs import Inputs
from proxyless.modules.operators import example_inputs, joined, parts, signature
from proxyless.supernet import Shapes, Supernet


@dataclass(frozen=True)
class Operator:
    """A candidate operation as it is run: a module and the shapes of its inputs, batch included."""

    module: nn.Module
    shapes: Shapes

    @property
    def weight_bytes(self) -> int:
        """The size of its parameters in bytes, at their own precision."""
        return sum(p.numel() * p.element_size() for p in self.module.parameters())


@dataclass(frozen=True)
class SpaceOperators:
    """The distinct operators of a space, and which candidate is which of them.

    Args:
        operators: by signature, see :func:`proxyless.modules.operators.signature`.
        candidates: signature of each candidate by choice. A candidate that runs several times has the signatures of all
            its runs, see :func:`proxyless.modules.operators.joined`. None stands for a candidate that runs nothing: an
            identity, or Zero beside a shortcut.
    """

    operators: Mapping[str, Operator]
    candidates: Mapping[str, Mapping[str, str | None]]

    def names(self) -> dict[str, str]:
        """Say what messages call each operator, by signature: one of the candidates that run it."""
        return {
            part: f"{op} of choice {name}"
            for name, row in self.candidates.items()
            for op, key in row.items()
            for part in parts(key)
        }

    def weight_mib(self) -> Rows:
        """Compute the MiB of weights of each candidate, counted once however often it runs."""
        return {
            name: {op: self.operators[parts(key)[0]].weight_bytes / 2**20 if key else 0.0 for op, key in row.items()}
            for name, row in self.candidates.items()
        }

    def table(
        self, known: Mapping[str, Interval], device: Mapping[str, object], *, predicted: Collection[str] = ()
    ) -> LatencyTable:
        """Make the table of the space, without correction, from the time of each operator alone.

        Args:
            known: the times by signature.
            device: what the table says of it, see :func:`proxyless.latency.identity.describe`.
            predicted: signatures of those that were predicted and not measured.

        Raises:
            ProxylessError: an operator is not among ``known``; names the candidate.
        """
        entries: dict[str, dict[str, Entry]] = {}
        for name, row in self.candidates.items():
            entries[name] = {}
            for operation, key in row.items():
                runs = parts(key)
                if any(part not in known for part in runs):
                    raise ProxylessError(f"no measurement of candidate {operation} of choice {name}")
                times = [known[part] for part in runs]
                ms = sum(time.ms for time in times)
                low, high = sum(time.low_ms for time in times), sum(time.high_ms for time in times)
                measured = not any(part in predicted for part in runs)
                entries[name][operation] = Entry(ms, low, high, ms, key, measured)
        return LatencyTable(device, 0.0, entries)

    def check(self, table: LatencyTable, source: str) -> None:
        """Make sure that ``table``, which was read from ``source``, is of these very operators.

        Raises:
            ProxylessError: a candidate was another operator when it was measured; names the first.
        """
        for name, row in self.candidates.items():
            for operation, key in row.items():
                measured = table.entries[name][operation].operator
                if measured is not None and measured != key:
                    raise ProxylessError(
                        f"{source}: {operation} of choice {name} was measured with other shapes (another image size,"
                        " width, batch or number of classes); measure this space"
                    )


def space_operators(supernet: Supernet, shapes: Shapes) -> SpaceOperators:
    """Find the operators of a space by running its network once.

    Args:
        supernet: on the CPU.
        shapes: of the inputs of the network, batch included.

    Returns:
        Its operators.

    Raises:
        ContractError: what a choice runs depends on what others take, or the choice is given tensors of another type
            than float32, or the network has weights of another type; names it.
    """
    for dtype in {weight.dtype for weight in supernet.weights() if weight.dtype.is_floating_point} - {torch.float32}:
        raise ContractError(
            f"the network has weights of {dtype}: candidates are timed from float32, so make it .float()"
        )
    runs = inspect(supernet.network, supernet.choices, Inputs(example_inputs(shapes))).always()
    operators: dict[str, Operator] = {}
    candidates: dict[str, dict[str, str | None]] = {}
    for name, choice in supernet.choices.items():
        for dtype in {tensor.dtype for run in runs[name] for tensor in run.tensors} - {torch.float32}:
            raise ContractError(f"choice {name} is given a tensor of {dtype}: candidates are timed on float32 alone")
        candidates[name] = {}
        for index, operation in enumerate(choice.operations):
            module = settled(choice, index)
            keys = []
            for run in () if isinstance(module, nn.Identity) else runs[name]:  # nothing is run by an identity
                bound = run.bound(module)
                keys.append(signature(bound, example_inputs(run.shapes)))
                operators.setdefault(keys[-1], Operator(bound, run.shapes))
            candidates[name][operation] = joined(keys)
    return SpaceOperators(operators, candidates)


def spread_paths(supernet: Supernet, count: int, *, seed: int) -> list[list[int]]:
    """Choose paths from the smallest to the largest network of a space, both included.

    Path k of n takes, at each choice, a candidate near the quantile k / (n - 1) of that choice's candidates ordered by
    their number of parameters. A jitter makes kernels and expansions vary independently of one another.

    Args:
        supernet: the space.
        count: how many paths.
        seed: of the jitter.

    Returns:
        The index of the candidate at each choice, for each path.
    """
    rng = np.random.default_rng(seed)
    sizes = [
        [sum(p.numel() for p in choice.candidate(i).parameters()) for i in range(len(choice))]
        for choice in supernet.choices.values()
    ]
    paths = []
    for level in np.linspace(0.0, 1.0, count):
        jitter = 0.0 if level in (0.0, 1.0) else 0.5
        path = []
        for row in sizes:
            position = np.clip(level + jitter * rng.uniform(-1, 1), 0, 1) * (len(row) - 1)
            path.append(int(np.argsort(row, kind="stable")[round(position)]))
        paths.append(path)
    return paths
