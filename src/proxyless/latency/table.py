"""The latency table: latencies of all candidates of a space on one device, as a cost that is linear in the gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any

from proxyless import files
from proxyless.architecture import Architecture
from proxyless.cost import Cost, Rows
from proxyless.errors import ProxylessError
from proxyless.files.fields import Fields
from proxyless.latency.timing.statistics import Conditions

FORMAT = 2
"""Version of the format of the files that tables are written to."""


@dataclass(frozen=True)
class Entry:
    """A candidate in a table: its latency alone, and what it adds to a network.

    Args:
        ms: latency of the candidate alone.
        low_ms: lower bound of its 95 % interval.
        high_ms: upper bound of its 95 % interval.
        in_network_ms: what it adds to a network: ``ms`` with the correction fitted on whole networks.
        operator: signature of what was measured; the signatures of its runs joined by + if there are several; None in
            a table that somebody else measured.
        measured: whether ``ms`` was measured, and not predicted; see :mod:`proxyless.latency.predict.model`.
    """

    ms: float
    low_ms: float
    high_ms: float
    in_network_ms: float
    operator: str | None = None
    measured: bool = True


@dataclass(frozen=True)
class MeasuredNetwork:
    """A whole network that was measured to fit the correction (``calibration``) or to check it (``check``)."""

    choices: Mapping[str, str]
    measured_ms: float
    low_ms: float
    high_ms: float
    role: str


@dataclass(frozen=True)
class LatencyTable(Cost):
    """The latencies of all candidates on one device, measured one by one, and corrected by whole networks.

    latency(network) = fixed_ms + sum of in_network_ms of the chosen candidates

    Args:
        device: what was measured and on which machine, see :func:`proxyless.latency.identity.describe`.
        fixed_ms: latency of stem, head and whatever else is no choice.
        entries: each candidate by choice; 0 ms for Zero beside a shortcut.
        networks: the whole networks that the correction was fitted on, and those that checked it.
        correction: how in_network_ms was made of ms, see :func:`proxyless.latency.calibration.calibrated`.
        conditions: what the machine was like meanwhile, see :class:`proxyless.latency.timing.statistics.Conditions`.
        unit: of the cost, ms.

    Example:
        >>> import proxyless
        >>> table = proxyless.LatencyTable.load("runs/digits/latency.json")
        >>> table.unit, table.device["name"]
        ('ms', 'cpu')
        >>> architecture = proxyless.load("runs/digits").architecture
        >>> table.smallest() <= table.of(architecture) <= table.largest()
        True
    """

    device: Mapping[str, Any]
    fixed_ms: float
    entries: Mapping[str, Mapping[str, Entry]]
    networks: tuple[MeasuredNetwork, ...] = ()
    correction: Mapping[str, float] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    unit: str = "ms"

    @property
    def fixed(self) -> float:
        return self.fixed_ms

    @property
    def rows(self) -> Rows:
        return {name: {op: entry.in_network_ms for op, entry in row.items()} for name, row in self.entries.items()}

    @classmethod
    def of_cost(cls, cost: Cost, device: Mapping[str, Any]) -> LatencyTable:
        """Make a table of a cost in ms that somebody else measured, without intervals and correction."""
        rows = {name: {op: Entry(ms, ms, ms, ms) for op, ms in row.items()} for name, row in cost.rows.items()}
        return cls(device, cost.fixed, rows)

    def save(self, path: str | Path) -> None:
        """Write the table as JSON, with the prediction for each whole network beside its measurement."""
        networks = [
            asdict(network) | {"predicted_ms": self.of(Architecture(network.choices))} for network in self.networks
        ]
        value = {
            "format": FORMAT,
            "unit": self.unit,
            "device": dict(self.device),
            "conditions": dict(self.conditions),
            "fixed_ms": self.fixed_ms,
            "correction": dict(self.correction),
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
        fields = Fields(value, "", source=f"{path}: not a latency table", whole="the file")
        if "times" in fields:
            raise ProxylessError(f"{path}: timings of a bundle: `proxyless measure --from` makes a table of them")
        if fields.get("format") != FORMAT or fields.get("unit") != "ms":
            raise ProxylessError(f"{path}: a latency table of another format or unit; measure it again")
        device = fields.child("device")
        for name in ("name", "runtime", "runtime_version", "machine"):
            device.text(name)
        if device.get("batch") is not None:
            device.count("batch")
        choices = fields.child("choices")
        entries = {name: _row(choices.child(name)) for name in choices.names}
        if not entries:
            raise fields.problem("choices is empty")
        correction, conditions = fields.child("correction"), fields.child("conditions")
        table = cls(
            device=fields.mapping("device"),
            fixed_ms=fields.measured("fixed_ms"),
            entries=entries,
            networks=tuple(_network(network) for network in fields.objects("networks")),
            correction={name: correction.measured(name) for name in correction.names},
            conditions=read_conditions(conditions) if conditions.names else {},
        )
        for number, network in enumerate(table.networks):
            try:
                table.of(Architecture(network.choices))
            except ProxylessError as error:
                raise fields.problem(f"networks.{number}: {error}") from None
        return table


def _row(fields: Fields) -> dict[str, Entry]:
    if not fields.names:
        raise fields.problem("a choice without candidates")
    return {operation: _entry(fields.child(operation)) for operation in fields.names}


def _entry(fields: Fields) -> Entry:
    ms, low, high, in_network = (fields.measured(key) for key in ("ms", "low_ms", "high_ms", "in_network_ms"))
    operator = None if fields.get("operator") is None else fields.text("operator")
    return Entry(ms, low, high, in_network, operator, fields.flag("measured", True))


def _network(fields: Fields) -> MeasuredNetwork:
    measured, low, high = (fields.measured(key, least=0) for key in ("measured_ms", "low_ms", "high_ms"))
    if not measured:
        raise fields.problem("measured_ms must be above 0")
    return MeasuredNetwork(fields.texts("choices"), measured, low, high, fields.text("role"))


def read_conditions(fields: Fields) -> dict[str, Any]:
    """Read what ``dataclasses.asdict`` made of :class:`~proxyless.latency.timing.statistics.Conditions`.

    Other fields are left out.

    Raises:
        ProxylessError: a field is missing, or of another kind.
    """
    read = {
        "int": lambda name: fields.count(name, least=0, most=2**31),
        "float": lambda name: fields.measured(name, least=0),
        "bool": fields.flag,
    }
    found: dict[str, Any] = {}
    for item in fields_of(Conditions):
        kind = str(item.type)
        if item.name not in fields and item.default is not MISSING:
            continue  # a bundle of before
        empty = kind.endswith(" | None") and fields.get(item.name, "") is None
        found[item.name] = None if empty else read[kind.removesuffix(" | None")](item.name)
    return found
