"""Shows the training of the chosen network, and its errors by class."""

from __future__ import annotations

from collections.abc import Sequence

from proxyless.report.charts import Axis, Curve, line, line_chart, panels, rect, svg, text
from proxyless.report.history import learning_charts, timeline
from proxyless.report.markup import Html, amount, figure, join, number, percent, scrolling, shortened, tag
from proxyless.report.metrics import metrics_of, tables
from proxyless.report.run_files import RunFiles

_MOST_IN_MATRIX = 30
_MOST_BARS = 20
_MOST_CONFUSIONS = 3


def _curves(run: RunFiles) -> Html | None:
    history = timeline(run.training)
    rate, seconds = history.curve("learning_rate"), history.curve("seconds")
    return panels(
        (
            *learning_charts(history, metrics_of(run)[0]),
            line_chart([Curve("learning rate", rate, "purple")], y_label="Learning rate", zero=True),
            line_chart([Curve("seconds", seconds, "green")], y_label="Time of an epoch, s", zero=True),
        )
    )


def confusion_matrix(run: RunFiles) -> list[list[float]] | None:
    """Return the counts by true (row) and predicted class, if there are any and they fit the class names."""
    rows = run.confusion.get("matrix")
    size = len(run.classes)
    if not isinstance(rows, list) or size == 0 or len(rows) != size:
        return None
    matrix = [[number(value) for value in row] for row in rows if isinstance(row, list) and len(row) == size]
    known = [[value for value in row if value is not None] for row in matrix]
    return known if len(known) == size and all(len(row) == size for row in known) else None


def class_accuracies(matrix: Sequence[Sequence[float]]) -> list[float | None]:
    """Return the recall of each class, the share of its images that was recognised; None for one without images."""
    return [row[place] / sum(row) if sum(row) else None for place, row in enumerate(matrix)]


def _matrix(names: Sequence[str], matrix: Sequence[Sequence[float]]) -> Html:
    side = 34.0 if len(names) <= 12 else max(400.0 / len(names), 13.0)
    left, top = 100.0, 104.0
    parts = [text(4, 15, "True class, by row", class_="title")]
    for row, name in enumerate(names):
        total = sum(matrix[row]) or 1.0
        y = top + row * side
        parts.append(text(left - 6, y + side / 2 + 4, shortened(name, 14), "end", class_="tick"))
        place = f"translate({left + row * side + side / 2 + 4:.1f} {top - 6:g}) rotate(-60)"
        parts.append(tag("text", shortened(name, 14), transform=place, class_="tick"))
        for column, count in enumerate(matrix[row]):
            part = count / total
            # The square root makes a confusion of a few per cent visible beside the diagonal.
            opacity = max(part, 0.0) ** 0.5 if part >= 0.0005 else 0.04
            colour = "fill sky" if row == column else "fill orange"
            said = f"{name} taken for {names[column]}: {count:g} ({percent(part)})"
            parts.append(rect(left + column * side, y, side - 1, side - 1, colour, said, fill_opacity=opacity))
            if side >= 30 and part >= 0.0095:
                shown, ink = f"{100 * part:.0f}", "on-colour" if part > 0.3 else None
                parts.append(text(left + column * side + side / 2 - 0.5, y + side / 2 + 4, shown, "middle", class_=ink))
    size = side * len(names)
    parts.append(text(left + size / 2, top + size + 18, "predicted class, by column", "middle", class_="tick"))
    label = f"Confusion matrix of {len(names)} classes, in per cent of each true class."
    return svg(max(left + size + 44, 320), top + size + 28, *parts, label=label)


def _bars(names: Sequence[str], accuracies: Sequence[float | None]) -> Html:
    ordered = sorted((accuracy, name) for name, accuracy in zip(names, accuracies, strict=True) if accuracy is not None)
    ordered = ordered[:_MOST_BARS]
    width, step, top = 470.0, 24.0, 30.0
    bottom = top + step * len(ordered)
    x = Axis(0, 100, 106, width - 62)
    parts = [text(4, 15, "Recognised of each class, %", class_="title")]
    for value in x.ticks(4):
        parts.append(line(x(value), top, x(value), bottom, "grid"))
        parts.append(text(x(value), bottom + 16, f"{value:g}", "middle", class_="tick"))
    for row, (accuracy, name) in enumerate(ordered):
        y = top + row * step
        parts.append(text(100, y + 16, shortened(name, 14), "end", class_="tick"))
        said = f"{name}: {percent(accuracy)}"
        parts.append(rect(x.start, y + 4, x(100 * accuracy) - x.start, step - 8, "fill sky", said))
        parts.append(text(width - 4, y + 16, percent(accuracy), "end", class_="tick"))
    worst = f"{ordered[0][1]} {percent(ordered[0][0])} is lowest" if ordered else "no class has images"
    return svg(width, bottom + 24, *parts, label=f"Bars of the accuracy of each class; {worst}.")


def _confusions(names: Sequence[str], matrix: Sequence[Sequence[float]]) -> Html | None:
    errors = sorted(
        (
            (count / sum(row), count, names[true], names[predicted])
            for true, row in enumerate(matrix)
            for predicted, count in enumerate(row)
            if true != predicted and count > 0
        ),
        reverse=True,
    )[:_MOST_CONFUSIONS]
    if not errors:
        return None
    said = "; ".join(
        f"{true} taken for {predicted} ({percent(part)} of its images)" for part, _, true, predicted in errors
    )
    return tag("p", f"Most frequent confusions: {said}.")


def section(run: RunFiles) -> Html | None:
    """Show the curves of the training and the errors by class, if the run has them."""
    parts: list[Html | None] = []
    curves = _curves(run)
    if curves is not None:
        caption = (
            "The chosen network in training, by epoch. Training values are means over the batches of an epoch, with "
            "the recipe's augmentation and regularisation; validation values are of plain images held out."
        )
        parts.append(figure(curves, caption))
    matrix = confusion_matrix(run)
    if matrix is not None:
        names = run.classes
        count, counted = sum(sum(row) for row in matrix), run.confusion.get("counted") or "images"
        caption = f"Errors by class on {amount(count) if count >= 1e6 else f'{count:,.0f}'} {counted}"
        drawn = [_bars(names, class_accuracies(matrix))]
        if len(names) > _MOST_BARS:
            caption += f"; the bars are the {_MOST_BARS} worst classes"
        if len(names) <= _MOST_IN_MATRIX:
            drawn.append(scrolling(_matrix(names, matrix), "Confusion matrix"))
            caption += "; the matrix is in per cent of each true class, right answers blue, confusions orange"
        parts += [tag("h3", "Errors by class"), _confusions(names, matrix), figure(panels(drawn), caption + ".")]
    for title, made in tables(run):
        parts += [tag("h3", title), made]
    return join(parts) if parts else None
