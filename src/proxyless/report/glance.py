"""Shows at a glance what was asked for, and what came out."""

from __future__ import annotations

import math

from proxyless.report.charts import Axis, line, rect, svg, text
from proxyless.report.markup import Html, amount, definitions, join_if_any, milliseconds, number, percent, tag
from proxyless.report.metrics import ACCURACY, metrics_of
from proxyless.report.run_files import RunFiles, mapping

MEASURING_NOISE = 0.03  # two timings of a network, a minute apart, differ by about this much


def wilson_interval(correct: float, images: int, z: float = 1.96) -> tuple[float, float]:
    """Return the interval that holds the true accuracy with 95 % confidence, by Wilson's score.

    Args:
        correct: Share of the images that were right.
        images: How many images there are.
        z: Quantile of the normal distribution for the confidence.
    """
    centre = (correct + z * z / (2 * images)) / (1 + z * z / images)
    half = z / (1 + z * z / images) * math.sqrt(correct * (1 - correct) / images + z * z / (4 * images * images))
    return centre - half, centre + half


def verdict(measured_ms: float, budget_ms: float) -> tuple[bool, str]:
    """Say whether the budget is met, within the noise of measuring, and in which words."""
    over = measured_ms / budget_ms - 1
    both = f"{milliseconds(measured_ms)} of {milliseconds(budget_ms)}"
    if over <= 0:
        return True, f"Budget met: {both}, {percent(-over)} to spare."
    if over <= MEASURING_NOISE:
        return (
            True,
            f"Budget met within measuring noise: {both}, {percent(over)} above, where repeated timings differ by 3 %.",
        )
    return False, f"Budget missed: {both}, {percent(over)} above."


def title(run: RunFiles) -> str:
    """Return the title of the page: data and device, or the name of the folder."""
    source = str(run.data.get("source") or "").rstrip("/").rsplit("/", 1)[-1]
    device = str(run.device.get("name") or "")
    if device and not source:
        return f"A network for {device}"
    return " on ".join(part for part in (source, device) if part) or run.path.resolve().name


def _budget_bar(run: RunFiles, measured: float, budget: float, met: bool) -> Html:
    low, high = (number(run.result.get(key)) for key in ("latency_low_ms", "latency_high_ms"))
    x = Axis(0, max(measured, budget, high or 0.0) * 1.12, 0, 220)
    parts = [
        rect(0, 4, 220, 12, "shade", rx=2),
        rect(0, 4, x(measured), 12, "met" if met else "missed", rx=2),
        line(x(budget), 0, x(budget), 20, "budget"),
        text(min(x(budget), 166), 33, f"budget {milliseconds(budget)}", "middle", class_="note"),
    ]
    if low is not None and high is not None:
        parts.append(line(x(low), 10, x(high), 10, "whisker"))
    return svg(220, 36, *parts, label=f"Bar of {milliseconds(measured)} against a budget of {milliseconds(budget)}")


def _card(name: str, value: str, *more: object) -> Html:
    return tag("div", tag("p", name, class_="name"), tag("p", value, class_="figure"), *more, class_="card")


def _note(content: str) -> Html:
    return tag("p", content, class_="small")


def _metric_card(run: RunFiles) -> Html | None:
    metric, *others = metrics_of(run)
    test, valid = (number(run.result.get(f"{split}_{metric.name}")) for split in ("test", "valid"))
    if test is None:
        return None
    notes = []
    images = run.counts.get("test")
    if metric == ACCURACY and images and 0 <= test <= 1:
        low, high = wilson_interval(test, int(images))
        notes.append(_note(f"{100 * low:.1f} to {percent(high)} with 95 % confidence, {images:,.0f} images"))
    if valid is not None:
        notes.append(_note(f"{metric.written(valid)} on validation images"))
    balanced, worst = number(run.result.get("test_balanced_accuracy")), mapping(run.result, "worst_class")
    recall = number(worst.get("recall"))
    if balanced is not None and recall is not None:
        notes.append(_note(f"{percent(balanced)} as the mean over classes (balanced accuracy)"))
        notes.append(_note(f"worst class {worst.get('name')}: {percent(recall)} of its {worst.get('images')} images"))
    for other in others:
        notes.append(_note(f"{other.label} {other.written(number(run.result.get(f'test_{other.name}')))}"))
    return _card(f"Test {metric.label}", metric.written(test, 2 if (images or 0) > 5000 else 1), *notes)


