"""Adapting known devices' latency tables to a new device from few timings, on 27 devices that others have measured.

    python benchmarks/fbnet.py --data fbnet_latency.npz
    python benchmarks/fbnet.py --data fbnet_latency.npz --devices development --repeats 3     # nothing written

The data: 5,000 random networks of FBNet's space (22 layers of 9 operations) timed on 27 devices: ``arch``, ``latency``
(ms) and ``device`` (MIT licence).

Every device is the new one in turn. The known tables are regressions on all networks of other devices; the new device
gives n random networks, and everything is tested on the other 5,000 - n. "Other devices" leaves out only the new
device's own column, and near-twins stay (the same GPU with another batch size), which is optimistic; "other hardware"
leaves out all columns of the same hardware; "other kinds" all GPUs for a GPU, all server CPUs for a server CPU, all
phones for a phone, all sums of tables for a sum of tables. "One table" knows a single table of other hardware: that
which, scaled and shifted, fits the n timings best.

While the method was written, it was tried on the devices in ``DEVELOPMENT`` alone; of the others only mean, spread,
correlations and the variance that a regression on all networks explains were known. They are reported apart.
Writes ``benchmarks/results/fbnet.json`` and ``fbnet.md``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from proxyless import files
from proxyless.cost import CostTable
from proxyless.errors import ProxylessError
from proxyless.latency.predict.new_device import Adapted, adapt, gate_vectors

Array = NDArray[np.float64]

SAMPLES = (10, 20, 50, 200, 1000)
RESULTS = Path(__file__).parent / "results"
LAYERS, OPERATIONS = 22, 9
COUNTS = (OPERATIONS,) * LAYERS

DEVELOPMENT = ("2080ti_1", "2080ti_32", "2080ti_64", "silver_4114", "pixel2", "eyeriss")
"""One hardware of each kind, with all its columns."""

KINDS = {
    "sum of tables": ("pixel3", "raspi4", "eyeriss", "fpga"),
    "phone, whole ms": ("essential_ph_1", "pixel2", "samsung_a50", "samsung_s7"),
    "server CPU": ("gold_6226", "gold_6240", "silver_4114", "silver_4210r"),
}
NOTES = (
    "sum of tables: the column is an exact sum of per-layer numbers, so it proves nothing about additivity",
    "phone, whole ms: timed in whole ms, and much of the variance is noise that no table explains",
    "ridge is least squares, adapt has heavy-tailed noise: part of its lead on the phones at 1,000 timings is this",
    "the GPUs are much alike, so leaving out the same hardware hides little from them; other kinds hides all GPUs",
)
ADAPTED = ("other devices", "other hardware", "other kinds", "one table")
METHODS = ("constant", "ridge from nothing", "line through one table", *(f"adapt, {name}" for name in ADAPTED))


def kind(device: str) -> str:
    return next((name for name, members in KINDS.items() if device in members), "GPU")


def hardware(device: str) -> str:
    """The device without its batch size: 2080ti_32 is 2080ti."""
    return device.rsplit("_", 1)[0] if kind(device) == "GPU" else device


def ridge(gates: Array, ms: Array) -> Array:
    """From-nothing ridge regression, lambda by closed-form leave-one-out: (1 + entries,), intercept first."""
    centre, mean = gates.mean(axis=0), ms.mean()
    left, singular, right = np.linalg.svd(gates - centre, full_matrices=False)
    rotated = left.T @ (ms - mean)
    best, chosen = np.inf, rotated
    for penalty in np.geomspace(1e-3, 1e4, 36):
        shrunk = singular**2 / (singular**2 + penalty)
        leverage = 1 / len(ms) + (left**2) @ shrunk
        loss = np.mean(((ms - mean - left @ (shrunk * rotated)) / (1 - np.minimum(leverage, 1 - 1e-9))) ** 2)
        if loss < best:
            best, chosen = loss, singular / (singular**2 + penalty) * rotated
    entries = right.T @ chosen
    return np.concatenate([[mean - centre @ entries], entries])


def as_table(coefficients: Array) -> CostTable:
    rows = coefficients[1:].reshape(LAYERS, OPERATIONS).tolist()
    return CostTable(
        "ms",
        float(coefficients[0]),
        {f"layer {i}": {f"op {j}": ms for j, ms in enumerate(r)} for i, r in enumerate(rows)},
    )


def predictions(table: CostTable, arch: NDArray[np.int64]) -> Array:
    """Of many networks at once: (networks,) ms."""
    return table.fixed + table.matrix().numpy()[np.arange(LAYERS), arch].sum(axis=1)


def line(x: Array, y: Array) -> tuple[float, float, float]:
    """Intercept, slope and squared error of the least squares line."""
    slope = float(np.cov(x, y)[0, 1] / x.var(ddof=1))
    start = float(y.mean() - slope * x.mean())
    return start, slope, float(((y - start - slope * x) ** 2).sum())


def merit(predicted: Array, measured: Array) -> dict[str, float]:
    relative = np.abs(predicted / measured - 1)
    some = slice(0, 1000)  # rank correlation of the first thousand: enough to two decimals
    tau = 0.0 if np.ptp(predicted) == 0 else float(kendalltau(predicted[some], measured[some]).statistic)
    return {"mape": float(relative.mean()), "within_10": float((relative <= 0.1).mean()), "tau": tau}


def coverage(adapted: Adapted, predicted: Array, arch: NDArray[np.int64], measured: Array) -> dict[str, float]:
    """Share of timings within two standard deviations (0.954 where normal), and the mean deviation over the mean ms."""
    std = np.array([adapted.std_ms(path) for path in arch[:200].tolist()])
    return {
        "within_2_std": float((np.abs(predicted[:200] - measured[:200]) <= 2 * std).mean()),
        "relative_std": float(std.mean() / measured.mean()),
    }


def known_tables(device: str, devices: Sequence[str], variant: str) -> list[str]:
    if variant == "other devices":
        return [d for d in devices if d != device]
    if variant == "other kinds":
        return [d for d in devices if kind(d) != kind(device)]
    return [d for d in devices if hardware(d) != hardware(device)]


def fewer(repeats: int) -> int:
    """Draws where many networks are drawn, and a draw matters less and costs more."""
    return max(1, repeats // 3)


def study(
    device: str, arch: NDArray[np.int64], gates: Array, ms: Array, tables: Mapping[str, CostTable], repeats: int
) -> dict[str, Any]:
    """All methods at all sample sizes with ``device`` as the new one: figures of merit, mean over the repeats."""
    whole = {name: predictions(table, arch) for name, table in tables.items()}
    strict = known_tables(device, list(tables), "other hardware")
    found: dict[str, dict[str, Any]] = {method: {} for method in METHODS}
    for count in SAMPLES:
        rows: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
        for repeat in range(repeats if count <= 50 else fewer(repeats)):
            order = np.random.default_rng([repeat, count]).permutation(len(arch))
            sample, test = order[:count], order[count:]
            target, paths, timed = ms[test], arch[sample].tolist(), ms[sample]
            best = min(strict, key=lambda name: line(whole[name][sample], timed)[2])
            start, slope, _ = line(whole[best][sample], timed)
            flat = np.full(len(test), timed.mean())
            rows["constant"].append(merit(flat, target))
            coefficients = ridge(gates[sample], timed)
            rows["ridge from nothing"].append(merit(coefficients[0] + gates[test] @ coefficients[1:], target))
            rows["line through one table"].append(merit(start + slope * whole[best][test], target))
            done: dict[tuple[str, ...], dict[str, float]] = {}  # a device without twins has the same others twice
            for variant in ADAPTED:
                names = (best,) if variant == "one table" else tuple(known_tables(device, list(tables), variant))
                if names not in done:
                    adapted = adapt([tables[name] for name in names], paths, timed.tolist())
                    predicted = predictions(adapted.table, arch[test])
                    done[names] = merit(predicted, target) | coverage(adapted, predicted, arch[test], target)
                rows[f"adapt, {variant}"].append(done[names])
        for method, values in rows.items():
            found[method][str(count)] = {
                key: round(float(np.mean([value[key] for value in values])), 4) for key in values[0]
            }
    return {
        "kind": kind(device),
        "development": device in DEVELOPMENT,
        "mean_ms": round(float(ms.mean()), 3),
        "cv": round(float(ms.std() / ms.mean()), 4),
        "methods": found,
    }


def median(devices: Mapping[str, Any], method: str, count: int, key: str) -> float:
    return float(np.median([d["methods"][method][str(count)][key] for d in devices.values()]))


def summary(title: str, devices: Mapping[str, Any], key: str, show: Callable[[float], str]) -> list[str]:
    lines = [f"| {title} | " + " | ".join(f"n = {n}" for n in SAMPLES) + " |", "| --- |" + " ---: |" * len(SAMPLES)]
    for method in METHODS:
        if key not in devices[next(iter(devices))]["methods"][method][str(SAMPLES[0])]:
            continue
        lines.append(f"| {method} | " + " | ".join(show(median(devices, method, n, key)) for n in SAMPLES) + " |")
    return [*lines, ""]


def percent(value: float) -> str:
    return f"{value:.1%}"


def groups(devices: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Devices by kind, the development ones apart."""
    found: dict[str, dict[str, Any]] = {}
    for name, device in devices.items():
        group = "development devices" if device["development"] else device["kind"]
        found.setdefault(group, {})[name] = device
    return found


