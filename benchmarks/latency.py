"""How well the latency table predicts whole networks it has not seen, beside a constant and a line through MACs.

    python benchmarks/latency.py                                   # 28 px and 224 px, 100 networks each
    python benchmarks/latency.py --sizes 28 --networks 30

For each space: the table is measured as ``proxyless measure`` does; then random networks, spread from the smallest to
the largest, are measured whole. None of them was used for the table's correction, and the MACs line is fitted on the
same few networks as the correction. Writes ``benchmarks/results/latency.json`` and ``latency.md``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau

from proxyless import Supernet, derive
from proxyless.latency.device import device
from proxyless.latency.measure import Effort, measure_networks, measure_table, spread_paths
from proxyless.latency.operators import count_macs
from proxyless.spaces.mobilenet import MobileNetSpace

RESULTS = Path(__file__).parent / "results"


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


def study(size: int, count: int, effort: Effort) -> dict[str, Any]:
    """Measure a space and ``count`` networks of it."""
    space = MobileNetSpace(classes=10, channels=1, image_size=size) if size < 64 else MobileNetSpace(image_size=size)
    supernet = Supernet(space.network())
    started = time.perf_counter()
    table = measure_table(supernet, space.input_shape, device("cpu"), effort=effort)
    seconds = time.perf_counter() - started
    fitted = {tuple(network.choices.values()) for network in table.networks}
    paths = [
        path
        for path in spread_paths(supernet, count + 2, seed=1)
        if tuple(c.operations[i] for c, i in zip(supernet.choices.values(), path, strict=True)) not in fitted
    ][:count]
    input_shape = (1, *space.input_shape)
    measured = []
    for start in range(0, len(paths), 25):  # so many sessions fit into memory comfortably
        some = [derive(supernet, path) for path in paths[start : start + 25]]
        measured += [interval.ms for interval in measure_networks(some, (input_shape,), device("cpu"), effort)]
    macs = np.array([count_macs(derive(supernet, path), [torch.zeros(input_shape)]) for path in paths], dtype=float)
    whole = np.array([network.measured_ms for network in table.networks])
    known = []
    for network in table.networks:
        path = [c.operations.index(network.choices[name]) for name, c in supernet.choices.items()]
        known.append(count_macs(derive(supernet, path), [torch.zeros(input_shape)]))
    line = np.polyfit(np.array(known, dtype=float), whole, 1)
    target = np.array(measured)
    plain = np.array(
        [sum(list(r.values())[i].ms for r, i in zip(table.entries.values(), p, strict=True)) for p in paths]
    )
    fixed = np.mean(
        [n.measured_ms - sum(table.entries[c][op].ms for c, op in n.choices.items()) for n in table.networks]
    )
    return {
        "image_size": size,
        "networks": len(paths),
        "measured_ms": {"smallest": float(target.min()), "largest": float(target.max())},
        "spread_cv": float(target.std() / target.mean()),
        "table_seconds": seconds,
        "candidates": sum(len(row) for row in table.entries.values()),
        "correction": {"fixed_ms": table.fixed_ms, "factor": table.factor, "per_block_ms": table.per_block_ms},
        "device": dict(table.device),
        "predictors": {
            "table": errors(np.array([table.of_path(path) for path in paths]), target),
            "plain sum of blocks + fixed part": errors(plain + fixed, target),
            "line through MACs": errors(np.polyval(line, macs), target),
            "constant (mean of the correction's networks)": errors(np.full_like(target, whole.mean()), target),
        },
        "pairs": [[float(table.of_path(path)), ms] for path, ms in zip(paths, measured, strict=True)],
    }


def markdown(studies: list[dict[str, Any]]) -> str:
    """All studies as one table."""
    lines = [
        "| space | networks | ms | spread (CV) | predictor | mean error | 95 % | largest | within 10 % | Kendall tau |"
    ]
    lines.append("| --- | ---: | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for s in studies:
        span = f"{s['measured_ms']['smallest']:.3g} to {s['measured_ms']['largest']:.3g}"
        for name, e in s["predictors"].items():
            lines.append(
                f"| {s['image_size']} px | {s['networks']} | {span} | {s['spread_cv']:.0%} | {name} | {e['mape']:.1%} |"
                f" {e['p95']:.1%} | {e['max']:.1%} | {e['within_10_percent']:.0%} | {e['kendall_tau']:.3f} |"
            )
    lines.append("")
    lines += [
        f"- {s['image_size']} px: table of {s['candidates']} candidates in {s['table_seconds']:.0f} s" for s in studies
    ]
    first = studies[0]["device"]
    lines += ["", f"{first['runtime']} {first['runtime_version']}, 1 thread, batch 1, {first['machine']}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[28, 224])
    parser.add_argument("--networks", type=int, default=100)
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    studies = []
    for size in parsed.sizes:
        studies.append(study(size, parsed.networks, Effort()))
        print(markdown(studies[-1:]), flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latency.json").write_text(json.dumps(studies, indent=1) + "\n")
    (RESULTS / "latency.md").write_text(markdown(studies))


if __name__ == "__main__":
    main()
