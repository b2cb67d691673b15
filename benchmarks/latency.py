"""How well the latency table predicts whole networks it has not seen, on every runtime, beside simpler predictors.

    python benchmarks/latency.py                                            # ONNX Runtime, 28 px and 224 px
    python benchmarks/latency.py --device cpu-int8 cpu:2 --sizes 224        # int8; two threads
    python benchmarks/latency.py --show                                     # the tables again from the results

For each device and space: the table is measured as ``proxyless measure`` does; then, in a second session, random
networks, spread from the smallest to the largest, all against one another in interleaved rounds. None of them was used
for the correction. The networks that were are measured again among them: a machine is not equally fast in two sessions,
and "corrected again" is the table with its correction fitted on this second measurement, as ``proxyless search`` does
before it derives a network. Beside the table: the plain sum of its blocks plus a fixed part, a line through MACs and a
constant, all fitted on the same networks as "corrected again". Each study replaces its own part of
``benchmarks/results/latency.json``, and ``latency.md`` is made of all of them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from proxyless import Supernet, derive, files
from proxyless.architecture import indices
from proxyless.cost import macs_table
from proxyless.latency.calibration import calibrated
from proxyless.latency.device import Device, device
from proxyless.latency.measure import measure_networks, measure_table
from proxyless.latency.operators import space_operators, spread_paths
from proxyless.latency.timing.statistics import Effort
from proxyless.spaces.mobilenet import MobileNetSpace

RESULTS = Path(__file__).parent / "results"


def space_of(size: int) -> MobileNetSpace:
    """The paper's ImageNet space, or that of small images in one channel."""
    return MobileNetSpace(image_size=size) if size >= 64 else MobileNetSpace(classes=10, channels=1, image_size=size)


def chosen_device(text: str) -> tuple[str, Device]:
    """``cpu:2`` is the device cpu with two threads."""
    name, _, threads = text.partition(":")
    return text, device(name, threads=int(threads) if threads else None)