def markdown(result: Mapping[str, Any]) -> str:
    devices = result["devices"]
    lines = []
    for group, members in groups(devices).items():
        cv = np.median([d["cv"] for d in members.values()])
        title = f"{group} ({len(members)}, CV {cv:.1%}): MAPE"
        lines += summary(title, members, "mape", percent)
    untouched = {name: d for name, d in devices.items() if not d["development"]}
    title = f"all {len(untouched)} but the development devices"
    if untouched:
        lines += summary(f"{title}: Kendall tau", untouched, "tau", "{:.3f}".format)
        lines += summary(f"{title}: within 10 %", untouched, "within_10", percent)
        lines += summary(f"{title}: within 2 standard deviations as told", untouched, "within_2_std", percent)
    short = [f"{n}" for n in SAMPLES]
    lines += ["| device | kind | CV | " + " | ".join(short) + " |", "| --- | --- | ---: |" + " ---: |" * len(short)]
    for name, device in devices.items():
        cells = []
        for n in SAMPLES:
            ours, theirs = (
                device["methods"][method][str(n)]["mape"] for method in ("adapt, other hardware", "ridge from nothing")
            )
            cells.append(f"{ours:.1%} / {theirs:.1%}")
        mark = ", development" if device["development"] else ""
        lines.append(f"| {name} | {device['kind']}{mark} | {device['cv']:.1%} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Each cell of the last table: MAPE of adapt (other hardware) / of ridge from nothing, at n timings.",
        "",
    ]
    lines += [f"- {note}" for note in NOTES]
    draws = f"{result['repeats']} draws of the n networks, {fewer(result['repeats'])} at n = 200 and 1,000"
    lines += [f"- medians over devices of means over {draws}", ""]
    return "\n".join(lines)


