"""REINFORCE against random search, evolution and local search on NAS-Bench-Macro's table, without any training.

    python benchmarks/tabular.py nas-bench-macro_cifar10.json [--seeds 50] [--out benchmarks/results/tabular.json]
    python benchmarks/tabular.py --made-up 60

The second form runs the same comparison on made-up tables, on which all settings were chosen. The table is at
https://github.com/xiusu/NAS-Bench-Macro (Apache-2.0).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyless import files
from proxyless.cost import CostTable
from proxyless.search.blackbox import (
    Allowed,
    Selection,
    Strategy,
    explore,
    local_search,
    random_search,
    regularized_evolution,
)
from proxyless.search.limit import Limit
from proxyless.search.reinforce import Policy, PolicyGradient, Replay, reinforce_replayed
from proxyless.spaces.nas_bench_macro import NasBenchMacroSpace

QUERIES = (50, 100, 200, 500)
CAPS = (None, 40, 50, 60, 70)
COUNTS = (3,) * 8
ON_POLICY = {"samples": 2, "learning_rate": 0.2, "baseline_decay": 0.9}
RESTART_AFTER = 4
REPLAY = Replay()
POPULATION, SAMPLE = 20, 10

RULES = (
    "A query is one network looked up for the first time; a network asked for again is answered from memory and not"
    " counted. MACs are known without a query, so every method leaves out networks above the cap for free: the"
    " baselines by drawing again, REINFORCE by sampling its policy given the cap. What is reported is the table's"
    " mean_acc (mean test accuracy of its trainings, percent) of the best network looked up, best by the same mean_acc;"
    " the methods see mean_acc too. One training differs from the next by 0.17 (standard deviation), so between two"
    " networks less than 0.3 means nothing; the searches are compared by medians over seeds on the same fixed table."
    " All 6,561 names count as networks, though identities commute within a stage and only 3,969 are different."
)
TUNING = (
    "All settings, those of the baselines too, were chosen on made-up tables (--made-up: random effects of each"
    " candidate, random pairwise interactions, saturation, noise; same MACs). With those settings fixed, the comparison"
    " was run on NAS-Bench-Macro once. The shape of the made-up tables, effects and weaker interactions, was thought of"
    " with convolutional networks in mind."
)

Table = dict[Selection, float]


def costs() -> tuple[CostTable, dict[Selection, float]]:
    """MACs in millions, by candidate and by network."""
    space = NasBenchMacroSpace()
    rows = {name: {op: macs / 1e6 for op, macs in row.items()} for name, row in space.layer_macs().items()}
    table = CostTable("million MACs", space.fixed_macs() / 1e6, rows)
    return table, {path: space.macs("".join(map(str, path))) / 1e6 for path in product(range(3), repeat=8)}


def load(path: Path) -> Table:
    """``mean_acc`` in percent of all networks of the benchmark's file."""
    return {tuple(map(int, digits)): float(entry["mean_acc"]) for digits, entry in files.read_json(path).items()}


def made_up(seed: int) -> Table:
    """A table with a candidate's effect by layer, pairwise interactions, saturation and noise."""
    rng = np.random.default_rng(seed)
    paths = list(product(range(3), repeat=8))
    gates = np.eye(3)[np.array(paths)].reshape(len(paths), -1)
    small = rng.uniform(0.1, 1, 8)
    effects = np.stack([np.zeros(8), small, small + rng.uniform(-0.4, 0.7, 8)], axis=1)
    pairs = np.triu(rng.normal(0, rng.uniform(0.05, 0.3), (24, 24)), 3)
    quality = gates @ effects.ravel() + ((gates @ pairs) * gates).sum(axis=1)
    quality = (quality - quality.mean()) / quality.std()
    accuracy = 93.5 - 2.5 * np.exp(-quality * rng.uniform(0.3, 1)) + rng.normal(0, 0.1, len(paths))
    return dict(zip(paths, accuracy.tolist(), strict=True))


def on_policy(policy: Policy) -> Strategy:
    """REINFORCE as in the paper, at a higher rate; from the start again once it samples nothing new."""
    known: set[Selection] = set()
    while True:
        policy.alpha.zero_()
        update, idle = PolicyGradient(policy, **ON_POLICY), 0
        while idle < RESTART_AFTER:
            paths, rewards = policy.sample(update.samples), []
            idle = 0 if set(paths) - known else idle + 1
            for path in paths:
                known.add(path)
                rewards.append((yield path))
            update.update(paths, rewards)


def methods(limit: Limit | None, allowed: Allowed) -> dict[str, Callable[[int], Strategy]]:
    """Each method by name, made from a seed."""
    rng = np.random.default_rng
    return {
        "random": lambda seed: random_search(COUNTS, allowed, rng(seed)),
        "evolution": lambda seed: regularized_evolution(
            COUNTS, allowed, rng(seed), population=POPULATION, sample=SAMPLE
        ),
        "local search": lambda seed: local_search(COUNTS, allowed, rng(seed)),
        "REINFORCE, on-policy": lambda seed: on_policy(Policy.over(COUNTS, seed=seed, limit=limit)),
        "REINFORCE, replayed": lambda seed: reinforce_replayed(Policy.over(COUNTS, seed=seed, limit=limit), REPLAY),
    }


