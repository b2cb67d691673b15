"""Shows the search: its curves, and the probability of every candidate over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from proxyless.report.candidates import candidates_of
from proxyless.report.charts import Axis, Curve, line, line_chart, panels, rect, svg, text, tick_text, viridis
from proxyless.report.history import Timeline, learning_charts, timeline
from proxyless.report.markup import Html, figure, join, number, percent, running_text, shortened, tag
from proxyless.report.metrics import metrics_of
from proxyless.report.run_files import RunFiles

_COLUMNS = 100
_SHADES = 32


@dataclass(frozen=True)
class Paths:
    """The probabilities of the candidates of one choice over time.

    ``rows[t][i]`` is the probability of candidate ``i`` at ``times[t]``.
    """

    choice: str
    names: tuple[str, ...]
    times: tuple[float, ...]
    rows: tuple[tuple[float, ...], ...]
    chosen: str | None

    @property
    def likeliest(self) -> str:
        """The most probable candidate at the end."""
        return self.names[max(range(len(self.names)), key=self.rows[-1].__getitem__)]


def paths(run: RunFiles, line_of_time: Timeline) -> list[Paths]:
    """Collect the probabilities by choice; choices and candidates that no table names are numbered."""
    told = zip(line_of_time.times, map(_probabilities, line_of_time.records), strict=True)
    snapshots: list[tuple[float, list[list[float]]]] = []
    for time, rows in told:
        if rows and (not snapshots or time > snapshots[-1][0]):
            snapshots.append((time, rows))
    if not snapshots:
        return []
    sizes = [len(row) for row in snapshots[-1][1]]
    snapshots = [(time, rows) for time, rows in snapshots if [len(row) for row in rows] == sizes]
    table, chosen = candidates_of(run).by_choice, run.choices
    named = list(table.items())
    found = []
    for place, size in enumerate(sizes):
        choice, names = named[place] if len(named) == len(sizes) else (f"choice {place + 1}", ())
        if len(names) != size:
            names = tuple(f"candidate {index + 1}" for index in range(size))
        over_time = tuple(tuple(probabilities[place]) for _, probabilities in snapshots)
        found.append(Paths(choice, names, tuple(time for time, _ in snapshots), over_time, chosen.get(choice)))
    return found


def _probabilities(record: dict[str, Any]) -> list[list[float]] | None:
    """Return the probabilities in a record, by choice; None where there are none, or no valid ones."""
    rows = record.get("probabilities")
    if not isinstance(rows, list) or not all(isinstance(row, list) and row for row in rows):
        return None
    known = [[min(max(p, 0.0), 1.0) for p in map(number, row) if p is not None] for row in rows]
    return known if [len(row) for row in known] == [len(row) for row in rows] else None


def _columns(path: Paths) -> tuple[list[float], list[list[float]]]:
    """Summarise a path in at most a hundred columns: their edges in time, and the mean probabilities in each."""
    count = min(len(path.times), _COLUMNS)
    bounds = [round(index * len(path.times) / count) for index in range(count + 1)]
    groups = [path.rows[low:high] for low, high in pairwise(bounds)]
    means = [[sum(values) / len(group) for values in zip(*group, strict=True)] for group in groups]
    # A snapshot shows the end of its column, so the first column begins one step before the first snapshot.
    step = path.times[1] - path.times[0] if len(path.times) > 1 else 1.0
    edges = [path.times[0] - (step or 1.0), *(path.times[high - 1] for high in bounds[1:])]
    return edges, means


def _cells(path: Paths, x: Axis, top: float, row_height: float) -> list[Html]:
    """Draw the coloured cells, as one SVG path for each shade, which keeps the file small."""
    edges, means = _columns(path)
    strokes: dict[int, list[str]] = {}
    for row in range(len(path.names)):
        shades = [min(int(column[row] * _SHADES), _SHADES - 1) for column in means]
        start = 0
        for end in range(1, len(shades) + 1):
            if end == len(shades) or shades[end] != shades[start]:
                # A little too wide: in print the paper would otherwise show between two cells.
                left, right = x(edges[start]), min(x(edges[end]) + 0.3, x.end)
                y, wide, tall = top + row * row_height, right - left, row_height - 1
                stroke = f"M{left:.1f} {y:g}h{wide:.1f}v{tall:g}h{-wide:.1f}z"
                strokes.setdefault(shades[start], []).append(stroke)
                start = end
    return [
        tag("path", d="".join(parts), fill=viridis(shade / (_SHADES - 1)), shape_rendering="crispEdges")
        for shade, parts in sorted(strokes.items())
    ]


def heat_map(path: Paths) -> Html:
    """Draw one choice: time to the right, a row for each candidate, probability as colour, the chosen one marked."""
    width, row_height, top, left = 300.0, 14.0, 24.0, 80.0
    edges, _ = _columns(path)
    x = Axis(edges[0], edges[-1], left, width - 46)
    bottom = top + row_height * len(path.names)
    parts = [text(left, 15, path.choice, class_="title")]
    parts += _cells(path, x, top, row_height)
    for row, name in enumerate(path.names):
        y, marked = top + row_height * row + 10.5, " strong" if name == path.chosen else ""
        short = shortened(name, 8)
        if name == path.chosen:
            parts.append(rect(left - 1, top + row_height * row - 1, width - left - 44, row_height + 1, "outline"))
        parts.append(text(left - 6, y, f"▸ {short}" if marked else short, "end", class_=f"tick{marked}"))
        parts.append(text(width - 2, y, percent(path.rows[-1][row], 0), "end", class_=f"tick{marked}"))
    parts.append(text(left - 6, bottom + 15, "epoch", "end", class_="note"))
    for value in x.ticks(4):
        parts.append(line(x(value), bottom, x(value), bottom + 3, "axis"))
        parts.append(text(x(value), bottom + 15, tick_text(value), "middle", class_="note"))
    ends = ", ".join(f"{name} {percent(p, 0)}" for name, p in zip(path.names, path.rows[-1], strict=True))
    chosen = f" Chosen: {path.chosen}." if path.chosen else ""
    return svg(width, bottom + 22, *parts, label=f"Probabilities of {path.choice} by epoch; at the end {ends}.{chosen}")


def _scale() -> Html:
    cells = (rect(20 + 5 * i, 2, 5.5, 10, fill=viridis(i / 31)) for i in range(32))
    ends = text(14, 11, "0", "end", class_="tick"), text(186, 11, "1", class_="tick")
    drawing = svg(222, 14, ends[0], *cells, ends[1], label="Colours from 0 to 1")
    return tag("p", tag("span", "Probability"), drawing, class_="scale")


def _settled(all_paths: Sequence[Paths]) -> Html | None:
    """Say how sure the search was, and where the network does not have the most probable candidate."""
    last = [
        (path, dict(zip(path.names, path.rows[-1], strict=True))) for path in all_paths if path.chosen in path.names
    ]
    if not last:
        return None
    sure = [(final[path.chosen or ""], path) for path, final in last]
    mean = sum(p for p, _ in sure) / len(sure)
    least, least_path = min(sure, key=lambda pair: pair[0])
    sentences = (
        f"At the end the chosen candidates have a probability of {percent(mean, 0)} on average; the least settled "
        f"choice is {least_path.choice} ({least_path.chosen}, {percent(least, 0)})."
    )
    others = [path.choice for path, _ in last if path.chosen != path.likeliest]
    if others:
        sentences += (
            f" In {len(others)} of {len(last)} choices the network takes another candidate than the most probable one, "
            f"as when the whole has to fit the budget: {running_text(others)}."
        )
    return tag("p", sentences)


def _tempered(history: Timeline) -> bool:
    """Say whether a temperature other than 1, that of the paper, was ever used."""
    return any(value != 1 for _, value in history.curve("temperature"))


def _curves(run: RunFiles, history: Timeline) -> Html | None:
    def chart(y_label: str, *curves: Curve, zero: bool = False) -> Html | None:
        return line_chart(curves, y_label=y_label, shaded=history.warmup, zero=zero)

    curve = history.curve
    entropy = [Curve("mean of the choices", curve("entropy"), "blue")]
    sizes = [len(names) for names in candidates_of(run).by_choice.values()]
    if entropy[0].points and sizes and max(sizes) > 1:
        uniform = sum(math.log(size) for size in sizes) / len(sizes)
        ends = (history.times[0], history.times[-1])
        entropy.append(Curve("undecided (uniform)", [(end, uniform) for end in ends], "grey", dashed=True))
    temperature = curve("temperature") if _tempered(history) else []
    return panels(
        (
            *learning_charts(history, metrics_of(run)[0]),
            chart(
                "Latency of the network, ms",
                Curve("expected", curve("expected_latency_ms"), "blue"),
                Curve("budget", curve("budget_ms"), "vermilion", dashed=True),
            ),
            chart("Entropy of a choice, nats", *entropy, zero=True),
            chart("Temperature of the probabilities", Curve("temperature", temperature, "green"), zero=True),
            chart("Weight of latency in the loss", Curve("multiplier", curve("multiplier"), "purple")),
        )
    )


def section(run: RunFiles) -> Html | None:
    """Show the curves of the search and its probabilities over time, if the run has searched."""
    history = timeline(run.search)
    curves = _curves(run, history)
    if curves is None:
        return None
    caption = (
        "The supernet in training: each batch goes through one path, sampled by the probabilities of its candidates."
    )
    if history.warmup:
        caption += " In the shaded warm-up all candidates are equally probable and only weights are trained."
    if history.curve("expected_latency_ms"):
        caption += " The expected latency is the mean over the networks that may be sampled."
    if history.curve("entropy"):
        caption += " The entropy falls as the choices settle."
    if _tempered(history):
        caption += (
            " Probabilities are softmax(α / T): a temperature T below 1 makes the likelier candidates likelier still, "
            "and the entropy lower, for the same architecture parameters α."
        )
    parts: list[Html | None] = [figure(curves, caption)]
    found = paths(run, history)
    if found:
        maps = tag("div", *(heat_map(path) for path in found), class_="maps")
        parts += [
            tag("h3", "How each choice was made"),
            _settled(found),
            figure(
                join((_scale(), maps)),
                "Each panel is one choice of the network, each row one candidate. Time, in epochs, runs to the right; "
                "the colour is the candidate's probability, and the figure at the right what it is at the end. The "
                "chosen candidate is framed and marked ▸.",
            ),
        ]
    return join(parts)