def load(path: Path) -> tuple[NDArray[np.int64], Array, list[str]]:
    """Architectures (networks, layers), latencies (devices, networks) in ms, and device names."""
    path = path / "fbnet_latency.npz" if path.is_dir() else path
    try:
        with np.load(path, allow_pickle=False) as data:
            return data["arch"].astype(np.int64), data["latency"].astype(np.float64), data["device"].tolist()
    except (OSError, KeyError, ValueError) as error:
        raise ProxylessError(
            f"{path}: not the FBNet latencies ({type(error).__name__}): pass fbnet_latency.npz"
        ) from None


def main() -> None:
    parser = argparse.ArgumentParser(description="Few timings of a new device, on 27 devices measured by others")
    parser.add_argument("--data", type=Path, required=True, help="fbnet_latency.npz, or its folder")
    parser.add_argument("--devices", choices=["all", "development"], default="all")
    parser.add_argument("--repeats", type=int, default=6, help="draws of the n networks")
    parser.add_argument("--out", type=Path, default=RESULTS / "fbnet.json")
    arguments = parser.parse_args()
    arch, latency, devices = load(arguments.data)
    gates = gate_vectors(arch.tolist(), COUNTS)
    tables = {name: as_table(ridge(gates, ms)) for name, ms in zip(devices, latency, strict=True)}
    result: dict[str, Any] = {"networks": len(arch), "repeats": arguments.repeats, "devices": {}}
    started = time.perf_counter()
    for name, ms in zip(devices, latency, strict=True):
        if arguments.devices == "development" and name not in DEVELOPMENT:
            continue
        result["devices"][name] = study(name, arch, gates, ms, tables, arguments.repeats)
        print(f"{name}, {time.perf_counter() - started:.0f} s", flush=True)
    print(markdown(result))
    if arguments.devices == "all":
        files.write_json(arguments.out, result)
        files.write_text(arguments.out.with_suffix(".md"), markdown(result))


if __name__ == "__main__":
    main()