def errors(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Figures of merit of a prediction in ms."""
    relative = np.abs(predicted / measured - 1)
    constant = np.ptp(predicted) == 0
    return {
        "mape": float(relative.mean()),
        "bias": float((predicted / measured - 1).mean()),
        "p95": float(np.quantile(relative, 0.95)),
        "max": float(relative.max()),
        "within_10_percent": float((relative <= 0.1).mean()),
        "kendall_tau": 0.0 if constant else float(kendalltau(predicted, measured).statistic),
    }


def study(name: str, target: Device, size: int, count: int, effort: Effort) -> dict[str, Any]:
    """Measure a space and ``count`` networks of it."""
    space = space_of(size)
    supernet = Supernet(space.network())
    started = time.perf_counter()
    table = measure_table(supernet, space.input_shape, target, effort=effort)
    seconds = time.perf_counter() - started
    candidates = {choice: c.operations for choice, c in supernet.choices.items()}
    known = [indices(network.choices, candidates) for network in table.networks]
    paths = [path for path in spread_paths(supernet, count + 2, seed=1) if path not in known][:count]
    networks = [derive(supernet, path) for path in [*known, *paths]]
    shapes = ((target.batch, *space.input_shape),)
    found, conditions = measure_networks(networks, shapes, target, effort)
    again = tuple(
        replace(network, measured_ms=t.ms, low_ms=t.low_ms, high_ms=t.high_ms)
        for network, t in zip(table.networks, found, strict=False)
    )
    corrected = calibrated(replace(table, networks=again), space_operators(supernet, shapes).weight_mib())
    whole = np.array([network.measured_ms for network in again])
    measured = np.array([interval.ms for interval in found[len(known) :]])
    macs = macs_table(supernet, space.input_shape)
    line = np.polyfit([macs.of_path(path) for path in known], whole, 1)
    alone = [[entry.ms for entry in row.values()] for row in table.entries.values()]

    def plain(path: list[int]) -> float:
        return sum(row[i] for row, i in zip(alone, path, strict=True))

    fixed = np.mean([ms - plain(path) for path, ms in zip(known, whole, strict=True)])
    predicted = np.array([corrected.of_path(path) for path in paths])
    drift = whole / np.array([network.measured_ms for network in table.networks]) - 1
    return {
        "device": name,
        "image_size": size,
        "networks": len(paths),
        "measured_ms": {"smallest": float(measured.min()), "largest": float(measured.max())},
        "spread_cv": float(measured.std() / measured.mean()),
        "interval_half_width": float(np.median([(t.high_ms - t.low_ms) / 2 / t.ms for t in found])),
        "table_seconds": seconds,
        "candidates": sum(len(row) for row in table.entries.values()),
        "correction": {"fixed_ms": corrected.fixed_ms} | dict(corrected.correction),
        "second_session": {"median": float(np.median(drift)), "std": float(drift.std())},
        "description": dict(table.device),
        "conditions": {"table": dict(table.conditions), "networks": asdict(conditions)},
        "predictors": {
            "table, corrected again": errors(predicted, measured),
            "table as first measured": errors(np.array([table.of_path(path) for path in paths]), measured),
            "plain sum of blocks + fixed part": errors(np.array([plain(p) for p in paths]) + fixed, measured),
            "line through MACs": errors(np.polyval(line, [macs.of_path(p) for p in paths]), measured),
            "constant": errors(np.full_like(measured, whole.mean()), measured),
        },
        "pairs": [[float(p), float(m)] for p, m in zip(predicted, measured, strict=True)],
        "paths": paths,
        "rows_ms": {choice: dict(row) for choice, row in corrected.rows.items()},
    }


def markdown(studies: list[dict[str, Any]]) -> str:
    """All studies as one table."""
    head = "| device | px | networks | ms | spread (CV) | predictor | mean error | 95 % | largest | within 10 % |"
    lines = [head + " Kendall tau |", "| --- | ---: | ---: | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |"]
    for s in studies:
        span = f"{s['measured_ms']['smallest']:.3g} to {s['measured_ms']['largest']:.3g}"
        for name, e in s["predictors"].items():
            lines.append(
                f"| {s['device']} | {s['image_size']} | {s['networks']} | {span} | {s['spread_cv']:.0%} | {name} |"
                f" {e['mape']:.1%} | {e['p95']:.1%} | {e['max']:.1%} | {e['within_10_percent']:.0%} |"
                f" {e['kendall_tau']:.3f} |"
            )
    lines.append("")
    machine = Counter(s["description"]["machine"] for s in studies).most_common(1)[0][0]
    for s in studies:
        about, busy = s["description"], list(s["conditions"].values())
        disturbed, rounds = (sum(c[key] for c in busy) for key in ("disturbed", "rounds"))
        lines.append(
            f"- {s['device']}, {s['image_size']} px: {about['runtime']} {about['runtime_version']},"
            f" {about['precision']}, threads {about['threads']}, batch {about['batch']}; table of"
            f" {s['candidates']} candidates in {s['table_seconds']:.0f} s;"
            f" in the second session the same networks took {s['second_session']['median']:+.1%} (median); {disturbed}"
            f" of {rounds} rounds disturbed"
            f"{', machine busy' * any(c['busy'] for c in busy)}"
            f"{'; on another machine, ' + about['machine'] if about['machine'] != machine else ''}"
        )
    return "\n".join([*lines, "", f"{machine}."]) + "\n"


def main() -> None:
    """Run, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", nargs="+", default=["cpu"], metavar="NAME[:THREADS]")
    parser.add_argument("--sizes", type=int, nargs="+", default=[28, 224])
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--out", type=Path, default=RESULTS / "latency.json")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    parsed = parser.parse_args()
    studies = json.loads(parsed.out.read_text()) if parsed.out.exists() else []
    for name, target in [] if parsed.show else map(chosen_device, parsed.device):
        for size in parsed.sizes:
            done = study(name, target, size, parsed.networks, Effort())
            others = [s for s in studies if (s["device"], s["image_size"]) != (name, size)]
            studies = sorted([*others, done], key=lambda s: (s["device"], s["image_size"]))
            files.write_json(parsed.out, studies)
            print(markdown([done]), flush=True)
    if studies:
        files.write_text(parsed.out.with_suffix(".md"), markdown(studies))
        print(markdown(studies))


if __name__ == "__main__":
    main()
