"""What the networks of a space cost: a fixed part plus one entry for each chosen candidate, linear in the gates.

Because the cost is linear in the binary gates, its expectation under the path probabilities, the gradient of that
expectation (paper, section 3.3) and the derivation of a network under a budget are all exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proxyless import files
from proxyless.architecture import Architecture, indices
from proxyless.errors import ProxylessError
from proxyless.supernet import Supernet

PUBLISHED = "published table"
"""The runtime of devices that others have measured."""

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
        """The rows padded with zeros to (choices, most candidates of a choice), float64."""
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
    """A cost given as numbers: MACs, parameters, energy, a latency somebody else measured."""

    unit: str
    base: float
    entries: Rows

    @property
    def fixed(self) -> float:
        return self.base

    @property
    def rows(self) -> Rows:
        return self.entries


@dataclass(frozen=True)
class Interval:
    """A measured time in ms, with the interval it lies in by about 95 %."""

    ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True)
class MeasuredNetwork:
    """A whole network measured to fit the table's correction (``calibration``) or to check it (``check``)."""

    choices: Mapping[str, str]
    measured_ms: float
    low_ms: float
    high_ms: float
    role: str


@dataclass(frozen=True)
class LatencyTable(Cost):
    """Latencies of all candidates on one device, measured one by one, and a correction fitted on whole networks.

    latency(network) = fixed_ms + factor * sum(ms of the chosen) + per_block_ms * (number of chosen that are not Zero)

    Args:
        device: what was measured, see :class:`proxyless.latency.device.Device`, and on which machine.
        fixed_ms: stem, head and whatever else is no choice.
        factor: by how much blocks that follow one another differ from the same blocks measured alone.
        per_block_ms: what a block measured alone pays in excess for being called, thus usually negative.
        entries: measured interval of each candidate by choice; 0 ms for Zero.
        networks: the whole networks behind the correction.
    """

    device: Mapping[str, Any]
    fixed_ms: float
    factor: float
    per_block_ms: float
    entries: Mapping[str, Mapping[str, Interval]]
    networks: tuple[MeasuredNetwork, ...] = field(default=())
    unit: str = "ms"

    @property
    def fixed(self) -> float:
        return self.fixed_ms

    @property
    def rows(self) -> Rows:
        return {name: {op: self._corrected(t.ms) for op, t in row.items()} for name, row in self.entries.items()}

    def _corrected(self, ms: float) -> float:
        if self.device.get("runtime") == PUBLISHED:  # differences to Zero, which may be negative
            return ms
        return max(0.0, self.factor * ms + self.per_block_ms) if ms else 0.0

    @classmethod
    def of_cost(cls, cost: Cost, device: Mapping[str, Any]) -> LatencyTable:
        """A table somebody else measured, in ms, in the form of our own: without intervals and correction."""
        rows = {name: {op: Interval(ms, ms, ms) for op, ms in row.items()} for name, row in cost.rows.items()}
        return cls(device, cost.fixed, 1.0, 0.0, rows)

    def save(self, path: str | Path) -> None:
        """Write it as JSON, with the prediction for each whole network beside its measurement."""
        networks = [
            asdict(network) | {"predicted_ms": self.of(Architecture(network.choices))} for network in self.networks
        ]
        value = {
            "format": 1,
            "unit": self.unit,
            "device": dict(self.device),
            "fixed_ms": self.fixed_ms,
            "factor": self.factor,
            "per_block_ms": self.per_block_ms,
            "choices": {n: {op: asdict(t) for op, t in row.items()} for n, row in self.entries.items()},
            "networks": networks,
        }
        files.write_json(path, value)

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Read what :meth:`save` wrote.

        Raises:
            ProxylessError: the file is missing or is no latency table.
        """
        value = files.read_json(path)
        try:
            if value["format"] != 1 or value["unit"] != "ms":
                raise ProxylessError(f"{path}: a latency table of an unknown format or unit")
            networks = [{k: v for k, v in network.items() if k != "predicted_ms"} for network in value["networks"]]
            return cls(
                device=value["device"],
                fixed_ms=float(value["fixed_ms"]),
                factor=float(value["factor"]),
                per_block_ms=float(value["per_block_ms"]),
                entries={n: {op: Interval(**t) for op, t in row.items()} for n, row in value["choices"].items()},
                networks=tuple(MeasuredNetwork(**network) for network in networks),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProxylessError(f"{path}: not a latency table ({type(error).__name__}: {error})") from None
