"""The history of a search or a training over its epochs, and the charts that both have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proxyless.report.charts import Curve, Point, Span, line_chart
from proxyless.report.markup import Html, number
from proxyless.report.metrics import ACCURACY, Metric


@dataclass(frozen=True)
class Timeline:
    """The records of a history by epoch; the epochs of a search count on from those of its warm-up."""

    times: tuple[float, ...]
    records: tuple[dict[str, Any], ...]
    warmup: Span | None

    def curve(self, key: str, scale: float = 1.0) -> list[Point]:
        """Return the recorded values of ``key`` over time, times ``scale``."""
        values = zip(self.times, (number(record.get(key)) for record in self.records), strict=True)
        return [(time, scale * value) for time, value in values if value is not None]


def timeline(history: Sequence[dict[str, Any]]) -> Timeline:
    """Collect the records that have an epoch; the warm-up lasts from the beginning to its last record."""
    known = [(record, epoch) for record in history if (epoch := number(record.get("epoch"))) is not None]
    end = max((epoch for record, epoch in known if record.get("stage") == "warmup"), default=0.0)
    span = Span("warm-up", 0.0, end) if end > 0 else None
    return Timeline(tuple(epoch for _, epoch in known), tuple(record for record, _ in known), span)


def learning_charts(history: Timeline, metric: Metric) -> list[Html | None]:
    """Draw the loss and the metric that counts, each in training and on held-out images."""

    def chart(key: str, y_label: str, scale: float = 1.0) -> Html | None:
        training = Curve("training", history.curve(key, scale), "orange")
        validation = Curve("validation", history.curve(f"valid_{key}", scale), "blue")
        return line_chart([training, validation], y_label=y_label, shaded=history.warmup)

    loss = "Loss, nats" if metric == ACCURACY else "Loss"
    return [chart("loss", loss), chart(metric.name, metric.axis, metric.scale)]
