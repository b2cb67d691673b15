"""How well the latency of operators that were never measured is predicted, beside learnt models and baselines.

    python benchmarks/latency_model.py                  # measure for about 3 minutes, then fit
    python benchmarks/latency_model.py --quick          # fewer shapes, fewer rounds
    python benchmarks/latency_model.py --from benchmarks/results/latency_model.json    # fit again, without measuring

Measures the distinct candidates of the ImageNet MobileNet space at several image sizes and widths, and some whole
networks, all interleaved in one session, so that a drift of the machine falls on all alike. Then models are fitted on a
part of them and compared on the rest. Each model sees its training shapes only; but which amounts the physical one
counts was settled beforehand, on an earlier measurement of the same shapes.

Writes ``benchmarks/results/latency_model.json``, with the raw measurements, and ``latency_model.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from proxyless import Supernet, derive, files
from proxyless.latency import identity
from proxyless.latency.device import Device, device
from proxyless.latency.operators import space_operators, spread_paths
from proxyless.latency.predict.kernels import Kernel, Kind, kernels
from proxyless.latency.predict.model import Measured, fit, measured
from proxyless.latency.predict.physical import fit_physical
from proxyless.latency.predict.selection import most_telling
from proxyless.latency.session import timing_session
from proxyless.latency.timing.statistics import Effort
from proxyless.modules.operators import example_inputs
from proxyless.spaces.mobilenet import MobileNetSpace

Array = NDArray[np.float64]
Space = tuple[int, float]
"""Image size in px, and width."""

Operator = Sequence[Kernel]
Predictor = Callable[[Sequence[Measured], Sequence[Operator]], Array]
"""Ms of operators, given measured ones."""

RESULTS = Path(__file__).parent / "results"
SPACES: tuple[Space, ...] = ((160, 1.0), (192, 1.0), (224, 1.0), (224, 0.75))
NETWORKS = 8
"""Whole networks of each space."""

LEVEL = 0.9
FOLDS = 10
HALVES = 5


@dataclass(frozen=True)
class Row:
    """Something measured, and the spaces it is found in."""

    spaces: tuple[Space, ...]
    network: bool
    measured: Measured


# -- measuring --


def measure(target: Device, spaces: Sequence[Space], networks: int, effort: Effort) -> tuple[list[Row], dict[str, Any]]:
    """All distinct operators of ``spaces`` and some networks, in one session; and the conditions."""
    launched: dict[str, tuple[Kernel, ...]] = {}
    where: dict[str, list[Space]] = {}
    with timing_session(target) as session:

        def add(key: str, module: torch.nn.Module, shapes: Any, space: Space) -> None:
            where.setdefault(key, []).append(space)
            if key not in launched:
                launched[key] = kernels(module, example_inputs(shapes))
                session.add(key, module, shapes, called=key)

        for size, width in spaces:
            space = MobileNetSpace(image_size=size, width=width)
            supernet = Supernet(space.network())
            shapes = ((target.batch, *space.input_shape),)
            for key, operator in space_operators(supernet, shapes).operators.items():
                add(key, operator.module, operator.shapes, (size, width))
            for number, path in enumerate(spread_paths(supernet, networks, seed=0)):
                add(f"network {size} {width} {number}", derive(supernet, path), shapes, (size, width))
            print(f"{size} px, width {width}: {len(launched)} modules prepared", flush=True)
        found, conditions = session.time(effort)
    rows = [
        Row(tuple(where[key]), key.startswith("network"), Measured(launched[key], time.ms, time.low_ms, time.high_ms))
        for key, time in found.items()
    ]
    return rows, asdict(conditions)


def as_data(rows: Sequence[Row]) -> dict[str, Any]:
    """Measurements as plain numbers: kernels once, operators by the numbers of theirs."""
    distinct = list(dict.fromkeys(kernel for row in rows for kernel in row.measured.kernels))
    number = {kernel: i for i, kernel in enumerate(distinct)}
    operators = [
        {
            "spaces": row.spaces,
            "network": row.network,
            "ms": [row.measured.ms, row.measured.low_ms, row.measured.high_ms],
            "kernels": [number[kernel] for kernel in row.measured.kernels],
        }
        for row in rows
    ]
    return {"kernels": [asdict(kernel) for kernel in distinct], "operators": operators}


def from_data(value: dict[str, Any]) -> list[Row]:
    """The reverse of :func:`as_data`."""
    rows = []
    for row in value["operators"]:
        plain = dict(zip(("ms", "low_ms", "high_ms"), row["ms"], strict=True))
        one = measured({"kernels": [value["kernels"][i] for i in row["kernels"]], **plain})
        rows.append(Row(tuple((int(size), float(width)) for size, width in row["spaces"]), row["network"], one))
    return rows


# -- models --


def constant(train: Sequence[Measured], operators: Sequence[Operator]) -> Array:
    """The geometric mean."""
    return np.full(len(operators), np.exp(np.mean(np.log([one.ms for one in train]))))


def macs_line(train: Sequence[Measured], operators: Sequence[Operator]) -> Array:
    """A fixed part, and MACs of each kind of kernel at a speed of its own; least squares of relative errors."""
    from scipy.optimize import nnls

    def design(rows: Sequence[Operator]) -> Array:
        return np.array([[1.0, *(sum(k.macs for k in row if k.kind is kind) / 1e6 for kind in Kind)] for row in rows])

    ms = np.array([one.ms for one in train])
    found, _ = nnls(design([one.kernels for one in train]) / ms[:, None], np.ones(len(ms)))
    return design(operators) @ found


def physical(train: Sequence[Measured], operators: Sequence[Operator]) -> Array:
    """The physical part of the model alone."""
    model = fit_physical([one.kernels for one in train], np.array([one.ms for one in train]))
    return np.array([model.ms(operator) for operator in operators])


def dimensions(operators: Sequence[Operator]) -> Array:
    """What a learnt model is given: log-dimensions of the kernels of each kind, summed or the largest."""
    rows = []
    for operator in operators:
        row: list[float] = []
        for kind in Kind:
            some = [kernel for kernel in operator if kernel.kind is kind]
            for name in ("macs", "input_bytes", "output_bytes", "weight_bytes"):
                row.append(math.log2(1 + sum(getattr(kernel, name) for kernel in some)))
            for name in ("in_channels", "out_channels", "out_width"):
                row.append(math.log2(max((getattr(kernel, name) for kernel in some), default=1)))
            row += [max((kernel.kernel[-1] for kernel in some), default=0)]
            row += [max((kernel.stride[-1] for kernel in some), default=0), len(some)]
        rows.append(row)
    return np.array(rows, dtype=np.float64)


def boosted(base: Predictor | None, train: Sequence[Measured], operators: Sequence[Operator]) -> Array:
    """Gradient boosting on log latency, or on what ``base`` leaves of it."""
    from sklearn.ensemble import GradientBoostingRegressor

    known = [one.kernels for one in train]
    target, start = np.log([one.ms for one in train]), np.zeros(len(operators))
    if base:
        target, start = target - np.log(base(train, known)), np.log(base(train, operators))
    model = GradientBoostingRegressor(
        n_estimators=400, learning_rate=0.05, max_depth=3, subsample=0.7, random_state=0, min_samples_leaf=3
    )
    model.fit(dimensions(known), target)
    return np.exp(start + model.predict(dimensions(operators)))


def gaussian_process(train: Sequence[Measured], operators: Sequence[Operator]) -> Array:
    """A Gaussian process on log latency over the log-dimensions of whole operators, on top of a linear trend."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern, WhiteKernel
    from sklearn.preprocessing import StandardScaler

    known = dimensions([one.kernels for one in train])
    used = known.std(axis=0) > 0
    scaler = StandardScaler().fit(known[:, used])
    kernel = ConstantKernel(1.0) * Matern(3.0, nu=2.5) + DotProduct(1.0) + WhiteKernel(1e-3)
    model = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a part of the kernel that is not needed ends at its bound
        model.fit(scaler.transform(known[:, used]), np.log([one.ms for one in train]))
    return np.exp(model.predict(scaler.transform(dimensions(operators)[:, used])))


