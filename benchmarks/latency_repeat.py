"""Whether a latency can be measured again: the same networks in separate processes, and beside a program that computes.

    python benchmarks/latency_repeat.py --add          # one more process; run it now and then over an hour
    python benchmarks/latency_repeat.py --load         # table and networks without and with load on one core
    python benchmarks/latency_repeat.py                # the tables again from the results

``--add`` measures the smallest, a middle and the largest network at 28 and at 224 px in this process, as the last step
of ``proxyless search`` does, and appends what it found. ``--load`` measures the table of the small space and 20
networks three times: idle, with another process computing all the time, idle again; with the second, rounds are
disturbed, and the time limit ends the measuring. Writes ``latency_repeat.json`` and ``.md`` in ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from proxyless import Supernet, derive, files
from proxyless.latency.device import device
from proxyless.latency.measure import measure_networks, measure_table
from proxyless.latency.operators import spread_paths
from proxyless.latency.timing.statistics import Effort
from proxyless.spaces.mobilenet import MobileNetSpace

RESULTS = Path(__file__).parent / "results" / "latency_repeat.json"
SIZES = ("smallest", "middle", "largest")


def space_of(size: int) -> MobileNetSpace:
    """The paper's ImageNet space, or that of small images in one channel."""
    return MobileNetSpace(image_size=size) if size >= 64 else MobileNetSpace(classes=10, channels=1, image_size=size)


def once() -> dict[str, Any]:
    """The networks of both spaces measured in this process."""
    found: dict[str, Any] = {"at": time.strftime("%H:%M:%S"), "ms": {}, "conditions": {}}
    for size in (28, 224):
        space = space_of(size)
        supernet = Supernet(space.network())
        networks = [derive(supernet, path) for path in spread_paths(supernet, 3, seed=5)]
        times, conditions = measure_networks(networks, ((1, *space.input_shape),), device("cpu"), Effort(limit_s=30.0))
        found["ms"] |= {f"{size} px, {which}": t.ms for which, t in zip(SIZES, times, strict=True)}
        found["conditions"][str(size)] = asdict(conditions)
    return found


@contextmanager
def load() -> Iterator[None]:
    """Another process that computes all the time, with little memory."""
    process = subprocess.Popen([sys.executable, "-c", "while True: sum(range(10000))"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def under_load() -> list[dict[str, Any]]:
    """Table and networks: idle, loaded, idle again."""
    space = space_of(28)
    effort = Effort(limit_s=30.0)
    found = []
    for name in ("idle", "one core loaded", "idle again"):
        supernet = Supernet(space.network(), seed=0)
        paths = spread_paths(supernet, 22, seed=1)[1:-1]

        def measure(supernet: Supernet = supernet, paths: list[list[int]] = paths, name: str = name) -> dict[str, Any]:
            table = measure_table(supernet, space.input_shape, device("cpu"), effort=effort)
            networks = [derive(supernet, path) for path in paths]
            times, conditions = measure_networks(networks, ((1, *space.input_shape),), device("cpu"), effort)
            return {
                "machine": name,
                "measured_ms": [t.ms for t in times],
                "predicted_ms": [table.of_path(path) for path in paths],
                "alone_ms": [entry.ms for row in table.entries.values() for entry in row.values()],
                "table": dict(table.conditions),
                "networks": asdict(conditions),
            }

        if name == "one core loaded":
            with load():
                time.sleep(1)
                found.append(measure())
        else:
            found.append(measure())
    return found


def markdown(result: dict[str, Any]) -> str:
    """Both tables."""
    lines = []
    if runs := result.get("processes"):
        calm = [r for r in runs if not any(c["busy"] for c in r["conditions"].values())]
        lines += [
            f"{len(runs)} processes from {runs[0]['at']} to {runs[-1]['at']}; in {len(runs) - len(calm)} the machine"
            " was reported busy.",
            "",
            "| network | median ms | spread (CV) | smallest to largest | the same where not busy |",
            "| --- | ---: | ---: | --- | --- |",
        ]
        for name in runs[0]["ms"]:
            values, quiet = (np.array([r["ms"][name] for r in some]) for some in (runs, calm))
            span, calm_span = (f"{v.min():.4g} to {v.max():.4g}" if len(v) else "-" for v in (values, quiet))
            cv = f"{quiet.std() / quiet.mean():.1%}, {calm_span}" if len(quiet) else "-"
            lines.append(f"| {name} | {np.median(values):.4g} | {values.std() / values.mean():.1%} | {span} | {cv} |")
        lines.append("")
    if loads := result.get("load"):
        first = loads[0]
        lines += [
            "| machine | blocks alone | networks | prediction, mean error | against idle networks | disturbed rounds |"
            " reported busy |",
            "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
        ]
        for one in loads:

            def ratio(key: str, one: dict[str, Any] = one) -> float:
                now, idle = np.array(one[key]), np.array(first[key])
                return float(np.median(now[idle > 0] / idle[idle > 0]) - 1)

            predicted, measured = np.array(one["predicted_ms"]), np.array(one["measured_ms"])
            against = np.abs(predicted / np.array(first["measured_ms"]) - 1).mean()
            both = (one["table"], one["networks"])
            lines.append(
                f"| {one['machine']} | {ratio('alone_ms'):+.1%} | {ratio('measured_ms'):+.1%} |"
                f" {np.abs(predicted / measured - 1).mean():.1%} | {against:.1%} |"
                f" {sum(c['disturbed'] for c in both)} of {sum(c['rounds'] for c in both)} |"
                f" {'yes' if any(c['busy'] for c in both) else 'no'} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what was asked, record, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--load", action="store_true")
    parsed = parser.parse_args()
    result = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if parsed.add:
        result.setdefault("processes", []).append(once())
    if parsed.load:
        result["load"] = under_load()
    if parsed.add or parsed.load:
        files.write_json(RESULTS, result)
    text = markdown(result)
    files.write_text(RESULTS.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
