"""Shows the metrics of a task, whatever it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxyless.report.markup import Html, number, percent, table
from proxyless.report.run_files import RunFiles, records


@dataclass(frozen=True)
class Metric:
    """How a metric is called and written.

    Args:
        name: In histories and results, such as ``mean_iou``.
        share: Whether it is a share of 1, which is written in per cent.
    """

    name: str
    share: bool

    @property
    def label(self) -> str:
        """The name in words; short names, such as F1 and RMSE, are abbreviations."""
        return self.name.upper() if len(self.name) <= 4 else self.name.replace("_", " ")

    @property
    def axis(self) -> str:
        """The label of an axis."""
        label = self.label[:1].upper() + self.label[1:]
        return f"{label}, %" if self.share else label

    @property
    def scale(self) -> float:
        """What values are multiplied by to be drawn."""
        return 100.0 if self.share else 1.0

    def written(self, value: float | None, digits: int = 1) -> str:
        """Write a value as text."""
        if self.share:
            return percent(value, digits)
        return "–" if value is None else f"{value:.4g}"


ACCURACY = Metric("accuracy", share=True)
"""What runs are judged by that do not say it: those of before there were other tasks."""


def metrics_of(run: RunFiles) -> list[Metric]:
    """Return the metrics of a run, the one that counts first."""
    said = [item for item in records(run.result, "metrics") if isinstance(item.get("name"), str)]
    if said:
        return [Metric(str(item["name"]), bool(item.get("percent"))) for item in said]
    if run.result or not run.training:
        return [ACCURACY]
    names = [key.removeprefix("valid_") for key in run.training[-1] if key.startswith("valid_") and key != "valid_loss"]
    return [ACCURACY if name == ACCURACY.name else Metric(name, share=False) for name in names] or [ACCURACY]


def tables(run: RunFiles) -> list[tuple[str, Html]]:
    """Return the tables that the task made of the test samples, each with its title."""
    return [
        (str(item.get("title") or ""), _table(item, columns, rows))
        for item in records(run.result, "tables")
        if isinstance(columns := item.get("columns"), list) and isinstance(rows := item.get("rows"), list)
    ]


def _table(item: Mapping[str, Any], columns: Sequence[Any], rows: Sequence[Any]) -> Html:
    shares = item.get("percent")
    shares = shares if isinstance(shares, list) else []

    def cell(column: Any, value: Any) -> str:
        figure = number(value)
        if figure is None:
            return "–" if value is None else str(value)
        if column in shares:
            return percent(figure)
        return f"{figure:,.0f}" if isinstance(value, int) else f"{figure:.4g}"

    shown = [[cell(*pair) for pair in zip(columns, row, strict=False)] for row in rows if isinstance(row, list)]
    numeric = set(range(1, len(columns)))
    return table([str(column) for column in columns], shown, label=str(item.get("title") or ""), numeric=numeric)
