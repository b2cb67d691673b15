"""HTML as values.

Text is escaped when it is put into a tag, so that nothing that was read from a file can become markup.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from proxyless.errors import printable

LARGEST, SMALLEST = 1e18, 1e-18
"""Numbers above the first are not drawn, those below the second are taken for 0."""

_WITHOUT_END = frozenset({"meta", "br", "rect", "line", "path", "circle", "polygon"})


class Html(str):
    """Text that is HTML; any other text is escaped before it becomes part of a page."""

    __slots__ = ()


def html(value: object) -> Html:
    """Return ``value`` as HTML, escaped unless it is HTML already."""
    return value if isinstance(value, Html) else Html(escape(printable(str(value))))


def join(parts: Iterable[object], separator: str = "") -> Html:
    """Join parts; ``None`` is left out."""
    return Html(separator.join(html(part) for part in parts if part is not None))


def join_if_any(parts: Iterable[object]) -> Html | None:
    """Join parts; None where all of them are ``None``."""
    there = [part for part in parts if part is not None]
    return join(there) if there else None


def _attribute(name: str, value: object) -> str:
    name = name.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    # Two decimals are a hundredth of a pixel; more would make a page, which is mostly coordinates, larger.
    text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f' {name}="{escape(printable(text))}"'


def tag(name: str, *children: object, **attributes: object) -> Html:
    """Make an element; ``class_`` is written ``class``, ``stroke_width`` ``stroke-width``, and None is left out."""
    start = name + "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    if name in _WITHOUT_END and not children:
        return Html(f"<{start}/>")
    return Html(f"<{start}>{join(children)}</{name}>")


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    label: str,
    numeric: Iterable[int] = (),
    foot: Sequence[object] | None = None,
) -> Html:
    """Make a table that scrolls sideways where it is too wide; the first cell of a row is its heading.

    Args:
        head: The titles of the columns.
        rows: The cells of each row.
        label: What the table holds, for screen readers.
        numeric: Numbers of the columns that are aligned to the right.
        foot: The cells of the last row.
    """
    right = dict.fromkeys(numeric, "n")

    def row(cells: Sequence[object]) -> Html:
        first, *others = cells
        return tag(
            "tr",
            tag("th", first, scope="row"),
            *(tag("td", cell, class_=right.get(column)) for column, cell in enumerate(others, start=1)),
        )

    titles = (tag("th", cell, scope="col", class_=right.get(column)) for column, cell in enumerate(head))
    return scrolling(
        tag(
            "table",
            tag("thead", tag("tr", *titles)) if head else None,
            tag("tbody", *(row(cells) for cells in rows)),
            tag("tfoot", row(foot)) if foot else None,
            aria_label=label,
        ),
        label,
    )


def definitions(pairs: Iterable[tuple[object, object]], label: str) -> Html:
    """Make a table of two columns, name and value, without a head."""
    return table((), pairs, label=label)


def scrolling(content: Html, label: str) -> Html:
    """Put ``content`` into a box that scrolls sideways, by keyboard too."""
    return tag("div", content, class_="scroll", tabindex=0, role="region", aria_label=label)


def figure(content: object, caption: str) -> Html:
    """Make a figure with a caption, which says what can be seen in it."""
    return tag("figure", content, tag("figcaption", caption))


# Quantities -----------------------------------------------------------------------------------------------------


def number(value: object) -> float | None:
    """Return ``value`` as a float if it is a number up to 1e18, which can be drawn, and else ``None``."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST:
        return float(value) if abs(value) >= SMALLEST else 0.0
    return None


def significant(value: float, digits: int = 3) -> str:
    """Write ``value`` with so many significant digits, and in powers of ten only below 1e-4."""
    if value == 0:
        return "0"
    if abs(value) < 1e-4:
        return f"{value:.{digits - 1}e}"
    rounded = float(f"{value:.{digits - 1}e}")
    return f"{rounded:,.{max(digits - 1 - math.floor(math.log10(abs(rounded))), 0)}f}"


def milliseconds(value: float | None) -> str:
    """Write a latency in ms with its unit and three significant digits; a dash where there is none."""
    return "–" if value is None else f"{significant(value)} ms"


def aligned(value: float, largest: float) -> str:
    """Write ``value`` with as many decimals as give ``largest`` three digits, for a column of figures."""
    return f"{value:.{max(2 - math.floor(math.log10(largest)), 0)}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """Write a fraction of 1 in per cent; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def signed_percent(value: float) -> str:
    """Write a fraction of 1 in per cent with its sign and one decimal."""
    rounded = round(100 * value, 1)
    return f"{'−' if rounded < 0 else '+'}{abs(rounded):.1f} %"


def amount(value: float | None) -> str:
    """Write a number of parameters or MACs in thousands (k), millions (M) or billions (G)."""
    if value is None:
        return "–"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return f"{significant(value / size)} {letter}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """Write a time in its two largest units."""
    if seconds < 60:
        return f"{significant(seconds, 2)} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def shortened(name: str, most: int) -> str:
    """Cut ``name`` to so many characters."""
    return name if len(name) <= most else name[: most - 1] + "…"


def shape(value: object) -> str:
    """Write ``[channels, height, width]`` as ``24 × 56 × 56``; empty where it is not a list of sizes."""
    return " × ".join(str(size) for size in value) if isinstance(value, list | tuple) else ""


def running_text(names: Sequence[str], most: int = 4) -> str:
    """Write names as running text, at most ``most`` of them."""
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    last = shown.pop() if shown else ""
    return f"{', '.join(shown)} and {last}" if shown else last
