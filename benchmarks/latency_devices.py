"""Do devices agree? Rank correlation of the same networks' latencies, and which candidates each device favours.

    python benchmarks/latency_devices.py

Reads what ``benchmarks/latency.py`` measured at 224 px on the runtimes, precisions and thread counts of this machine
(run it first, with several devices), and adds the published tables of a Pixel 1 for the same networks; pixel1-tunas is
of a space with 32 instead of 24 channels in the first stage. Latencies of this machine are measured ones, those of the
phone sums of its table. Writes ``benchmarks/results/latency_devices.json`` and ``latency_devices.md``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from proxyless import Supernet, files
from proxyless.cost import macs_table
from proxyless.latency import published
from proxyless.spaces.mobilenet import MobileNetSpace

RESULTS = Path(__file__).parent / "results"
SIZE = 224
WIDTHS = {"pixel1": 24, "pixel1-tunas": 32}
"""Channels of the first stage that each published table covers."""


def preferences(
    rows_ms: Mapping[str, Mapping[str, float]], macs: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """Ms a MAC of each kind of candidate beside the mean of all at the same choice: 0.9 is 10 % cheaper than usual."""
    found = defaultdict(list)
    for choice, row in rows_ms.items():
        price = {op: ms / macs[choice][op] for op, ms in row.items() if macs[choice][op]}
        usual = np.mean(list(price.values()))
        for op, value in price.items():
            found[op].append(value / usual)
    return {op: float(np.mean(values)) for op, values in found.items()}


def study(studies: list[dict[str, Any]]) -> dict[str, Any]:
    """Latencies of the same networks on every device, their rank correlations, and the preferences."""
    space = MobileNetSpace(image_size=SIZE)
    macs = macs_table(Supernet(space.network()), space.input_shape)
    paths = studies[0]["paths"]
    assert all(s["paths"] == paths for s in studies), "measured on other networks: run benchmarks/latency.py again"
    latencies = {"MACs": [macs.of_path(path) for path in paths]}
    favours = {}
    for s in studies:
        latencies[s["device"]] = [measured for _, measured in s["pairs"]]
        favours[s["device"]] = preferences(s["rows_ms"], macs.rows)
    for name, width in WIDTHS.items():
        known = MobileNetSpace(image_size=SIZE, first_width=width)
        table = published.table(name, known)
        latencies[name] = [table.of_path(path) for path in paths]
        if name != "pixel1-tunas":  # there only differences within a choice have a meaning, not their ratio to MACs
            favours[name] = preferences(table.rows, macs.rows)
    names = list(latencies)
    taus = [[float(kendalltau(latencies[a], latencies[b]).statistic) for b in names] for a in names]
    return {"networks": len(paths), "devices": names, "kendall_tau": taus, "ms_per_mac": favours}


def markdown(result: dict[str, Any]) -> str:
    """Both tables."""
    names = result["devices"]
    lines = [
        f"Kendall's rank correlation of the latencies of {result['networks']} networks at {SIZE} px.",
        "",
        "| | " + " | ".join(names) + " |",
        "| --- |" + " ---: |" * len(names),
    ]
    for name, row in zip(names, result["kendall_tau"], strict=True):
        lines.append(f"| {name} | " + " | ".join(f"{tau:.3f}" for tau in row) + " |")
    kinds = sorted(next(iter(result["ms_per_mac"].values())))
    lines += [
        "",
        "Ms a MAC of each candidate beside the mean of all candidates at the same place: below 1 is cheap there.",
        "",
        "| | " + " | ".join(kinds) + " |",
        "| --- |" + " ---: |" * len(kinds),
    ]
    for name, row in result["ms_per_mac"].items():
        lines.append(f"| {name} | " + " | ".join(f"{row[kind]:.2f}" for kind in kinds) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compare, print, record."""
    studies = [s for s in json.loads((RESULTS / "latency.json").read_text()) if s["image_size"] == SIZE]
    result = study(studies)
    files.write_json(RESULTS / "latency_devices.json", result)
    files.write_text(RESULTS / "latency_devices.md", markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