def conformal(predictor: Predictor, train: Sequence[Measured], operators: Sequence[Operator]) -> tuple[Array, Array]:
    """(ms, share of it to either side) with intervals as wide as cross-validation on ``train`` asks for."""
    parts = np.random.default_rng(0).permutation(len(train)) % FOLDS
    errors = []
    for part in range(FOLDS):
        kept = [one for one, number in zip(train, parts, strict=True) if number != part]
        left = [one for one, number in zip(train, parts, strict=True) if number == part]
        predicted = predictor(kept, [one.kernels for one in left])
        errors += np.abs(np.array([one.ms for one in left]) / predicted - 1).tolist()
    rank = min(math.ceil(LEVEL * (len(errors) + 1)), len(errors))
    return predictor(train, operators), np.full(len(operators), np.sort(errors)[rank - 1])


def own_intervals(train: Sequence[Measured], operators: Sequence[Operator]) -> tuple[Array, Array]:
    """The model of the package, with its own intervals."""
    found = fit(train).predict_all(operators, level=LEVEL)
    return np.array([f.ms for f in found]), np.array([(f.high_ms - f.ms) / f.ms for f in found])


MODELS: dict[str, Callable[[Sequence[Measured], Sequence[Operator]], tuple[Array, Array]]] = {
    "hybrid (the package's)": own_intervals,
    "physical": partial(conformal, physical),
    "gradient boosting on the physical's residual": partial(conformal, partial(boosted, physical)),
    "Gaussian process on log-dimensions": partial(conformal, gaussian_process),
    "gradient boosting on log-dimensions": partial(conformal, partial(boosted, None)),
    "line through MACs by kind": partial(conformal, macs_line),
    "constant": partial(conformal, constant),
}


