"""What the commands print at their end."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyless.errors import one_line

if TYPE_CHECKING:
    from proxyless.latency.table import LatencyTable


@dataclass(frozen=True)
class Answer:
    """What a command comes to: in words, and as a value for ``--json``.

    Args:
        lacking: what of it could not be made, in one line; "" where all of it is there.
    """

    text: str
    value: Any
    lacking: str = ""


def as_json(value: Any) -> str:
    """``value`` as JSON in ASCII; paths are text, and what is no finite number is null."""
    return json.dumps(_plain(value), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def rows(lines: Iterable[tuple[str, str]], width: int = 15) -> str:
    """Names and what is said of them, in two columns."""
    return "\n".join(f"{one_line(name):<{width}} {one_line(text)}" for name, text in lines)


def of_run(values: Mapping[str, Any], run: Path) -> Answer:
    """The result of a run, with its folder."""
    failures = values.get("failures") or {}
    lacking = "; ".join(f"{name} failed: {reason}" for name, reason in failures.items())
    lacking += "; the rest is kept, and the same command tries this again" * bool(failures)
    return Answer(summary(values, run), {"run": run, **values}, lacking)


def summary(values: Mapping[str, Any], run: Path) -> str:
    """The result of a run in a few lines."""
    measured, budget = values["latency_measured_ms"], values["latency_budget_ms"]
    name = metric_name(values)
    lines = [
        ("architecture", values["architecture"]),
        (f"test {name}", f"{written(values, values[f'test_{name}'])} of {values['test_images']} images"),
        *(("by class" if not i else "", text) for i, text in enumerate(by_class(values))),
        ("parameters", f"{values['parameters']:,}"),
        ("MACs", f"{values['macs'] / 1e6:.2f} M"),
    ]
    if (on_device := values.get(f"test_{name}_device_file")) is not None:
        lines.insert(2, ("", f"{written(values, on_device)} as {values['device_file']}"))
    lines += [("caution", text) for text in values.get("data_remarks", ())]
    about_int8 = values.get("int8") or {}
    lines += [("caution", text) for text in about_int8.get("cautions", ())]
    device = values["device"]["name"]
    known = [("predicted", values["latency_predicted_ms"]), ("measured", measured)]
    found = [(f"{how} {ms:.4g} ms", ms) for how, ms in known if ms is not None]
    if found:
        text, last = found[-1]
        text += f" on {device}"
        if budget is not None:
            text += f", budget {budget:g} ms ({last / budget - 1:+.1%})"
        texts = [text for text, _ in found[:-1]] + [text]
        lines += [("" if i else "latency", text) for i, text in enumerate(texts)]
    if about_int8.get("latency_float32_ms") is not None:
        both = f"{about_int8['latency_float32_ms']:.4g} ms in float32 as {about_int8['float32_file']}"
        lines.append(("", f"{both}: use {about_int8['use']}"))
    lines.append(("model", str(run / "model.onnx")))
    if values.get("device_file") not in (None, "model.onnx"):
        lines.append(("", str(run / values["device_file"])))
    lines.append(("report", str(run / "report.html")))
    return rows(lines)


def metric_name(values: Mapping[str, Any]) -> str:
    """The metric that counts, in a result or an evaluation; accuracy where it does not say."""
    name: str = values.get("metric", {}).get("name", "accuracy")
    return name


def written(values: Mapping[str, Any], value: float) -> str:
    """A value of the metric that counts as people read it: in per cent, if it is a share."""
    return f"{value:.2%}" if values.get("metric", {}).get("percent", True) else f"{value:.4g}"


def by_class(values: Mapping[str, Any]) -> list[str]:
    """What an accuracy over all images may hide, in lines; none of a result of before."""
    worst = values.get("worst_class")
    if worst is None:
        return []
    text = f"balanced accuracy {values['test_balanced_accuracy']:.1%}; worst class {one_line(worst['name'])}: "
    lines = [text + f"{worst['recall']:.1%} of {worst['images']} images"]
    if without := values.get("classes_without_test_images"):
        lines.append(f"without test images, so that nothing is known of them: {without} class{'es' * (without > 1)}")
    return lines


def of_table(table: LatencyTable, path: Path) -> Answer:
    """A latency table in a few lines, or figures."""
    from proxyless.latency.calibration import predictions
    from proxyless.latency.timing.statistics import Conditions

    errors = [abs(predicted / measured - 1) for predicted, measured in predictions(table)]
    device = table.device
    count = sum(len(row) for row in table.entries.values())
    lines = [
        ("device", f"{device['name']}: {device['runtime']} {device['runtime_version']}, {device['machine']}"),
        ("candidates", f"{count} at {len(table.entries)} choices"),
        ("networks", f"{table.smallest():.4g} to {table.largest():.4g} ms"),
    ]
    mean, largest = (sum(errors) / len(errors), max(errors)) if errors else (math.nan, math.nan)
    if errors:
        lines.append(("correction", f"{len(errors)} whole networks, mean error {mean:.1%}, largest {largest:.1%}"))
    unmeasured = sum(not entry.measured for row in table.entries.values() for entry in row.values())
    if unmeasured:
        lines.append(("predicted", f"{unmeasured} of the candidates, from those measured"))
    warnings = Conditions(**table.conditions).warnings() if table.conditions else []
    lines += [("caution", warning) for warning in warnings]
    lines.append(("table", str(path)))
    value = {
        "table": path,
        "device": device,
        "choices": len(table.entries),
        "candidates": count,
        "candidates_predicted": unmeasured,
        "smallest_network_ms": table.smallest(),
        "largest_network_ms": table.largest(),
        "networks": len(errors),
        "mean_error": mean,
        "largest_error": largest,
        "warnings": warnings,
    }
    return Answer(rows(lines), value)
