"""Weight gradients of wide depthwise convolutions: what strips save in a layer, and in a whole step of a search.

    python benchmarks/speed.py [--large] [--repeats 5]

Both ways run in one process and one thread, in turn; times are CPU times, so that other load matters less. Compared are
medians of the ratios of neighbours. Layers: the weight gradient alone. Steps: a weight step of the space ``mobilenet``
on uniform paths, the same paths for both ways; strips are used where the timing of a plan says so, as in ``proxyless
search`` (:class:`proxyless.modules.depthwise.Plan`). ``--large`` adds 224 px. Writes ``benchmarks/results/speed.json``
and ``speed.md``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from proxyless import Supernet, files
from proxyless.machine import system
from proxyless.modules.depthwise import Plan, fast_weight_gradients, weight_gradient
from proxyless.spaces.mobilenet import MobileNetSpace

OUT = Path(__file__).parent / "results" / "speed.json"
LAYERS = [
    *((480, 14, kernel, 1, 16) for kernel in (5, 7)),
    *((144, 28, kernel, 1, 16) for kernel in (5, 7)),
    *((96, 56, kernel, 1, 16) for kernel in (5, 7)),
    *((96, 16, kernel, 1, 64) for kernel in (5, 7)),
    *((144, 56, kernel, 2, 16) for kernel in (5, 7)),
    *((480, 14, kernel, 2, 16) for kernel in (5, 7)),
]
"""Channels, px, kernel, stride, batch."""
STEPS = [(32, 64), (112, 16)]
LARGE = (224, 8)
"""Px, batch."""


def in_turn(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each way, one after the other and again; each runs once before."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            start = time.process_time()
            way()
            if repeat:
                seconds[name].append(time.process_time() - start)
    return seconds


def layer(channels: int, px: int, kernel: int, stride: int, batch: int, repeats: int) -> dict[str, Any]:
    """The weight gradient of one layer, both ways."""
    torch.manual_seed(0)
    padding = kernel // 2
    conv = nn.Conv2d(channels, channels, kernel, stride, padding, groups=channels, bias=False)
    conv = conv.to(memory_format=torch.channels_last)
    x = torch.randn(batch, channels, px, px).to(memory_format=torch.channels_last)
    weight = conv.weight.detach()
    with torch.no_grad():
        gradient = torch.randn_like(conv(x))

    def plain() -> torch.Tensor:
        pairs = ((stride, stride), (padding, padding), (1, 1), False, (0, 0), channels)
        return torch.ops.aten.convolution_backward(gradient, x, weight, None, *pairs, [False, True, False])[1]

    def strips() -> torch.Tensor:
        return weight_gradient(x, gradient, (kernel, kernel), (stride, stride), (padding, padding))

    expected = plain()
    seconds = in_turn({"plain": plain, "strips": strips}, repeats)
    found = {"channels": channels, "px": px, "kernel": kernel, "stride": stride, "batch": batch}
    difference = float((strips() - expected).abs().max() / expected.abs().max())
    return found | {"seconds": seconds, "difference": difference}


def step(px: int, batch: int, repeats: int) -> dict[str, Any]:
    """A weight step of a search, both ways, on the same paths and with the same weights to begin with."""
    space = MobileNetSpace(classes=10, channels=3, image_size=px)
    decided = Plan()
    ways = {name: Step(space, batch, plan) for name, plan in (("plain", None), ("strips", decided))}
    drawn = Supernet(space.network(), seed=1)
    paths = [drawn.sample(uniform=True) for _ in range(repeats)]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for path in paths:  # the first run of a path also times what was not timed yet
        for way in ways.values():
            way.run(path)
        for name, way in ways.items():
            start = time.process_time()
            way.run(path)
            seconds[name].append(time.process_time() - start)
    known = decided.known
    return {"px": px, "batch": batch, "seconds": seconds, "timed": len(known), "in_strips": sum(known.values())}


class Step:
    """A supernet that is trained on random images."""

    def __init__(self, space: MobileNetSpace, batch: int, plan: Plan | None) -> None:
        torch.manual_seed(0)
        self.supernet = Supernet(space.network(), seed=0).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.x = torch.randn(batch, *space.input_shape).to(memory_format=torch.channels_last)
        self.labels = torch.randint(0, 10, (batch,))
        self.optimizer = torch.optim.SGD(self.supernet.weights(), lr=0.05, momentum=0.9, nesterov=True)
        self.plan = plan

    def run(self, path: list[int]) -> None:
        """One step on ``path``."""
        self.supernet.path = path
        with fast_weight_gradients(self.supernet, self.plan):
            nn.functional.cross_entropy(self.supernet(self.x), self.labels).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def ratios(row: dict[str, Any]) -> list[float]:
    """Plain to strips, of neighbours."""
    return [plain / strips for plain, strips in zip(row["seconds"]["plain"], row["seconds"]["strips"], strict=True)]


def times(row: dict[str, Any]) -> str:
    """Medians of both ways, the median of the ratios, and the lowest and highest."""
    of = ratios(row)
    plain, strips = (1e3 * statistics.median(row["seconds"][name]) for name in ("plain", "strips"))
    return f"{plain:.1f} | {strips:.1f} | {statistics.median(of):.2f} | {min(of):.2f}, {max(of):.2f}"


def markdown(result: dict[str, Any]) -> str:
    """Both tables."""
    heads = "plain, ms | strips, ms | plain to strips | lowest and highest |"
    lines = [f"| weight gradient of | {heads}", "| --- | ---: | ---: | ---: | ---: |"]
    for row in result["layers"]:
        kernel, stride = f"{row['kernel']}x{row['kernel']}", f", stride {row['stride']}" if row["stride"] > 1 else ""
        lines.append(
            f"| {row['channels']} channels, {row['px']} px, {kernel}{stride}, batch {row['batch']} | {times(row)} |"
        )
    lines += ["", f"| weight step of a search | {heads} in strips, of shapes timed |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    for row in result["steps"]:
        lines.append(f"| {row['px']} px, batch {row['batch']} | {times(row)} | {row['in_strips']} of {row['timed']} |")
    difference = max(row["difference"] for row in result["layers"])
    load = ", ".join(f"{value:.1f}" for value in result["load"])
    lines += [
        "",
        f"{result['repeats']} repeats, 1 thread, float32; largest difference of a gradient {difference:.1e} of its",
    ]
    lines[-1] += f" largest value. PyTorch {result['torch']}, {result['machine']}; load of the machine at the beginning"
    lines[-1] += f" and at the end: {load}."
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="also a step at 224 px")
    parser.add_argument("--repeats", type=int, default=5)
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"repeats": parsed.repeats, "torch": torch.__version__, "machine": system.machine()}
    result |= {"load": [os.getloadavg()[0]], "layers": [], "steps": []}
    for shape in LAYERS:
        result["layers"].append(layer(*shape, parsed.repeats))
        print(shape, times(result["layers"][-1]), file=sys.stderr)
    for px, batch in [*STEPS, LARGE] if parsed.large else STEPS:
        result["steps"].append(step(px, batch, parsed.repeats))
        print(px, batch, times(result["steps"][-1]), file=sys.stderr)
    result["load"].append(os.getloadavg()[0])
    files.write_json(OUT, result)
    text = markdown(result)
    files.write_text(OUT.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
