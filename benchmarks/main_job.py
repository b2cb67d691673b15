"""The main job under one or more latency budgets, as a user runs it, and what comes out.

    python benchmarks/main_job.py --name fashion-mnist --data fashion-mnist --latency 0.15
    python benchmarks/main_job.py --name budgets --data fashion-mnist --latency 0.2 0.1
    python benchmarks/main_job.py --name clothing --data CLOTHING_FOLDER --latency 1.0

Every budget is one ``proxyless search`` in a process of its own. Afterwards the networks of all budgets are measured
against one another in one process, ``proxyless evaluate`` is run, and ONNX Runtime alone classifies the test split from
``model.onnx`` and ``model.json``. Further settings are passed on to ``proxyless search``. Writes
``benchmarks/results/NAME.json`` and ``NAME.md``.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"


def proxyless(*arguments: object) -> str:
    """Standard output of a command."""
    command = [sys.executable, "-m", "proxyless", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def onnx_accuracy(run: Path) -> float:
    """Accuracy on the test images by ONNX Runtime and Pillow alone, as the README shows it.

    Of a folder the files in ``test/`` are read; images of data sets without files come from their arrays.
    """
    import onnxruntime
    from PIL import Image, ImageOps

    model = json.loads((run / "model.json").read_text())
    how, size = model["preprocessing"], model["preprocessing"]["image_size"]
    session = onnxruntime.InferenceSession(run / "model.onnx")

    def classify(image: Image.Image) -> str:
        image = ImageOps.exif_transpose(image)
        if image.mode[0] in "IF":  # greys of 16 or 32 bits
            grey, (low, high) = np.float64(image), how["grey_range"] or (0, 65535)
            grey[grey == image.info.get("transparency")] = high
            image = Image.fromarray(np.uint8(((grey - low) / (high - low) * 255).clip(0, 255).round()))
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        image = image.convert("RGB" if how["channels"] == 3 else "L")
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
        x = (np.float32(image).reshape(size, size, -1) / 255 - np.float32(how["mean"])) / np.float32(how["std"])
        return str(model["classes"][session.run(None, {"input": x.transpose(2, 0, 1)[None]})[0].argmax()])

    test = Path(json.loads((run / "data.json").read_text())["source"]) / "test"
    if test.is_dir():
        files = sorted(path for path in test.rglob("*") if path.is_file())
        return float(np.mean([classify(Image.open(path)) == path.parent.name for path in files]))
    from proxyless import data

    record = json.loads((run / "data.json").read_text())
    split = data.load(record["source"], record=record).test
    found = 0
    for start in range(0, len(split), 500):
        indices = np.arange(start, min(start + 500, len(split)))
        for pixels, label in zip(split.images(indices).numpy(), split.labels[indices].tolist(), strict=True):
            found += classify(Image.fromarray(pixels.squeeze(0))) == record["classes"][label]
    return found / len(split)


def latencies(runs: list[Path]) -> list[float]:
    """ms of the exported networks, measured in turn in one process."""
    from proxyless.export.onnx_session import session
    from proxyless.latency.timing.clock import wall_clock_ms
    from proxyless.latency.timing.interleaved import time_interleaved
    from proxyless.latency.timing.pinning import pinned
    from proxyless.latency.timing.statistics import Effort

    class Model:
        def __init__(self, run: Path) -> None:
            self.session = session(run / "model.onnx")
            shape = json.loads((run / "model.json").read_text())["input_shape"]
            self.feed = {"input": np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)}

        def times_ms(self, count: int) -> np.ndarray:
            return wall_clock_ms(lambda: self.session.run(None, self.feed), count)

    with pinned(1):
        found, _ = time_interleaved({str(run): Model(run) for run in runs}, Effort(rounds=30, burst_ms=20))
    return [interval.ms for interval in found.values()]


def expected_latency(run: Path) -> dict[str, float]:
    """E[latency] before and after the search."""
    lines = [json.loads(line) for line in (run / "search" / "history.jsonl").read_text().splitlines()]
    return {"first_ms": lines[0]["expected_latency_ms"], "last_ms": lines[-1]["expected_latency_ms"]}


def row(run: Path, budget: float, seconds: float) -> dict[str, Any]:
    """What one run came to."""
    result = json.loads((run / "result.json").read_text())
    printed = [float(value) for value in re.findall(r"(?:PyTorch|ONNX Runtime) +([\d.]+)%", proxyless("evaluate", run))]
    kept = (
        "test_accuracy",
        "valid_accuracy",
        "test_images",
        "parameters",
        "macs",
        "architecture",
        "onnx_max_difference",
    )
    splits = json.loads((run / "data.json").read_text())["splits"]
    kept += ("latency_predicted_ms", "latency_measured_ms", "latency_low_ms", "latency_high_ms", "device", "versions")
    return {
        "budget_ms": budget,
        **{name: result[name] for name in kept},
        "accuracy_evaluate_pytorch": printed[0] / 100,
        "accuracy_evaluate_onnx": printed[1] / 100,
        "accuracy_onnx_runtime_alone": onnx_accuracy(run),
        "expected_latency": expected_latency(run),
        "images": {name: split["images"] for name, split in splits.items()},
        "seconds": seconds,
        "seconds_by_stage": result["seconds"],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    columns = ["budget ms", "measured ms", "predicted ms", "again, in turn, ms", "test accuracy", "ONNX Runtime alone"]
    columns += ["parameters", "MACs", "minutes"]
    lines = ["| " + " | ".join(columns) + " |", "|" + " ---: |" * len(columns)]
    for r in rows:
        measured, predicted, budget = r["latency_measured_ms"], r["latency_predicted_ms"], r["budget_ms"]
        lines.append(
            f"| {budget:g} | {measured:.4f} ({measured / budget - 1:+.1%})"
            f" | {predicted:.4f} ({predicted / measured - 1:+.1%}) | {r['latency_in_turn_ms']:.4f}"
            f" | {r['test_accuracy']:.2%} | {r['accuracy_onnx_runtime_alone']:.2%}"
            f" | {r['parameters']:,} | {r['macs'] / 1e6:.2f} M | {r['seconds'] / 60:.1f} |"
        )
    lines.append("")
    for r in rows:
        expected = r["expected_latency"]
        lines.append(
            f"- {r['budget_ms']:g} ms: expected latency went from {expected['first_ms']:.4f} to"
            f" {expected['last_ms']:.4f} ms; `{r['architecture']}`"
        )
    if len(rows) > 1:
        first, last = rows[0], rows[-1]
        asked = last["budget_ms"] / first["budget_ms"]
        found = last["latency_in_turn_ms"] / first["latency_in_turn_ms"]
        lines.append(
            f"- measured in turn in one process, the last takes {found:.2f} of the first; asked was {asked:.2f}"
        )
    if images := rows[0].get("images"):
        lines.append("- images: " + ", ".join(f"{count:,} {name}" for name, count in images.items()))
    device = rows[0]["device"]
    lines += [
        "",
        f"{device['runtime']} {device['runtime_version']}, {device['threads']} thread, batch {device['batch']},",
    ]
    lines[-1] += f" {device['machine']}."
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--latency", type=float, nargs="+", required=True)
    parser.add_argument("--keep", type=Path, help="folder for the runs; a temporary one by default")
    parsed, further = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = parsed.keep or Path(temporary)
        runs, rows = [], []
        for budget in parsed.latency:
            run = folder / f"{parsed.name}-{budget:g}"
            started = time.perf_counter()
            proxyless("search", "--data", parsed.data, "--device", "cpu", "--latency", budget, "--out", run, *further)
            rows.append(row(run, budget, time.perf_counter() - started))
            runs.append(run)
            print(run, rows[-1]["test_accuracy"], flush=True)
        for found, ms in zip(rows, latencies(runs), strict=True):
            found["latency_in_turn_ms"] = ms
    shown = list(sys.argv[1:])
    shown[shown.index("--data") + 1] = Path(parsed.data).name
    if "--keep" in shown:
        del shown[shown.index("--keep") : shown.index("--keep") + 2]
    RESULTS.mkdir(exist_ok=True)
    value = {"command": "benchmarks/main_job.py " + " ".join(shown), "runs": rows}
    (RESULTS / f"{parsed.name}.json").write_text(json.dumps(value, indent=1) + "\n")
    (RESULTS / f"{parsed.name}.md").write_text(table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
