"""Reads the files of a run folder that the report shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxyless.errors import ProxylessError
from proxyless.files.reading import read_json, read_json_lines
from proxyless.files.yaml_files import read_yaml
from proxyless.report.markup import number

_LATENCY_FORMAT = 2


@dataclass(frozen=True)
class RunFiles:
    """The files of one run; a missing file is an empty value.

    A run that was only trained, or was stopped early, has some of them, and the report shows these.
    """

    path: Path
    config: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    latency: dict[str, Any] = field(default_factory=dict)
    architecture: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    confusion: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, Any] = field(default_factory=dict)
    search: tuple[dict[str, Any], ...] = ()
    training: tuple[dict[str, Any], ...] = ()

    @property
    def choices(self) -> dict[str, str]:
        """The chosen candidate by choice, in the order of the network."""
        return {str(choice): str(candidate) for choice, candidate in mapping(self.architecture, "choices").items()}

    @property
    def device(self) -> dict[str, Any]:
        """The device that was measured, from the latency table or the result."""
        return mapping(self.latency, "device") or mapping(self.result, "device")

    @property
    def counts(self) -> dict[str, float]:
        """Images of each split."""
        splits = mapping(self.data, "splits")
        found = {name: number(mapping(splits, name).get("images")) for name in splits}
        return {name: count for name, count in found.items() if count is not None}

    @property
    def remarks(self) -> list[str]:
        """What was found in the data: a line of text for each finding."""
        lines = self.data.get("remarks")
        return [str(line) for line in lines] if isinstance(lines, list) else []

    @property
    def classes(self) -> list[str]:
        """The names of the classes, from the confusion matrix, the data or the model."""
        for source in (self.confusion, self.data, self.model):
            names = source.get("classes")
            if isinstance(names, list):
                return [str(name) for name in names]
        return []


def mapping(of: dict[str, Any], key: str) -> dict[str, Any]:
    """Return ``of[key]`` if that is a mapping, else an empty one."""
    value = of.get(key)
    return value if isinstance(value, dict) else {}


def records(of: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the mappings in the list ``of[key]``; none if it is not a list."""
    value = of.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def last_told(history: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drop the records that a resumed run wrote again: where step or epoch goes back, the later records count."""
    kept: list[dict[str, Any]] = []
    for record in history:
        while kept and kept[-1].get("stage") == record.get("stage") and _moment(kept[-1]) >= _moment(record) > 0:
            kept.pop()
        kept.append(record)
    return kept


def _moment(record: dict[str, Any]) -> float:
    moments = (number(record.get(key)) for key in ("step", "epoch"))
    return next((moment for moment in moments if moment is not None), 0.0)


def _read_mapping(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    value = read_yaml(path) if path.suffix == ".yaml" else read_json(path)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ProxylessError(f"{path}: holds {type(value).__name__}, not a mapping; delete it or run its stage again")
    return value


def _read_records(path: Path) -> tuple[dict[str, Any], ...]:
    return tuple(last_told(read_json_lines(path)))


def read_run(path: str | Path) -> RunFiles:
    """Read the files of a run folder.

    Raises:
        ProxylessError: There is no such folder, it has none of the files of a run, or one of them cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        raise ProxylessError(f"{path}: no such folder; give the folder of a run, the --out of `proxyless search`")
    run = RunFiles(
        path=path,
        config=_read_mapping(path / "config.yaml"),
        data=_read_mapping(path / "data.json"),
        latency=_read_mapping(path / "latency.json"),
        architecture=_read_mapping(path / "architecture.json"),
        result=_read_mapping(path / "result.json"),
        model=_read_mapping(path / "model.json"),
        confusion=_read_mapping(path / "confusion.json"),
        seconds=_read_mapping(path / "seconds.json"),
        search=_read_records(path / "search" / "history.jsonl"),
        training=_read_records(path / "training" / "history.jsonl"),
    )
    if run == RunFiles(path):
        raise ProxylessError(
            f"{path}: not the folder of a run (no config.yaml, latency.json, architecture.json, result.json or history)"
        )
    if (version := run.latency.get("format", _LATENCY_FORMAT)) != _LATENCY_FORMAT:
        raise ProxylessError(
            f"{path / 'latency.json'}: format {version!r} is not known here, only {_LATENCY_FORMAT}; "
            "make the report with the version of proxyless that wrote it"
        )
    return run
