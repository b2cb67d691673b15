"""A run folder with made-up but likely figures, for the tests of the report."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

CLASSES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
STAGES = ((24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
BUDGET_MS = 4.0
WARMUP_EPOCHS, SEARCH_EPOCHS, TRAINING_EPOCHS = 8, 32, 60


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def _write_lines(path: Path, values: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")


def _mbconv_macs(inputs: int, outputs: int, size: int, kernel: int, expansion: int, stride: int) -> int:
    hidden, after = inputs * expansion, size // stride
    return inputs * hidden * size**2 + hidden * kernel**2 * after**2 + hidden * outputs * after**2


def build_run(path: Path, *, snapshots: int = 40, seed: int = 0) -> Path:
    """Write every file of a finished run of 21 choices with up to 7 candidates in ``path``."""
    random_ = random.Random(seed)
    choices: dict[str, dict[str, dict[str, float]]] = {}
    chosen: dict[str, str] = {}
    layers = []
    channels, size = 16, 112
    for stage, (width, count, first_stride) in enumerate(STAGES, start=1):
        for block in range(count):
            stride = first_stride if block == 0 else 1
            name, after = f"stage{stage}.block{block}", size // stride
            row, macs = {}, {}
            for kernel in (3, 5, 7):
                for expansion in (3, 6):
                    candidate = f"k{kernel}_e{expansion}"
                    macs[candidate] = _mbconv_macs(channels, width, size, kernel, expansion, stride)
                    ms = 0.02 + macs[candidate] / 1.2e8 * (1 + 0.06 * kernel) * random_.uniform(0.95, 1.05)
                    row[candidate] = {"ms": ms, "low_ms": ms * 0.97, "high_ms": ms * random_.uniform(1.02, 1.08)}
            if channels == width:
                row["skip"] = {"ms": 0.0, "low_ms": 0.0, "high_ms": 0.0}
                macs["skip"] = 0
            choices[name] = row
            if block == 0:
                pick = random_.choice(["k5_e6", "k7_e6", "k7_e3"])
            else:
                pick = random_.choice(["k3_e3", "k3_e3", "k5_e3", "skip", "k7_e6" if stage > 4 else "k5_e3"])
            chosen[name] = pick
            layers.append(
                {
                    "name": name,
                    "operation": pick,
                    "input": [channels, size, size],
                    "output": [width, after, after],
                    "macs": macs[pick],
                    "ms": row[pick]["ms"],
                    "skipped": pick == "skip",
                }
            )
            channels, size = width, after
    fixed, factor, per_block = 0.78, 0.943, -0.004

    def predict(picks: dict[str, str]) -> float:
        kept = sum(pick != "skip" for pick in picks.values())
        return fixed + factor * sum(choices[name][pick]["ms"] for name, pick in picks.items()) + per_block * kept

    networks = []
    for index in range(40):
        picks = chosen if index == 39 else {name: random_.choice(list(row)) for name, row in choices.items()}
        role = "calibration" if index < 16 else "check"
        measured = predict(picks) * random_.gauss(1, 0.013)
        networks.append(
            {
                "measured_ms": measured,
                "predicted_ms": predict(picks),
                "low_ms": measured * 0.99,
                "high_ms": measured * 1.015,
                "role": role,
                "choices": picks,
            }
        )
    device = {
        "name": "Intel Xeon (2 cores)",
        "runtime": "onnxruntime",
        "threads": 1,
        "batch": 1,
        "precision": "float32",
        "machine": "x86_64, Linux",
        "runtime_version": "1.23.0",
    }
    latency = {
        "format": 2,
        "unit": "ms",
        "device": device,
        "conditions": {"rounds": 16, "disturbed": 1, "other_cores": 0.02, "seconds": 31.0, "wide": 0, "busy": False},
        "fixed_ms": fixed,
        "correction": {"factor": factor, "ms_per_block": per_block, "ms_per_mib": 0.0},
        "choices": choices,
        "networks": networks,
    }
    _write(path / "latency.json", latency)
    _write_lines(path / "search" / "history.jsonl", _search_history(choices, chosen, snapshots, random_))
    _write_lines(path / "training" / "history.jsonl", _training_history(random_))
    _write(
        path / "architecture.json",
        {"space": "mobilenet", "arguments": {"classes": 10, "image_size": 224}, "choices": chosen},
    )
    final = networks[-1]
    result = {
        "test_accuracy": 0.9317,
        "valid_accuracy": 0.9352,
        "parameters": 3_912_442,
        "macs": sum(int(layer["macs"]) for layer in layers),  # type: ignore[call-overload]
        "latency_budget_ms": BUDGET_MS,
        "latency_predicted_ms": final["predicted_ms"],
        "latency_measured_ms": final["measured_ms"],
        "latency_low_ms": final["low_ms"],
        "latency_high_ms": final["high_ms"],
        "architecture": " | ".join(
            " ".join(pick for name, pick in chosen.items() if name.startswith(f"stage{stage}."))
            for stage in range(1, 7)
        ),
        "device": device,
        "data": "fashion-mnist",
        "seconds": {
            "data": 3.1,
            "measure": 74.2,
            "search": 2710.5,
            "derive": 21.0,
            "train": 4122.0,
            "check": 18.5,
            "report": 0.4,
        },
        "versions": {"proxyless": "0.1.0", "torch": "2.14.0", "timm": "1.0.20", "onnxruntime": "1.23.0"},
        "onnx_max_difference": 3.1e-6,
        "layers": layers,
    }
    _write(path / "result.json", result)
    _write(
        path / "data.json",
        {
            "source": "fashion-mnist",
            "classes": CLASSES,
            "splits": {"train": {"images": 55000}, "valid": {"images": 5000}, "test": {"images": 10000}},
            "image_size": 224,
            "channels": 3,
            "mean": [0.286, 0.286, 0.286],
            "std": [0.353, 0.353, 0.353],
            "split_method": "stratified, seed 0",
        },
    )
    _write(path / "confusion.json", {"classes": CLASSES, "matrix": _confusion(random_)})
    _write(
        path / "model.json",
        {
            "classes": CLASSES,
            "preprocessing": {"image_size": 224, "channels": 3, "mean": [0.286] * 3, "std": [0.353] * 3},
            "input_shape": [3, 224, 224],
        },
    )
    (path / "config.yaml").write_text(
        "data: fashion-mnist\n"
        "seed: 0\n"
        "device: cpu\n"
        f"latency: {BUDGET_MS}\n"
        f"search: {{epochs: {SEARCH_EPOCHS}, warmup_epochs: {WARMUP_EPOCHS}, update: two-path}}\n"
        f"training: {{epochs: {TRAINING_EPOCHS}, learning_rate: 0.05, weight_decay: 4.0e-5}}\n",
        encoding="utf-8",
    )
    return path


def _search_history(
    choices: dict[str, dict[str, dict[str, float]]], chosen: dict[str, str], snapshots: int, random_: random.Random
) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for step in range(24):
        done = (step + 1) / 24
        lines.append(
            {
                "stage": "warmup",
                "epoch": WARMUP_EPOCHS * done,
                "step": 100 * (step + 1),
                "loss": 2.3 * math.exp(-1.1 * done) + random_.gauss(0, 0.03),
                "accuracy": 0.72 - 0.6 * math.exp(-2.5 * done) + random_.gauss(0, 0.01),
                "expected_latency_ms": 6.1,
            }
        )
    logits = {name: [random_.gauss(0, 0.01) for _ in row] for name, row in choices.items()}
    multiplier = 0.0
    for snapshot in range(snapshots):
        done = (snapshot + 1) / snapshots
        probabilities, expected, entropy = [], 0.78, 0.0
        for name, row in choices.items():
            drift = [5.0 / snapshots * (candidate == chosen[name]) for candidate in row]
            logits[name] = [a + d + random_.gauss(0, 0.09) for a, d in zip(logits[name], drift, strict=True)]
            powers = [math.exp(a) for a in logits[name]]
            p = [power / sum(powers) for power in powers]
            probabilities.append(p)
            expected += sum(share * cost["ms"] for share, cost in zip(p, row.values(), strict=True))
            entropy -= sum(share * math.log(share) for share in p) / len(choices)
        multiplier = max(0.0, multiplier + 0.05 * (expected / BUDGET_MS - 1))
        lines.append(
            {
                "stage": "search",
                "epoch": WARMUP_EPOCHS + SEARCH_EPOCHS * done,
                "step": 2400 + 300 * (snapshot + 1),
                "loss": 0.76 * math.exp(-0.8 * done) + random_.gauss(0, 0.015),
                "accuracy": 0.86 - 0.14 * math.exp(-2 * done) + random_.gauss(0, 0.005),
                "valid_loss": 0.72 * math.exp(-0.7 * done) + random_.gauss(0, 0.02),
                "valid_accuracy": 0.87 - 0.13 * math.exp(-2 * done) + random_.gauss(0, 0.006),
                "expected_latency_ms": expected,
                "budget_ms": BUDGET_MS,
                "entropy": entropy,
                "multiplier": multiplier,
                "probabilities": probabilities,
            }
        )
    return lines


def _training_history(random_: random.Random) -> list[dict[str, Any]]:
    lines = []
    for epoch in range(1, TRAINING_EPOCHS + 1):
        done = epoch / TRAINING_EPOCHS
        lines.append(
            {
                "epoch": epoch,
                "loss": 0.9 * math.exp(-2.4 * done) + 0.12 + random_.gauss(0, 0.008),
                "accuracy": 0.955 - 0.3 * math.exp(-5 * done) + random_.gauss(0, 0.002),
                "valid_loss": 0.6 * math.exp(-3.5 * done) + 0.2 + random_.gauss(0, 0.012),
                "valid_accuracy": 0.936 - 0.2 * math.exp(-5 * done) + random_.gauss(0, 0.004),
                "learning_rate": 0.025 * (1 + math.cos(math.pi * done)),
                "seconds": random_.gauss(68, 2),
            }
        )
    return lines


def _confusion(random_: random.Random) -> list[list[int]]:
    alike = {
        (0, 6): 82,
        (6, 0): 95,
        (2, 4): 61,
        (4, 2): 48,
        (2, 6): 54,
        (6, 2): 49,
        (4, 6): 57,
        (6, 4): 44,
        (5, 7): 17,
        (9, 7): 32,
    }
    matrix = [[alike.get((row, column), random_.randint(0, 5)) for column in range(10)] for row in range(10)]
    for row in range(10):
        matrix[row][row] = 0
        matrix[row][row] = 1000 - sum(matrix[row])
    return matrix
