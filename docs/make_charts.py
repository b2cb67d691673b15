"""Draw docs/predicted.svg and docs/devices.svg from the benchmarks' results: python docs/make_charts.py"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from proxyless.report.charts import Axis, axis, frame, line, svg, text
from proxyless.report.markup import Html, join, tag

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
COLOURS = ("blue", "vermilion", "green", "purple", "yellow", "sky", "orange", "grey")
PANEL, HEIGHT = 300.0, 300.0


def predicted(studies: list[dict[str, Any]]) -> Html:
    """Measured against predicted latency, a panel for each device and space; grey: within 5 %."""
    columns = min(4, len(studies))
    rows = -(-len(studies) // columns)
    panels = []
    for number, study in enumerate(studies):
        values = [value for pair in study["pairs"] for value in pair]
        common = axis(values, 0, 1)
        low, high = common.low, common.high
        x, y = Axis(low, high, 52, PANEL - 14), Axis(low, high, HEIGHT - 46, 30)
        below = [(low, low), (low / 0.95, low), (high, high * 0.95)]
        above = [(high, high), (high / 1.05, high), (low, low * 1.05)]
        band = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in below + above)
        error = study["predictors"]["table, corrected again"]
        parts = [
            *frame(x, y, x_label="predicted, ms", y_label=f"{study['device']}, {study['image_size']} px: measured, ms"),
            tag("polygon", points=band, class_="shade"),
            line(x(low), y(low), x(high), y(high), "line grey dash"),
            *(tag("circle", cx=x(p), cy=y(m), r=2.5, class_="fill blue", fill_opacity=0.7) for p, m in study["pairs"]),
            text(
                x.start + 8,
                y.end + 14,
                f"mean error {error['mape']:.1%}, tau {error['kendall_tau']:.3f}",
                class_="tick",
            ),
        ]
        place = f"translate({PANEL * (number % columns):g} {HEIGHT * (number // columns):g})"
        panels.append(tag("g", *parts, transform=place))
    return drawn(PANEL * columns, HEIGHT * rows, panels, "Predicted and measured latency of networks not fitted on.")


def devices(result: dict[str, Any]) -> Html:
    """Ms a MAC of each kind of candidate on each device, beside the mean of all candidates there."""
    width, height = 640.0, 360.0
    favours = result["ms_per_mac"]
    kinds = sorted(next(iter(favours.values())))
    x = Axis(0, len(kinds) - 1, 60, width - 190)
    y = axis([value for row in favours.values() for value in row.values()], height - 40, 30)
    parts = frame(
        x, y, x_label="", y_label="ms a MAC, beside the mean of all candidates at the same place", x_ticks=False
    )
    parts += [text(x(i), y.start + 18, kind.replace("_", " "), "middle", class_="tick") for i, kind in enumerate(kinds)]
    for number, (name, row) in enumerate(favours.items()):
        colour, dash = COLOURS[number % len(COLOURS)], " dash" if number >= len(COLOURS) else ""
        path = "M" + "L".join(f"{x(i):.1f} {y(row[kind]):.1f}" for i, kind in enumerate(kinds))
        parts.append(tag("path", d=path, class_=f"line {colour}{dash}"))
        top = 40 + 18 * number
        parts.append(line(width - 170, top, width - 146, top, f"line {colour}{dash}"))
        parts.append(text(width - 140, top + 4, name, class_="tick"))
    return drawn(width, height, parts, "Which candidates are cheap on which device.")


def drawn(width: float, height: float, parts: list[Html], label: str) -> Html:
    """A drawing of its own, with the report's style in it, on white or dark ground."""
    style = (files("proxyless.report") / "style.css").read_text()
    ground = tag("rect", x=0, y=0, width=width, height=height, style="fill:var(--paper)")
    picture = svg(width, height, tag("style", Html(style)), ground, *parts, label=label)
    return Html(join([picture]).replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" ', 1))


if __name__ == "__main__":
    (ROOT / "docs" / "predicted.svg").write_text(predicted(json.loads((RESULTS / "latency.json").read_text())) + "\n")
    found = json.loads((RESULTS / "latency_devices.json").read_text())
    (ROOT / "docs" / "devices.svg").write_text(devices(found) + "\n")