def _latency_card(run: RunFiles) -> Html | None:
    measured, budget = (number(run.result.get(key)) for key in ("latency_measured_ms", "latency_budget_ms"))
    predicted = number(run.result.get("latency_predicted_ms"))
    if measured is None:
        return _card("Latency, predicted", milliseconds(predicted)) if predicted is not None else None
    bar = _budget_bar(run, measured, budget, verdict(measured, budget)[0]) if budget else None
    note = _note(f"predicted {milliseconds(predicted)}") if predicted is not None else None
    return _card("Latency, measured", milliseconds(measured), bar, note)


def _asked(run: RunFiles) -> Html | None:
    counts, device = run.counts, run.device
    rows: list[tuple[str, object]] = []
    if run.data.get("source"):
        rows.append(("Data", run.data["source"]))
    size, classes = run.data.get("image_size"), len(run.classes)
    if classes:
        channels = number(run.data.get("channels"))
        colours = f", {channels:.0f} channel{'s' if channels != 1 else ''}" if channels else ""
        noun = {"multi-label": "labels", "regression": "numbers"}.get(str(run.data.get("labelling")), "classes")
        rows.append(
            (
                "Task",
                f"{classes} {noun if classes > 1 else noun[:-1]}"
                + (f", images of {size} × {size} pixels{colours}" if size else ""),
            )
        )
    if counts:
        rows.append(("Images", ", ".join(f"{count:,.0f} {part}" for part, count in counts.items())))
    rows += [("Note" if row else "Found", remark) for row, remark in enumerate(run.remarks)]
    if device.get("name"):
        threads, batch = device.get("threads"), device.get("batch")
        facts = [
            device.get("runtime"),
            f"{threads} thread{'' if threads == 1 else 's'}" if threads else None,
            f"batch {batch}" if batch else None,
            device.get("precision"),
        ]
        rows.append(("Device", ", ".join(str(fact) for fact in (device["name"], *facts) if fact)))
    budget = number(run.result.get("latency_budget_ms"))
    if budget is not None:
        rows.append(("Latency wanted", f"at most {milliseconds(budget)}"))
    if run.architecture.get("space"):
        rows.append(("Search space", run.architecture["space"]))
    if run.result.get("architecture"):
        rows.append(("Network", tag("code", run.result["architecture"])))
    difference = number(run.result.get("onnx_max_difference"))
    if difference is not None:
        rows.append(("ONNX model", f"agrees with PyTorch to {difference:.1e} (largest difference of an output)"))
    rows += _int8(run)
    return definitions(rows, "What was asked") if rows else None


def _int8(run: RunFiles) -> list[tuple[str, object]]:
    """Compare the network in int8 with the one in float32."""
    about = mapping(run.result, "int8")
    accuracy, plain = (number(about.get(f"held_out_accuracy{key}")) for key in ("", "_float32"))
    if accuracy is None or plain is None:
        return []
    ways = "" if about.get("recipe") is None else f"; activations quantised by {about['recipe']}"
    said = f"{percent(accuracy)} of held-out images, {percent(plain)} in float32{ways}"
    ms, plain_ms = number(about.get("latency_ms")), number(about.get("latency_float32_ms"))
    if ms is not None and plain_ms is not None:
        said += f"; {milliseconds(ms)}, {milliseconds(plain_ms)} in float32"
    return [("In int8", f"{said}; use {about.get('use')}")]


def section(run: RunFiles) -> Html | None:
    """Show the verdict, the main figures, and what was asked for."""
    measured, budget = (number(run.result.get(key)) for key in ("latency_measured_ms", "latency_budget_ms"))
    said = []
    if measured is not None and budget:
        met, sentence = verdict(measured, budget)
        mark = tag("span", "✓" if met else "!", aria_hidden="true", class_="sign")
        said.append(tag("p", mark, sentence, class_=f"verdict {'good' if met else 'bad'}"))
    for caution in mapping(run.result, "int8").get("cautions") or ():
        said.append(tag("p", tag("span", "!", aria_hidden="true", class_="sign"), caution, class_="verdict bad"))
    parameters, macs = number(run.result.get("parameters")), number(run.result.get("macs"))
    cards = [
        _metric_card(run),
        _latency_card(run),
        _card("Parameters", amount(parameters), _note(f"{parameters:,.0f}")) if parameters is not None else None,
        _card("MACs", amount(macs), _note("multiply-adds for one image")) if macs is not None else None,
    ]
    shown = [card for card in cards if card is not None]
    parts = [*said, tag("div", *shown, class_="cards") if shown else None, _asked(run)]
    return join_if_any(parts)
