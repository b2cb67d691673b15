"""Shows several runs side by side; they may be searched, published, or trained from an architecture."""

from __future__ import annotations

from collections.abc import Sequence

from proxyless.report import network
from proxyless.report.candidates import candidates_of
from proxyless.report.markup import Html, amount, figure, join, milliseconds, number, scrolling, table, tag
from proxyless.report.metrics import Metric, metrics_of
from proxyless.report.run_files import RunFiles


def _other(metric: Metric, shown: Metric) -> str:
    """Name a metric that is not the one that the column is headed by."""
    return "" if metric == shown else f" ({metric.label})"


def _row(run: RunFiles, shown: Metric) -> list[object]:
    metric = metrics_of(run)[0]
    result = run.result
    measured, predicted = (number(result.get(f"latency_{how}_ms")) for how in ("measured", "predicted"))
    return [
        run.path.resolve().name,
        run.data.get("source") or "–",
        f"{metric.written(number(result.get(f'test_{metric.name}')), 2)}{_other(metric, shown)}",
        milliseconds(measured),
        milliseconds(predicted),
        amount(number(result.get("parameters"))),
        amount(number(result.get("macs"))),
    ]


def section(run: RunFiles, others: Sequence[RunFiles]) -> Html | None:
    """Show a table of ``run`` and ``others``, and their networks drawn; None without others."""
    if not others:
        return None
    runs = [run, *others]
    shown_metric = metrics_of(run)[0]
    head = ["Run", "Data", f"Test {shown_metric.label}", "Measured", "Predicted", "Parameters", "MACs"]
    drawn = []
    for shown in runs:
        if blocks := network.blocks(shown):
            strip = scrolling(network.strip(blocks, candidates_of(shown)), f"The network of {shown.path.name}, drawn")
            drawn.append(figure(strip, f"{shown.path.resolve().name}: {shown.result.get('architecture') or ''}"))
    sources = {str(shown.data.get("source")) for shown in runs}
    warning = "Accuracies on different data do not compare." if len(sources) > 1 else None
    rows = (_row(shown, shown_metric) for shown in runs)
    listed = table(head, rows, label="Networks side by side", numeric={2, 3, 4, 5, 6})
    return join((listed, tag("p", warning, class_="small") if warning else None, *drawn))
