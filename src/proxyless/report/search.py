"""The search: its curves, and how the probability of every candidate moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from proxyless.report.candidates import candidates_of
from proxyless.report.charts import Axis, Curve, Point, Span, line, line_chart, panels, svg, text, tick_text, viridis
from proxyless.report.markup import Html, figure, join, number, percent, running_text, shortened, tag
from proxyless.report.run_files import RunFiles

_COLUMNS = 100
_SHADES = 32


@dataclass(frozen=True)
class Timeline:
    """The history of a search over its epochs, which count on from the warm-up to the search."""

    times: tuple[float, ...]
    records: tuple[dict[str, Any], ...]
    warmup: Span | None

    def curve(self, key: str, scale: float = 1.0) -> list[Point]:
        """``key`` over time, where it was recorded, times ``scale``."""
        values = zip(self.times, (number(record.get(key)) for record in self.records), strict=True)
        return [(time, scale * value) for time, value in values if value is not None]


def timeline(history: Sequence[dict[str, Any]]) -> Timeline:
    """The records that have an epoch; the warm-up is the stretch from the beginning to its last record."""
    known = [(record, epoch) for record in history if (epoch := number(record.get("epoch"))) is not None]
    end = max((epoch for record, epoch in known if record.get("stage") == "warmup"), default=0.0)
    span = Span("warm-up", 0.0, end) if end > 0 else None
    return Timeline(tuple(epoch for _, epoch in known), tuple(record for record, _ in known), span)


@dataclass(frozen=True)
class Paths:
    """The probabilities of one choice's candidates over time; ``rows[t][i]`` is of candidate ``i`` at ``times[t]``."""

    choice: str
    names: tuple[str, ...]
    times: tuple[float, ...]
    rows: tuple[tuple[float, ...], ...]
    chosen: str | None

    @property
    def likeliest(self) -> str:
        """The candidate of highest probability at the end."""
        return self.names[max(range(len(self.names)), key=self.rows[-1].__getitem__)]


def paths(run: RunFiles, line_of_time: Timeline) -> list[Paths]:
    """The probabilities by choice; choices and candidates are numbered where no table names them."""
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
    """Those of a record, by choice; None where it has none, or where they are no such thing."""
    rows = record.get("probabilities")
    if not isinstance(rows, list) or not all(isinstance(row, list) and row for row in rows):
        return None
    known = [[min(max(p, 0.0), 1.0) for p in map(number, row) if p is not None] for row in rows]
    return known if [len(row) for row in known] == [len(row) for row in rows] else None


def _columns(path: Paths) -> tuple[list[float], list[list[float]]]:
    """Edges in time and mean probabilities of at most a hundred columns."""
    count = min(len(path.times), _COLUMNS)
    bounds = [round(index * len(path.times) / count) for index in range(count + 1)]
    groups = [path.rows[low:high] for low, high in pairwise(bounds)]
    means = [[sum(values) / len(group) for values in zip(*group, strict=True)] for group in groups]
    # A snapshot is of the end of its column, so the first column begins one step before it.
    step = path.times[1] - path.times[0] if len(path.times) > 1 else 1.0
    edges = [path.times[0] - (step or 1.0), *(path.times[high - 1] for high in bounds[1:])]
    return edges, means


def _cells(path: Paths, x: Axis, top: float, row_height: float) -> list[Html]:
    """The coloured cells: one path a shade, neighbours of one shade in one stretch, which keeps the file small."""
    edges, means = _columns(path)
    strokes: dict[int, list[str]] = {}
    for row in range(len(path.names)):
        shades = [min(int(column[row] * _SHADES), _SHADES - 1) for column in means]
        start = 0
        for end in range(1, len(shades) + 1):
            if end == len(shades) or shades[end] != shades[start]:
                # A hair too wide, or the paper shows through between two cells in print.
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
    """One choice: time to the right, a row for each candidate, probability as colour; the chosen one is marked."""
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
            outline = {
                "x": left - 1,
                "y": top + row_height * row - 1,
                "width": width - left - 44,
                "height": row_height + 1,
            }
            parts.append(tag("rect", **outline, class_="outline"))
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
    cells = (tag("rect", x=float(20 + 5 * i), y=2.0, width=5.5, height=10.0, fill=viridis(i / 31)) for i in range(32))
    drawing = svg(
        222,
        14,
        text(14, 11, "0", "end", class_="tick"),
        *cells,
        text(186, 11, "1", class_="tick"),
        label="Colours from 0 to 1",
    )
    return tag("p", tag("span", "Probability"), drawing, class_="scale")


def _settled(all_paths: Sequence[Paths]) -> Html | None:
    """Sentences on how sure the search was, and where the budget made it take another than the likeliest."""
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
    """Whether the probabilities were ever at another temperature than the paper's."""
    return any(value != 1 for _, value in history.curve("temperature"))


def _curves(run: RunFiles, history: Timeline) -> Html | None:
    curve, shaded = history.curve, history.warmup
    budget = curve("budget_ms")
    latency = [
        Curve("expected", curve("expected_latency_ms"), "blue"),
        Curve("budget", budget, "vermilion", dashed=True),
    ]
    entropy = [Curve("mean of the choices", curve("entropy"), "blue")]
    sizes = [len(names) for names in candidates_of(run).by_choice.values()]
    if entropy[0].points and sizes and max(sizes) > 1:
        uniform = sum(math.log(size) for size in sizes) / len(sizes)
        ends = (history.times[0], history.times[-1])
        entropy.append(Curve("undecided (uniform)", [(end, uniform) for end in ends], "grey", dashed=True))
    temperature = curve("temperature") if _tempered(history) else []
    return panels(
        (
            line_chart(
                [Curve("training", curve("loss"), "orange"), Curve("validation", curve("valid_loss"), "blue")],
                y_label="Loss, nats",
                shaded=shaded,
            ),
            line_chart(
                [
                    Curve("training", curve("accuracy", 100), "orange"),
                    Curve("validation", curve("valid_accuracy", 100), "blue"),
                ],
                y_label="Accuracy, %",
                shaded=shaded,
            ),
            line_chart(latency, y_label="Latency of the network, ms", shaded=shaded),
            line_chart(entropy, y_label="Entropy of a choice, nats", shaded=shaded, zero=True),
            line_chart(
                [Curve("temperature", temperature, "green")],
                y_label="Temperature of the probabilities",
                shaded=shaded,
                zero=True,
            ),
            line_chart(
                [Curve("multiplier", curve("multiplier"), "purple")],
                y_label="Weight of latency in the loss",
                shaded=shaded,
            ),
        )
    )


def section(run: RunFiles) -> Html | None:
    """The curves of the search and the paths of its probabilities, if the run has searched."""
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