def best_after(found: Table) -> list[float]:
    """Best value after each of :data:`QUERIES` lookups; the last best where a method had nothing more to ask."""
    best = np.maximum.accumulate(list(found.values()))
    return [float(best[min(count, len(best)) - 1]) for count in QUERIES]


def run_cap(cap: int | None, runs: Iterable[tuple[int, Table]], relative: bool) -> dict[str, NDArray[np.float64]]:
    """Best accuracy by method, (runs, queries); minus the optimum under the cap if ``relative``."""
    cost, macs = costs()
    limit = None if cap is None else Limit(cost, cap)
    results: dict[str, list[list[float]]] = {}
    for seed, table in runs:
        optimum = max(value for path, value in table.items() if cap is None or macs[path] <= cap) if relative else 0.0
        strategies = methods(limit, lambda path: cap is None or macs[path] <= cap)
        for name, strategy in strategies.items():
            found = explore(strategy(seed), table.__getitem__, max(QUERIES))
            assert cap is None or max(macs[path] for path in found) <= cap
            results.setdefault(name, []).append([value - optimum for value in best_after(found)])
    return {name: np.array(values) for name, values in results.items()}


def summary(values: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    """Median, quartiles and mean over the runs by number of queries."""
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    mean = values.mean(axis=0)
    return {
        str(count): {name: round(float(row[i]), 3) for name, row in rows.items()}
        for rows in ({"median": median, "low_quartile": low, "high_quartile": high, "mean": mean},)
        for i, count in enumerate(QUERIES)
    }


def title(cap: int | None) -> str:
    return "no cap" if cap is None else f"at most {cap}M MACs"


def markdown(result: dict[str, Any]) -> str:
    """The result as a Markdown page, the best median of each column in bold."""
    lines = ["# Search on NAS-Bench-Macro's table", "", RULES, "", TUNING, ""]
    lines += [f"Median [quartiles] over {result['seeds']} seeds, after so many queries.", ""]
    for cap, part in result["caps"].items():
        lines += [f"## {cap} (best network there is: {part['optimum']:.2f})", ""]
        lines += ["| method | " + " | ".join(map(str, QUERIES)) + " |", "| --- |" + " --- |" * len(QUERIES)]
        top = {str(q): max(row[str(q)]["median"] for row in part["methods"].values()) for q in QUERIES}
        for name, row in part["methods"].items():
            cells = []
            for q in map(str, QUERIES):
                median = f"{row[q]['median']:.2f}"
                median = f"**{median}**" if median == f"{top[q]:.2f}" else median
                cells.append(f"{median} [{row[q]['low_quartile']:.2f}, {row[q]['high_quartile']:.2f}]")
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="REINFORCE against query-only searches on NAS-Bench-Macro's table")
    parser.add_argument("table", type=Path, nargs="?", help="nas-bench-macro_cifar10.json")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/tabular.json"))
    parser.add_argument("--made-up", type=int, metavar="N", help="N made-up tables instead, nothing written")
    arguments = parser.parse_args()
    if (arguments.table is None) == (arguments.made_up is None):
        parser.error("name the table's file, or --made-up N")
    _, macs = costs()
    if arguments.made_up:
        for cap in CAPS:
            values = run_cap(cap, ((seed, made_up(seed)) for seed in range(arguments.made_up)), relative=True)
            print(f"{title(cap)}: mean difference to the best network after {QUERIES} queries")
            for name, rows in values.items():
                print(f"  {name:24s}", " ".join(f"{value:7.3f}" for value in rows.mean(axis=0)), flush=True)
        return
    table = load(arguments.table)
    result: dict[str, Any] = {"rules": RULES, "tuning": TUNING, "seeds": arguments.seeds}
    result["settings"] = {
        "evolution": {"population": POPULATION, "sample": SAMPLE},
        "REINFORCE, on-policy": ON_POLICY | {"restart_after": RESTART_AFTER},
        "REINFORCE, replayed": vars(REPLAY),
    }
    result["caps"] = {}
    for cap in CAPS:
        values = run_cap(cap, ((seed, table) for seed in range(arguments.seeds)), relative=False)
        optimum = max(value for path, value in table.items() if cap is None or macs[path] <= cap)
        part = {"optimum": round(optimum, 3), "methods": {name: summary(rows) for name, rows in values.items()}}
        result["caps"][title(cap)] = part
        print(f"{title(cap)} (best network there is: {optimum:.2f}): median accuracy after {QUERIES} queries")
        for name, row in part["methods"].items():
            print(f"  {name:24s}", " ".join(f"{row[str(q)]['median']:7.2f}" for q in QUERIES), flush=True)
    files.write_json(arguments.out, result)
    files.write_text(arguments.out.with_suffix(".md"), markdown(result))


if __name__ == "__main__":
    main()
