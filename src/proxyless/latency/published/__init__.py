"""Latency tables of devices that others have measured, as data with their source; the devices are not needed.

They are of the paper's ImageNet space (section 4.2 there), that is of the ``mobilenet`` space at 224 px and width 1.0,
and end in the same kind of table as a count of MACs does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from proxyless import files
from proxyless.errors import ProxylessError, meant

if TYPE_CHECKING:
    from proxyless.cost import CostTable

NAMES = ("pixel1", "pixel1-tunas")
CLASSES = 1000
"""How many classes the networks of both tables have."""


class Operator(Protocol):
    """An operator of a space by its shapes; see :class:`proxyless.spaces.PlacedOperator`."""

    @property
    def place(self) -> str: ...

    @property
    def input(self) -> str: ...

    @property
    def output(self) -> str: ...

    @property
    def candidates(self) -> Sequence[str]: ...


class SpaceOfOperators(Protocol):
    """What a table asks of a space; see :class:`proxyless.spaces.Space`."""

    @property
    def name(self) -> str: ...

    def operators(self) -> Sequence[Operator]: ...


@dataclass(frozen=True)
class Published:
    """Where a table comes from.

    Args:
        name: in :func:`table`.
        device: what was measured, with batch and precision where they are known.
        source: who published it.
        licence: under which it was published.
        note: what it covers and what its numbers are.
    """

    name: str
    device: str
    source: str
    licence: str
    note: str


def names() -> tuple[str, ...]:
    """Return the names of all tables."""
    return NAMES


def describe(name: str) -> Published:
    """Return device, source and licence of a table.

    Raises:
        ProxylessError: there is no such table.
    """
    value = _read(name)
    return Published(name, value["device"], value["source"], value["licence"], value["note"])


def table(name: str, space: SpaceOfOperators) -> CostTable:
    """Make the cost in ms of the networks of ``space`` on a device that others have measured.

    The base is everything that every network contains, the entries are those of the choices of the space, in order,
    with 0 ms for Zero. A classifier of fewer classes counts like one of 1,000: at most 0.31 ms too much on ``pixel1``.

    Raises:
        ProxylessError: there is no such table, or it does not cover ``space``; names the first operator it lacks.
    """
    from proxyless.cost import CostTable

    value = _read(name)
    if not space.operators():
        raise ProxylessError(f"device {name} is a published table of the space mobilenet, not of {space.name}")
    # Only differences within a choice have a meaning: Zero is put at 0 ms, and with it blocks that a space lacks.
    base = value["bias_ms"] + sum(entry["ms"].get("skip", 0.0) for entry in value["operators"])
    entries: dict[str, dict[str, float]] = {}
    for operator in space.operators():
        known = _find(value["operators"], operator)
        wanted = operator.candidates or [_FIXED.get(operator.place, "")]
        for candidate in wanted:
            if candidate not in known and candidate != "skip":
                what = " ".join(filter(None, (operator.place, candidate)))
                raise ProxylessError(
                    f"the published table {name} has no {what}, {operator.input} to {operator.output}:"
                    f" {value['covers']}"
                )
        zero = known.get("skip", 0.0)
        row = {candidate: known.get(candidate, 0.0) - zero for candidate in wanted}
        if operator.candidates:
            entries[operator.place] = row
        else:
            base += sum(row.values())
    return CostTable("ms", base, entries)


_FIXED = {"first": "k3_e1"}
"""The candidate at a place where there is no choice."""


def _find(known: list[dict[str, Any]], operator: Operator) -> Mapping[str, float]:
    """Find the ms of ``operator`` by candidate; an entry without a place is of every operator with its shapes."""
    output = operator.output
    if operator.place == "classifier":
        output = str(max(int(output), CLASSES))
    for entry in known:
        here = entry.get("place", operator.place) == operator.place
        if here and (entry["input"], entry["output"]) == (operator.input, output):
            found: Mapping[str, float] = entry["ms"]
            return found
    return {}


@cache
def _read(name: str) -> Any:
    if name not in NAMES:
        raise ProxylessError(
            f"no published latency table called {name!r}: there is {', '.join(NAMES)}{meant(name, NAMES)}"
        )
    return files.read_json(Path(__file__).with_name(f"{name}.json"))
