"""What models that are loaded beside one another do to a latency, and what holding it steady mends.

    python benchmarks/latency_steady.py

Two effects, each without and with its remedy, every case in a process of its own, in turn, three times over:

- two models of two threads on ONNX Runtime: threads of the one spin on after an inference while the other runs.
  Compared with each model alone in a process. The remedy is a setting of the session.
- networks of PyTorch at 224 px, loaded after others were: the C library of Linux returns memory that an inference frees
  or keeps it, and a page that was returned is a fault when it is next touched. The remedy is that of ``steady``.

Writes ``benchmarks/results/latency_steady.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from proxyless import Supernet, derive, files
from proxyless.export.onnx import to_onnx
from proxyless.latency import identity
from proxyless.latency.device import device
from proxyless.latency.operators import spread_paths
from proxyless.latency.runtimes import runtime
from proxyless.latency.timing.clock import wall_clock_ms
from proxyless.latency.timing.pinning import keep_freed_memory
from proxyless.spaces.mobilenet import MobileNetSpace

RESULTS = Path(__file__).parent / "results" / "latency_steady.json"
REPEATS = 3
ROUNDS = 15
EAGER = 100
"""Networks of PyTorch that are loaded."""

THREADS = {
    "one model alone": (1, False),
    "two models, as they come": (2, False),
    "one model alone, spinning stopped": (1, True),
    "two models, spinning stopped": (2, True),
}


def two_threads(count: int, stop: bool) -> dict[str, float]:
    """Ms of the larger of ``count`` models of two threads, run in turn."""
    import onnxruntime

    space = MobileNetSpace(image_size=224)
    supernet, x = Supernet(space.network()), torch.randn(1, *space.input_shape)
    sessions = []
    for path in spread_paths(supernet, 2, seed=1)[-count:]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        if stop:
            options.add_session_config_entry("session.force_spinning_stop", "1")
        model = to_onnx(derive(supernet, path), [x], dynamic_batch=False)
        sessions.append(onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]))
    feed = {"input": x.numpy()}
    bursts: list[float] = []
    for _ in range(ROUNDS):
        for session in sessions:
            ms = float(np.median(wall_clock_ms(lambda session=session: session.run(None, feed), 6)[1:]))
        bursts.append(ms)
    return {"ms": float(np.median(bursts))}


def eager(keep: bool) -> dict[str, float]:
    """Sum of ms, and page faults an inference, of networks of PyTorch."""
    import resource

    if keep:
        keep_freed_memory()
    space, target = MobileNetSpace(image_size=224), device("cpu-torch")
    supernet, x = Supernet(space.network()), torch.randn(1, *space.input_shape)
    networks = [derive(supernet, path) for path in spread_paths(supernet, EAGER, seed=1)]
    prepared = [runtime(target.runtime).prepare(network, [x], target) for network in networks]
    bursts = np.empty((3, len(prepared)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for row in bursts:
        for i, one in enumerate(prepared):
            row[i] = np.median(one.times_ms(4)[1:])
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return {"ms": float(np.median(bursts, axis=0).sum()), "faults": faults / (4 * bursts.size)}


def case(name: str) -> dict[str, float]:
    """One case, in this process."""
    torch.set_num_threads(1)
    if name in THREADS:
        return two_threads(*THREADS[name])
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    return eager(keep=name == "kept")


def markdown(result: dict[str, Any]) -> str:
    """Both tables; ratios of medians."""
    runs = result["runs"]

    def median(name: str, what: str = "ms") -> float:
        return float(np.median([run[what] for run in runs[name]]))

    base = median("one model alone")
    lines = [
        "| ONNX Runtime, 2 threads, largest network at 224 px | median ms | beside it alone |",
        "| --- | ---: | ---: |",
    ]
    lines += [f"| {name} | {median(name):.3g} | {median(name) / base:.2f} |" for name in THREADS]
    lines += ["", f"| PyTorch, {EAGER} networks at 224 px loaded | ms of all | page faults an inference |"]
    lines += ["| --- | ---: | ---: |"]
    for name, title in (("as it comes", "memory as it comes"), ("kept", "freed memory kept")):
        lines.append(f"| {title} | {median(name):.0f} | {median(name, 'faults'):.0f} |")
    return "\n".join([*lines, "", f"Medians of {REPEATS} processes each; {result['machine']}."]) + "\n"


def main() -> None:
    """Run every case in a process of its own, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", help="run this one and print its figures as JSON")
    chosen = parser.parse_args().case
    if chosen:
        print(json.dumps(case(chosen)))
        return
    names = [*THREADS, "as it comes", "kept"]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(REPEATS):
        for name in names:
            command = [sys.executable, __file__, "--case", name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(name, runs[name][-1], flush=True)
    result = {"runs": runs, "machine": identity.machine()}
    files.write_json(RESULTS, result)
    files.write_text(RESULTS.with_suffix(".md"), markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
