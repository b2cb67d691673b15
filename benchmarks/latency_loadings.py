"""What loading models several times brings: how far loadings lie apart, and predictions from one, two or more of them.

    python benchmarks/latency_loadings.py                    # ONNX Runtime, 28 px and 224 px
    python benchmarks/latency_loadings.py --sizes 28 --show  # the tables again from the results

All candidates of a space, the networks of the correction and others are loaded eight times or more, each time in a
process of its own, and timed against one another. From the same rounds the table and its correction are then made as if
there had been only some of the loadings, and predict the other networks as those loadings, or all of them, found them.
Results go to ``benchmarks/results/latency_loadings.json``, and ``latency_loadings.md`` is made of them.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from latency import RESULTS, errors, space_of

from proxyless import Supernet, derive, files
from proxyless.architecture import architecture_of
from proxyless.latency import identity
from proxyless.latency.calibration import calibrated
from proxyless.latency.device import device
from proxyless.latency.measure import NETWORKS
from proxyless.latency.operators import SpaceOperators, space_operators, spread_paths
from proxyless.latency.session import timing_session
from proxyless.latency.table import MeasuredNetwork
from proxyless.latency.timing.statistics import Effort, Interval, Round, intervals
from proxyless.machine import system

OUT = RESULTS / "latency_loadings.json"
LOADINGS = 8
COUNTS = (1, 2, 4)
"""Loadings that tables are made of; as many as possible without using one twice."""


def measure(size: int, tested: int) -> dict[str, Any]:
    """The rounds of a space of images of ``size``, and what is made of them."""
    space = space_of(size)
    supernet = Supernet(space.network())
    target, shapes = device("cpu"), ((1, *space.input_shape),)
    operators = space_operators(supernet, shapes)
    known = spread_paths(supernet, NETWORKS, seed=0)
    others = [path for path in spread_paths(supernet, tested + 2, seed=1) if path not in known][:tested]
    rounds: list[Round] = []
    with timing_session(target) as session:
        for key, operator in operators.operators.items():
            session.add(key, operator.module, operator.shapes, called=key)
        for number, path in enumerate([*known, *others]):
            name = f"network {number}"
            session.add(name, derive(supernet, path), shapes, called=name)
        effort = Effort(rounds=6 * LOADINGS, loadings=LOADINGS, width=float("inf"), limit_s=600.0)
        _, conditions = session.time(effort, on_round=rounds.append)
    by_loading: dict[str, list[Round]] = {}
    for done in rounds:
        by_loading.setdefault(done.loading, []).append(done)
    loadings = list(by_loading.values())
    choices = [architecture_of(supernet, path).choices for path in (*known, *others)]

    def predicted(some: Sequence[Sequence[Round]], truth: Mapping[str, Interval]) -> dict[str, float]:
        table = _table(operators, choices[: len(known)], _found([done for one in some for done in one]))
        times = [truth[f"network {number}"].ms for number in range(len(known), len(choices))]
        return errors(np.array([table.of_path(path) for path in others]), np.array(times))

    everything = _found(rounds)
    predictions = []
    for count in COUNTS:
        groups = [loadings[i : i + count] for i in range(0, len(loadings) - count + 1, count)]
        own = [predicted(group, _found(list(itertools.chain(*group)))) for group in groups]
        against_all = [predicted(group, everything) for group in groups]
        predictions.append({"loadings": count, "tables": len(groups), "own": own, "all": against_all})
    return {
        "image_size": size,
        "networks": len(others),
        "candidates": len(operators.operators),
        "loadings": len(loadings),
        "spread": _spread(loadings, operators),
        "predictions": predictions,
        "conditions": asdict(conditions),
    }


def _found(rounds: Sequence[Round]) -> dict[str, Interval]:
    names = list(dict.fromkeys(name for done in rounds for name in done.bursts))
    return intervals(names, rounds, Effort())[0]


def _table(operators: SpaceOperators, known: Sequence[Mapping[str, str]], found: Mapping[str, Interval]) -> Any:
    """A table with its correction."""
    table = operators.table({key: found[key] for key in operators.operators}, identity.describe(device("cpu")))
    networks = []
    for number, choices in enumerate(known):
        time = found[f"network {number}"]
        networks.append(MeasuredNetwork(choices, time.ms, time.low_ms, time.high_ms, "calibration"))
    return calibrated(replace(table, networks=tuple(networks)), operators.weight_mib())


def _spread(loadings: Sequence[Sequence[Round]], operators: SpaceOperators) -> dict[str, dict[str, float]]:
    """CV over loadings, of candidates and of networks: of each alone (median), and of the level of all of them."""
    each = [_found(one) for one in loadings]
    spread = {}
    for what in ("candidates", "networks"):
        names = [name for name in each[0] if (name in operators.operators) == (what == "candidates")]
        ms = np.array([[found[name].ms for name in names] for found in each])
        ms /= ms.mean(axis=0)
        level = np.median(ms, axis=1, keepdims=True)
        own = (ms / level).std(axis=0, ddof=1)
        spread[what] = {"own": float(np.median(own)), "level": float(level.std(ddof=1))}
    return spread


def markdown(studies: Sequence[Mapping[str, Any]]) -> str:
    """Both tables."""
    lines = ["| px | | CV over loadings: each alone, median | level of all |", "| ---: | --- | ---: | ---: |"]
    for study in studies:
        for what, cv in study["spread"].items():
            lines.append(f"| {study['image_size']} | {what} | {cv['own']:.1%} | {cv['level']:.1%} |")
    lines += ["", "| px | loadings | tables | mean error, 95 %, largest | against all loadings |"]
    lines.append("| ---: | ---: | ---: | --- | --- |")
    for study in studies:
        for row in study["predictions"]:
            own, every = (
                ", ".join(f"{np.median([e[name] for e in row[of]]):.1%}" for name in ("mape", "p95", "max"))
                for of in ("own", "all")
            )
            lines.append(f"| {study['image_size']} | {row['loadings']} | {row['tables']} | {own} | {every} |")
    lines.append("")
    for study in studies:
        about = study["conditions"]
        lines.append(
            f"- {study['image_size']} px: {study['candidates']} operators, {NETWORKS} networks of the correction,"
            f" {study['networks']} others; {about['disturbed']} of {about['rounds']} rounds disturbed"
        )
    return "\n".join([*lines, "", f"Medians over tables; {system.machine()}."]) + "\n"


def main() -> None:
    """Run, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[28, 224])
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--show", action="store_true", help="measure nothing")
    parsed = parser.parse_args()
    studies = json.loads(OUT.read_text()) if OUT.exists() else []
    for size in [] if parsed.show else parsed.sizes:
        done = measure(size, parsed.networks)
        studies = [study for study in studies if study["image_size"] != size] + [done]
        files.write_json(OUT, studies)
    text = markdown(studies)
    files.write_text(OUT.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
