"""Latency tables of devices that others have measured, as data with their source: no such device is needed to use them.

They are of the paper's ImageNet space (section 4.2 there), that is of the ``mobilenet`` space at 224 px and width 1.0,
and end in the same kind of table as a count of MACs does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
"""Both tables are of networks with this many classes."""


class MBConvSpace(Protocol):
    """What a table asks of a space: the shape of every operator and the names of the candidates."""

    @property
    def image_size(self) -> int:
        """Height and width of an image in px."""
        ...

    @property
    def channels(self) -> int:
        """Channels of an image."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes."""
        ...

    @property
    def depths(self) -> tuple[int, ...] | None:
        """Blocks of each stage."""
        ...

    def strides(self) -> tuple[int, tuple[int, ...]]:
        """Strides of the stem and of the first block of each stage."""
        ...

    def fixed_widths(self) -> tuple[int, int, int]:
        """Output channels of stem, first block and head."""
        ...

    def stage_widths(self) -> tuple[int, ...]:
        """Output channels of each stage."""
        ...

    def choices(self) -> Mapping[str, list[str]]:
        """Candidates by choice, stage by stage: ``k3_e6`` for kernel 3 and expansion 6, ``skip`` for Zero."""
        ...


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


@dataclass(frozen=True)
class _Operator:
    """One operator of a space: its place in the network, and its shapes as height x width x channels."""

    place: str
    input: str
    output: str


def names() -> tuple[str, ...]:
    """The tables there are."""
    return NAMES


def describe(name: str) -> Published:
    """Device, source and licence of a table.

    Raises:
        ProxylessError: there is no such table.
    """
    value = _read(name)
    return Published(name, value["device"], value["source"], value["licence"], value["note"])


def table(name: str, space: MBConvSpace) -> CostTable:
    """The cost in ms of the networks of ``space`` on a device that others have measured.

    The base is everything that every network contains, the entries are those of ``space.choices()``, in order, with
    0 ms for Zero. A classifier of fewer classes counts like one of 1,000: at most 0.31 ms too much on ``pixel1``.

    Raises:
        ProxylessError: there is no such table, or it does not cover ``space``; names the first operator it lacks.
    """
    from proxyless.cost import CostTable

    value = _read(name)
    # Only differences within a choice have a meaning: Zero is put at 0 ms, and with it blocks that a space lacks.
    base = value["bias_ms"] + sum(entry["ms"].get("skip", 0.0) for entry in value["operators"])
    choices = space.choices()
    entries: dict[str, dict[str, float]] = {}
    for operator in _operators(space):
        known = _find(value["operators"], operator)
        wanted = choices.get(operator.place, [_FIXED.get(operator.place, "")])
        for candidate in wanted:
            if candidate not in known and candidate != "skip":
                what = " ".join(filter(None, (operator.place, candidate)))
                raise ProxylessError(
                    f"the published table {name} has no {what}, {operator.input} to {operator.output}:"
                    f" {value['covers']}"
                )
        zero = known.get("skip", 0.0)
        row = {candidate: known.get(candidate, 0.0) - zero for candidate in wanted}
        if operator.place in choices:
            entries[operator.place] = row
        else:
            base += sum(row.values())
    return CostTable("ms", base, entries)


_FIXED = {"first": "k3_e1"}
"""The candidate that stands at a place where there is no choice."""


def _operators(space: MBConvSpace) -> Iterator[_Operator]:
    """All operators in network order; those that are choices are called like them."""
    stem, first, head = space.fixed_widths()
    stem_stride, strides = space.strides()
    size, width = -(-space.image_size // stem_stride), first
    at = _shape(size, stem)
    yield _Operator("stem", _shape(space.image_size, space.channels), at)
    yield _Operator("first", at, _shape(size, first))
    assert space.depths is not None
    choices = iter(space.choices())
    for depth, out, first_stride in zip(space.depths, space.stage_widths(), strides, strict=True):
        for block in range(depth):
            before = _shape(size, width)
            size, width = -(-size // (1 if block else first_stride)), out
            yield _Operator(next(choices), before, _shape(size, width))
    yield _Operator("head", _shape(size, width), _shape(size, head))
    yield _Operator("classifier", _shape(size, head), str(max(space.classes, CLASSES)))


def _shape(size: int, channels: int) -> str:
    return f"{size}x{size}x{channels}"


def _find(operators: list[dict[str, Any]], operator: _Operator) -> Mapping[str, float]:
    """Ms by candidate of ``operator``; an entry without a place is of every operator with its shapes."""
    for entry in operators:
        here = entry.get("place", operator.place) == operator.place
        if here and (entry["input"], entry["output"]) == (operator.input, operator.output):
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
