"""Shows how well the latency table predicts whole networks, and what each candidate costs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxyless.report.candidates import candidates_of, skips, table_ms
from proxyless.report.charts import Axis, axis, frame, line, rect, svg, text, tick_text
from proxyless.report.markup import (
    Html,
    definitions,
    figure,
    join,
    join_if_any,
    milliseconds,
    number,
    percent,
    scrolling,
    shortened,
    signed_percent,
    significant,
    table,
    tag,
)
from proxyless.report.run_files import RunFiles, mapping, records

_BAND = 0.05
_ROLES = {
    "calibration": "networks the correction was fitted on",
    "check": "networks it had not seen, measured when the architecture was chosen",
}


@dataclass(frozen=True)
class Errors:
    """How far predictions are from measurements, as fractions of the measured latency.

    Args:
        networks: How many networks were compared.
        bias: Mean error with its sign; above 0 where predictions are too slow.
        mape: Mean error without sign.
        largest: Largest error without sign.
        spread: Coefficient of variation of measured / predicted, the error that no single factor can remove; None for
            a single network.
    """

    networks: int
    bias: float
    mape: float
    largest: float
    spread: float | None


def prediction_errors(pairs: Sequence[tuple[float, float]]) -> Errors:
    """Return the errors of ``(measured_ms, predicted_ms)`` pairs, at least one."""
    errors = [(predicted - measured) / measured for measured, predicted in pairs]
    ratios = [measured / predicted for measured, predicted in pairs]
    sizes = [abs(error) for error in errors]
    spread = statistics.stdev(ratios) / statistics.fmean(ratios) if len(ratios) > 1 else None
    return Errors(len(pairs), statistics.fmean(errors), statistics.fmean(sizes), max(sizes), spread)


def _pairs(networks: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    both = ((number(network.get("measured_ms")), number(network.get("predicted_ms"))) for network in networks)
    return [
        (measured, predicted) for measured, predicted in both if measured and predicted and min(measured, predicted) > 0
    ]


def uncorrected(run: RunFiles, networks: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """Return (measured ms, plain sum of the table in ms) of the networks whose choices are all in the table."""
    found = []
    fixed = number(run.latency.get("fixed_ms")) or 0.0
    for network in networks:
        measured = number(network.get("measured_ms"))
        costs = [table_ms(run, choice, str(name)) for choice, name in mapping(network, "choices").items()]
        known = [cost for cost in costs if cost is not None]
        if measured and known and len(known) == len(costs):
            found.append((measured, fixed + sum(known)))
    return found


def _mark(role: str, x: float, y: float, title: str) -> Html:
    if role == "check":
        return tag("circle", tag("title", title), cx=x, cy=y, r=4.5, class_="mark vermilion")
    return rect(x - 3.5, y - 3.5, 7, 7, "mark sky", title)


def scatter(networks: Sequence[dict[str, Any]]) -> Html:
    """Draw measured against predicted latency of whole networks, and a band around the line where they agree."""
    width, height = 470.0, 400.0
    values = [value for pair in _pairs(networks) for value in pair]
    common = axis(values, 0, 1)
    low, high = common.low, common.high
    x, y = Axis(low, high, 56, width - 14), Axis(low, high, height - 46, 46)
    inner_width, inner_height = x.end - x.start, y.start - y.end

    def local(predicted: float, measured: float) -> str:
        return f"{x(predicted) - x.start:.1f},{y(measured) - y.end:.1f}"

    band = [(low, low * (1 - _BAND)), (high, high * (1 - _BAND)), (high, high * (1 + _BAND)), (low, low * (1 + _BAND))]
    parts = [
        tag(
            "svg",  # an inner drawing, which ends the band at the frame
            tag("polygon", points=" ".join(local(*corner) for corner in band), class_="shade"),
            tag("path", d=f"M{local(low, low)}L{local(high, high)}", class_="line grey dash"),
            x=x.start,
            y=y.end,
            width=inner_width,
            height=inner_height,
        ),
        *frame(x, y, x_label="predicted by the table, ms", y_label="Measured, ms"),
    ]
    position = 10.0
    for role, name in _ROLES.items():
        of_role = [network for network in networks if network.get("role") == role]
        if not of_role:
            continue
        parts += [_mark(role, position, 30, name), text(position + 12, 34, role, class_="tick")]
        position += 36 + 6.6 * len(role)
        for network in of_role:
            for measured, predicted in _pairs([network]):
                least, most = number(network.get("low_ms")), number(network.get("high_ms"))
                if least is not None and most is not None:
                    parts.append(line(x(predicted), y(max(least, low)), x(predicted), y(min(most, high)), "whisker"))
                said = f"{role}: predicted {milliseconds(predicted)}, measured {milliseconds(measured)}"
                parts.append(_mark(role, x(predicted), y(measured), said))
    return svg(width, height, *parts, label=f"Scatter of predicted and measured latency of {len(networks)} networks.")


def _errors_table(run: RunFiles, networks: Sequence[dict[str, Any]]) -> Html:
    rows: list[list[object]] = []

    def row(name: str, pairs: Sequence[tuple[float, float]]) -> None:
        if pairs:
            errors = prediction_errors(pairs)
            numbers = (signed_percent(errors.bias), percent(errors.mape), percent(errors.largest))
            rows.append([name, errors.networks, *numbers, percent(errors.spread)])

    for role in _ROLES:
        row(role, _pairs([network for network in networks if network.get("role") == role]))
    unseen = [network for network in networks if network.get("role") == "check"]
    row("check, plain sums", uncorrected(run, unseen))
    head = ["Networks", "Number", "Bias", "Mean", "Largest", "Spread"]
    return table(head, rows, label="Errors of predicted latencies", numeric=range(1, 6))


def _prediction(run: RunFiles) -> Html | None:
    networks = [network for network in records(run.latency, "networks") if _pairs([network])]
    if not networks:
        return None
    unseen = _pairs([network for network in networks if network.get("role") == "check"])
    sentence = None
    if unseen:
        errors = prediction_errors(unseen)
        sentence = tag(
            "p",
            f"On {errors.networks} whole network{'s' * (errors.networks > 1)} that the table was not fitted on, its"
            " prediction is off by ",
            tag("strong", percent(errors.mape)),
            f" on average and by {percent(errors.largest)} at most." if errors.networks > 1 else ".",
        )
    note = (
        "Bias: mean error with its sign, above 0 where predicted too slow. Mean (MAPE) and largest: errors without "
        "sign, in per cent of the measured latency. Spread: coefficient of variation of measured by predicted, "
        "which no single factor could mend. Plain sums: the check networks without the correction."
    )
    caption = (
        "Each mark is one whole network, timed on the device. On the dashed line the prediction is exact; the shaded "
        "band is 5 % around it. Whiskers are the range of repeated timings."
    )
    side = tag("div", _errors_table(run, networks), tag("p", note, class_="small"), _correction(run))
    return join((sentence, figure(tag("div", scatter(networks), side, class_="panels"), caption)))


def _correction(run: RunFiles) -> Html | None:
    parts = mapping(run.latency, "correction")
    fixed = number(run.latency.get("fixed_ms"))
    factor, per_block, per_mib = (number(parts.get(key)) for key in ("factor", "ms_per_block", "ms_per_mib"))
    if fixed is None or factor is None or per_block is None or per_mib is None:
        return None

    def term(value: float, of: str) -> str:
        return f"{'−' if value < 0 else '+'} {significant(abs(value))} ms × {of}"

    return tag(
        "p",
        f"Latency of a network = {significant(fixed)} ms + {significant(factor, 4)} × sum of its blocks in the table "
        f"{term(per_block, 'number of blocks kept')} {term(per_mib, 'MiB of their weights')}.",
        class_="small",
    )


def cost_bars(run: RunFiles) -> Html | None:
    """Draw a bar for each candidate of each choice, with the range of its timings; the chosen one is marked."""
    candidates, chosen = candidates_of(run), run.choices
    rows = [
        (choice, [name for name in names if table_ms(run, choice, name) is not None and not skips(run, choice, name)])
        for choice, names in candidates.by_choice.items()
    ]
    rows = [(choice, names) for choice, names in rows if names]
    if not rows:
        return None
    bars = sum(len(names) for _, names in rows)
    gap, height, left = 10.0, 308.0, 50.0
    thick = min(max((960 - left - gap * len(rows)) / bars, 4.5), 22.0)
    width = left + thick * bars + gap * len(rows) + 4
    tops = [
        table_ms(run, choice, name, key) or 0.0 for choice, names in rows for name in names for key in ("ms", "high_ms")
    ]
    x, y = Axis(0, 1, left, width), axis(tops, height - 92, 30, zero=True)
    parts = frame(x, y, x_label="", y_label="Latency of one candidate by itself, ms", x_ticks=False)
    place = left + gap / 2
    for choice, names in rows:
        start = place
        for name in names:
            ms, low, high = (table_ms(run, choice, name, key) for key in ("ms", "low_ms", "high_ms"))
            look, middle = candidates.look(name), place + thick / 2
            said = f"{choice} {name}: {milliseconds(ms)}"
            if low is not None and high is not None:
                said += f" ({significant(low)} to {significant(high)})"
            top = y(ms or 0.0)
            fill = f"fill {look.colour}"
            parts.append(rect(place, top, thick - 1, y.start - top, fill, said, fill_opacity=float(look.opacity)))
            if low is not None and high is not None:
                parts.append(line(middle - 0.5, y(low), middle - 0.5, y(high), "whisker"))
            if chosen.get(choice) == name:
                peak = y(max(ms or 0.0, high or 0.0)) - 3
                corners = (
                    f"{middle - 4.5:.1f},{peak - 7:.1f} {middle + 3.5:.1f},{peak - 7:.1f} {middle - 0.5:.1f},{peak:.1f}"
                )
                parts.append(tag("polygon", points=corners, class_="ink"))
            place += thick
        turn = f"translate({(start + place) / 2 + 3:.1f} {y.start + 14:g}) rotate(-60)"
        parts.append(tag("text", shortened(choice, 14), transform=turn, text_anchor="end", class_="tick"))
        place += gap
    label = (
        f"Bars of the latency of {bars} candidates in {len(rows)} choices, up to {tick_text(round(max(tops), 4))} ms."
    )
    return svg(width, height, *parts, label=label, wide=True)


def _costs(run: RunFiles) -> Html | None:
    bars = cost_bars(run)
    if bars is None:
        return None
    looks = [look for look in candidates_of(run).looks.values() if look.colour != "grey"]
    looks.sort(key=lambda look: (look.kernel or 0, look.expansion or 0))
    items = (
        tag("li", tag("span", class_=f"swatch {look.colour}", style=f"opacity:{look.opacity:g}"), look.label)
        for look in looks
    )
    caption = (
        "What the search reckoned with: the latency of every candidate, measured by itself on the device, with the "
        "range of repeated timings. A triangle marks the candidate in the chosen network; skipping a "
        "block costs nothing."
    )
    legend = tag("ul", *items, class_="legend")
    drawn = figure(join((legend, scrolling(bars, "Cost of every candidate"))), caption)
    return join((tag("h3", "Cost of every candidate"), drawn))


def _conditions(run: RunFiles) -> list[tuple[str, str]]:
    """Say how quiet the machine was when the table was last measured, and how many candidates were measured."""
    conditions = mapping(run.latency, "conditions")
    rounds, disturbed = number(conditions.get("rounds")), number(conditions.get("disturbed"))
    found = []
    if rounds is not None and disturbed is not None:
        text = f"{rounds:.0f}, of them {disturbed:.0f} disturbed"
        if conditions.get("busy"):
            held_up = (number(conditions.get("throttled")) or 0) >= disturbed
            why = "a CPU quota held them up" if held_up else "the machine was busy"
            text += f" and yet used: {why}, do not trust these latencies"
        found.append(("Rounds", text))
    other = number(conditions.get("other_cores"))
    if other is not None:
        found.append(("Cores used by other programs", significant(other, 2)))
    found += _held_up(conditions)
    rows = [row for row in mapping(run.latency, "choices").values() if isinstance(row, dict)]
    entries = [entry for row in rows for entry in row.values() if isinstance(entry, dict)]
    predicted = sum(entry.get("measured") is False for entry in entries)
    if predicted:
        found.append(("Candidates predicted, not measured", f"{predicted} of {len(entries)}"))
    return found


def _held_up(conditions: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say what held the measuring up, apart from other programs."""
    names = ("quota", "throttled", "throttled_s", "stolen", "stopped_s")
    quota, throttled, throttled_s, stolen, stopped_s = (number(conditions.get(name)) for name in names)
    found = []
    if quota is not None:
        found.append(("CPU quota", f"{quota:g} cores"))
    if throttled:
        found.append(("Rounds held up by a CPU quota", f"{throttled:.0f}, for {significant(throttled_s or 0.0, 2)} s"))
    if stolen:
        found.append(("Time that a hypervisor gave to other machines", percent(stolen)))
    if stopped_s:
        found.append(("Stopped or suspended", f"{significant(stopped_s, 2)} s"))
    return found


def _device(run: RunFiles) -> Html | None:
    names = ("name", "machine", "runtime", "runtime_version", "threads", "batch", "precision")
    labels = {name: name.replace("_", " ").capitalize() for name in names} | {"name": "Device"}
    known = [(label, run.device[key]) for key, label in labels.items() if run.device.get(key) is not None]
    known += [(str(key), value) for key, value in run.device.items() if key not in names and value is not None]
    known += _conditions(run)
    return join((tag("h3", "What was timed"), definitions(known, "Device and runtime"))) if known else None


def section(run: RunFiles) -> Html | None:
    """Show predictions and measurements, the cost of every candidate and the device, if there is a latency table."""
    return join_if_any((_prediction(run), _costs(run), _device(run))) if run.latency else None
