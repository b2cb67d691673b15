"""Draws charts as SVG: with real text in the font of the page, and colours of the style sheet, light or dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from proxyless.report.markup import Html, tag

Point = tuple[float, float]

# The viridis scale at eleven even steps. The eye cannot see the error of a straight line in RGB between them.
_VIRIDIS = bytes.fromhex("440154 482475 414487 355f8d 2a788e 21918c 22a884 44bf70 7ad151 bddf26 fde725")
_MOST_POINTS = 240


def viridis(value: float) -> str:
    """Return the colour of ``value`` in 0..1 on the viridis scale, as ``#rrggbb``."""
    steps = len(_VIRIDIS) // 3 - 1
    position = min(max(value, 0.0), 1.0) * steps
    below = min(int(position), steps - 1)
    part = position - below
    ends = zip(_VIRIDIS[3 * below :], _VIRIDIS[3 * below + 3 : 3 * below + 6], strict=False)
    return f"#{bytes(round(low + part * (high - low)) for low, high in ends).hex()}"


@dataclass(frozen=True)
class Axis:
    """A linear map from values ``low..high`` to pixels ``start..end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of ``value``."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Return round values inside the axis, about so many."""
        rough = (self.high - self.low) / about
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        candidates = [round(index * step, 12) for index in range(first, last + 1)]
        slack = 1e-9 * abs(self.high)
        return [value for value in candidates if self.low - slack <= value <= self.high + slack]


def axis(values: Sequence[float], start: float, end: float, *, zero: bool = False) -> Axis:
    """Return an axis that holds all ``values`` (at least one) and some space around them; from 0 if ``zero``."""
    low, high = min(values), max(values)
    low = min(low, 0.0) if zero else low
    air = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    return Axis(low if zero and low == 0 else low - air, high + air, start, end)


def tick_text(value: float) -> str:
    """Return the label of a tick, as short as possible."""
    return f"{value:g}" if abs(value) < 1e5 else f"{value:.0e}".replace("e+0", "e")


@dataclass(frozen=True)
class Curve:
    """One line of a chart; ``colour`` is a name in the style sheet, such as ``"blue"``."""

    name: str
    points: Sequence[Point]
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Span:
    """A part of the x axis that is shaded, with its name."""

    name: str
    low: float
    high: float


def thinned(points: Sequence[Point], most: int = _MOST_POINTS) -> list[Point]:
    """Average neighbours until there are at most ``most`` points; the page cannot show more."""
    if len(points) <= most:
        return list(points)
    bounds = [round(index * len(points) / most) for index in range(most + 1)]
    groups = [points[low:high] for low, high in pairwise(bounds)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def svg(width: float, height: float, *children: object, label: str, wide: bool = False) -> Html:
    """A drawing that scales with the page; a ``wide`` one stays wide enough to be read, and scrolls."""
    return tag(
        "svg",
        *children,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=label,
        style=f"min-width:{round(0.86 * width)}px" if wide else None,
    )


def text(x: float, y: float, content: object, anchor: str = "start", **attributes: object) -> Html:
    """A text at a pixel; ``anchor`` is ``start``, ``middle`` or ``end``."""
    return tag("text", content, x=float(x), y=float(y), text_anchor=None if anchor == "start" else anchor, **attributes)


def rect(
    x: float, y: float, width: float, height: float, class_: str | None = None, title: str | None = None, **more: object
) -> Html:
    """A rectangle; ``title`` is shown where the pointer rests on it."""
    shown = tag("title", title) if title is not None else None
    place = {"x": float(x), "y": float(y), "width": float(width), "height": float(height)}
    return tag("rect", *([shown] if shown else []), **place, class_=class_, **more)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Html:
    """A straight line."""
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def frame(x: Axis, y: Axis, *, x_label: str, y_label: str, x_ticks: bool = True) -> list[Html]:
    """Draw grid, ticks and the names of both axes; the name of y is above it, where it need not be turned."""
    left, right, bottom = x.start, x.end, y.start
    parts = [text(4, 15, y_label, class_="title")]
    for value in y.ticks(6):
        parts.append(line(left, y(value), right, y(value), "grid"))
        parts.append(text(left - 7, y(value) + 4, tick_text(value), "end", class_="tick"))
    parts.append(line(left, bottom, right, bottom, "axis"))
    if x_ticks:
        for value in x.ticks(6):
            parts.append(line(x(value), bottom, x(value), bottom + 4, "axis"))
            parts.append(text(x(value), bottom + 17, tick_text(value), "middle", class_="tick"))
    if x_label:
        parts.append(text((left + right) / 2, bottom + 34, x_label, "middle", class_="tick"))
    return parts


def curve_path(curve: Curve, x: Axis, y: Axis) -> Html:
    """Draw the line of a curve, or a dot where it has a single point."""
    points = [(x(a), y(b)) for a, b in thinned(curve.points)]
    if len(points) == 1:
        return tag("circle", cx=points[0][0], cy=points[0][1], r=3, class_=f"fill {curve.colour}")
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
    return tag("path", d=path, class_=f"line {curve.colour}{' dash' if curve.dashed else ''}")


def line_chart(
    curves: Sequence[Curve],
    *,
    y_label: str,
    x_label: str = "epoch",
    shaded: Span | None = None,
    zero: bool = False,
) -> Html | None:
    """Draw curves over a common x axis; None where there is no point to draw.

    Args:
        curves: Those without points are left out.
        y_label: What the curves show, with its unit.
        x_label: What is to the right, with its unit.
        shaded: A part of the x axis to shade.
        zero: Whether the y axis begins at 0.
    """
    width, height = 470.0, 280.0
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return None
    xs = [a for curve in curves for a, _ in curve.points] + ([shaded.low, shaded.high] if shaded else [])
    low, high = min(xs), max(xs)
    x = Axis(low, high if high > low else low + 1, 52, width - 12)
    shown = [b for curve in curves for _, b in thinned(curve.points)]
    y = axis(shown, height - 46, 46 if len(curves) > 1 else 30, zero=zero)
    parts: list[Html] = []
    if shaded:
        parts.append(rect(x(shaded.low), y.end, x(shaded.high) - x(shaded.low), y.start - y.end, "shade"))
        centre = (x(shaded.low) + x(shaded.high)) / 2
        if (x.start + x.end) / 2 - centre > 64:  # beside the name of the axis, where no curve runs through it
            parts.append(text(centre, y.start + 34, shaded.name, "middle", class_="tick"))
    parts += frame(x, y, x_label=x_label, y_label=y_label)
    position = 4.0
    for curve in curves:
        parts.append(curve_path(curve, x, y))
        if len(curves) > 1:
            dash = " dash" if curve.dashed else ""
            parts.append(line(position, 30, position + 22, 30, f"line {curve.colour}{dash}"))
            parts.append(text(position + 28, 34, curve.name, class_="tick"))
            position += 44 + 6.6 * len(curve.name)
    names = " and ".join(curve.name for curve in curves)
    ends = "; ".join(f"{curve.name} ends at {curve.points[-1][1]:.4g}" for curve in curves)
    return svg(width, height, *parts, label=f"Line chart of {y_label} by {x_label}: {names}. {ends}.")


def panels(charts: Iterable[Html | None]) -> Html | None:
    """Charts side by side where there is room; ``None`` where there is no chart."""
    drawn = [chart for chart in charts if chart is not None]
    return tag("div", *drawn, class_="panels") if drawn else None
