"""Shows what the run was made from: settings, data, versions, and the time of each stage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from proxyless.report.charts import Axis, rect, svg, text
from proxyless.report.markup import Html, definitions, duration, join, join_if_any, number, running_text, tag
from proxyless.report.run_files import RunFiles, mapping


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested settings as ``("search.epochs", "40")`` pairs, lists on one line."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        yield name, ", ".join(_plain(item) for item in value)
    else:
        yield name, _plain(value)


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, dict | list) else str(value)


def _times(run: RunFiles) -> Html | None:
    account = mapping(run.result, "seconds") or run.seconds  # the latter of a run that is not finished
    stages = [(name, seconds) for name, value in account.items() if (seconds := number(value))]
    total = sum(seconds for _, seconds in stages)
    if total <= 0:
        return None
    step, width = 22.0, 470.0
    x = Axis(0, max(seconds for _, seconds in stages), 110, width - 84)
    parts: list[Html] = []
    for row, (name, seconds) in enumerate(stages):
        y = row * step
        parts += [
            text(104, y + 15, name, "end", class_="tick"),
            rect(x.start, y + 3, max(x(seconds) - x.start, 1.0), step - 7, "fill sky"),
            text(width - 4, y + 15, duration(seconds), "end", class_="tick"),
        ]
    label = f"Bars of the time of {len(stages)} stages, {duration(total)} together."
    drawing = tag("div", svg(width, step * len(stages), *parts, label=label), class_="half")
    # Version 0.1.0 timed some of the stages only.
    whole = "in all" if run.result and "check" in account else "in the stages that have been timed"
    return join((tag("h3", "Time of each stage"), tag("p", f"{duration(total)} {whole}."), drawing))


def section(run: RunFiles) -> Html | None:
    """Show tables of settings, data, preprocessing and versions, and the time of each stage."""
    classes = run.classes
    elsewhere = ("classes", "found", "remarks")  # shown in words
    data = [(key, value) for key, value in flat({k: v for k, v in run.data.items() if k not in elsewhere}) if key]
    if classes:
        data.append((f"classes ({len(classes)})", running_text(classes, 100)))
    model = [(key, value) for key, value in flat({k: v for k, v in run.model.items() if k != "classes"}) if key]
    tables = (
        ("Data", data),
        ("Model and preprocessing", model),
        ("Settings", list(flat(run.config)) if run.config else []),
        ("Versions", list(flat(mapping(run.result, "versions"))) if mapping(run.result, "versions") else []),
    )
    shown = [tag("div", tag("h3", name), definitions(rows, name)) for name, rows in tables if rows]
    parts = [_times(run), tag("div", *shown, class_="panels top") if shown else None]
    return join_if_any(parts)