# -- comparing --

Split = tuple[list[Measured], list[Measured]]


def studies(rows: Sequence[Row]) -> dict[str, list[Split]]:
    """(train, test) of each question; several splits where they are random."""
    operators = [row for row in rows if not row.network]
    spaces = {space for row in rows for space in row.spaces}
    found: dict[str, list[Split]] = {}

    def split(train: Callable[[Row], bool], among: Sequence[Row] = operators) -> Split:
        """What ``train`` holds of, and the rest of ``among``."""
        return [row.measured for row in among if train(row)], [row.measured for row in among if not train(row)]

    orders = [np.random.default_rng(seed).permutation(len(operators)) for seed in range(HALVES)]
    halves = [{id(operators[i]) for i in order[: len(order) // 2]} for order in orders]
    found["half of all shapes -> the other half"] = [split(lambda row, half=half: id(row) in half) for half in halves]

    ends = {(160, 1.0), (224, 1.0)}
    if spaces >= {*ends, (192, 1.0)}:
        whole = [row for row in operators if {*row.spaces} & {*ends, (192, 1.0)}]
        found["160 and 224 px -> 192 px"] = [split(lambda row: bool({*row.spaces} & ends), whole)]
        train, _ = split(lambda row: bool({*row.spaces} & ends), [row for row in rows if {*row.spaces} & ends])
        networks = [row.measured for row in rows if row.network and (192, 1.0) in row.spaces]
        if networks:
            found["160 and 224 px, with networks -> whole networks at 192 px"] = [(train, networks)]
    if any(width != 1.0 for _, width in spaces):
        found["width 1.0 -> width 0.75"] = [split(lambda row: any(width == 1.0 for _, width in row.spaces))]
    for share in (0.5, 0.25):
        splits = []
        for space in sorted(spaces):
            some = [row for row in operators if space in row.spaces]
            count = math.ceil(share * len(some))
            taken = {id(some[i]) for i in most_telling([row.measured.kernels for row in some], count, 0)}
            splits.append(split(lambda row, taken=taken: id(row) in taken, some))
        found[f"{share:.0%} of one space, chosen -> the rest of it"] = splits
    return found


def compare(rows: Sequence[Row]) -> dict[str, Any]:
    """Figures of merit of every model in every study."""
    found: dict[str, Any] = {}
    for question, splits in studies(rows).items():
        found[question] = {"train": len(splits[0][0]), "test": len(splits[0][1]), "splits": len(splits), "models": {}}
        for name, model in MODELS.items():
            errors, held, widths = [], [], []
            for train, test in splits:
                predicted, width = model(train, [one.kernels for one in test])
                relative = np.array([one.ms for one in test]) / predicted - 1
                errors += np.abs(predicted / np.array([one.ms for one in test]) - 1).tolist()
                held += (np.abs(relative) <= width).tolist()
                widths += width.tolist()
            found[question]["models"][name] = {
                "mape": float(np.mean(errors)),
                "p95": float(np.quantile(errors, 0.95)),
                "max": float(np.max(errors)),
                "coverage": float(np.mean(held)),
                "half_width": float(np.mean(widths)),
            }
    return found


def markdown(result: dict[str, Any]) -> str:
    """All studies as one table."""
    lines = [
        "| trained on -> tested on | train | test | model | mean error | 95 % | largest | 90 % interval holds | ± |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for question, study in result["studies"].items():
        tests = f"{study['test']}" + (f" x {study['splits']}" if study["splits"] > 1 else "")
        for name, e in study["models"].items():
            lines.append(
                f"| {question} | {study['train']} | {tests} | {name} | {e['mape']:.1%} | {e['p95']:.1%} |"
                f" {e['max']:.1%} | {e['coverage']:.0%} | {e['half_width']:.1%} |"
            )
    conditions, target = result["conditions"], result["device"]
    busy = " **The machine was busy: figures are upper bounds.**" if conditions["busy"] else ""
    lines += [
        "",
        f"Measured in {conditions['seconds']:.0f} s; the intervals of single measurements are"
        f" ±{result['spread']:.1%} (median, 95 %), a floor of these errors.{busy}",
        "",
        f"{target['runtime']} {target['runtime_version']}, {target['precision']}, threads {target['threads']},"
        f" batch {target['batch']}, {target['machine']}.",
    ]
    return "\n".join(lines) + "\n"


def record(path: Path, result: dict[str, Any]) -> None:
    """Write the JSON with one line for each measurement, which keeps it small and its differences readable."""
    parts = []
    for name, value in result.items():
        if name == "raw":
            lists = (f'"{k}": [\n' + ",\n".join(json.dumps(row) for row in v) + "\n]" for k, v in value.items())
            parts.append('"raw": {\n' + ",\n".join(lists) + "\n}")
        else:
            parts.append(f'"{name}": {json.dumps(value, indent=1)}')
    files.write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")


def main() -> None:
    """Measure or read, fit, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="three sizes, fewer networks and rounds")
    parser.add_argument("--from", dest="source", type=Path, help="measurements to fit again")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    if parsed.source:
        result = files.read_json(parsed.source)
        rows = from_data(result["raw"])
    else:
        target = device(parsed.device)
        spaces, networks = (SPACES[:3], 3) if parsed.quick else (SPACES, NETWORKS)
        effort = Effort(rounds=5, limit_s=30) if parsed.quick else Effort(limit_s=100)
        rows, conditions = measure(target, spaces, networks, effort)
        result = {"device": identity.describe(target), "conditions": conditions}
    ones = [row.measured for row in rows]
    result |= {
        "spread": float(np.median([(one.high_ms - one.low_ms) / 2 / one.ms for one in ones])),
        "studies": compare(rows),
    }
    result = {**{name: value for name, value in result.items() if name != "raw"}, "raw": as_data(rows)}
    print(markdown(result))
    stem = "latency_model" + ("" if result["device"]["name"] == "cpu" else f"_{result['device']['name']}")
    parsed.out.mkdir(parents=True, exist_ok=True)
    record(parsed.out / f"{stem}.json", result)
    (parsed.out / f"{stem}.md").write_text(markdown(result))


if __name__ == "__main__":
    main()
