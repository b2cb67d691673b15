"""The update rules from one warm-up: what they find, how good that is when trained alone, what a step costs.

    python benchmarks/method.py [--images 12000] [--seeds 3]

Fashion-MNIST, a small ``mobilenet`` space, a budget in MACs (so that nothing depends on the clock). One supernet is
warmed up; from its state two-path, all-path and REINFORCE each search for the same number of epochs, with the settings
of ``proxyless search``; the rate of alpha is the same for all. The baseline is choice at random within 10 % of the
budget. Every architecture is trained from scratch with the same recipe and ``--seeds`` seeds, and accuracy is on the
held-out split of the training images (the test split is not touched).

Step time is the median over architecture steps at batch 128; memory is by how much the peak resident size of a fresh
process grows while it runs such steps, beside a step that keeps the outputs of all candidates in the graph (as one-shot
and DARTS do). Writes ``benchmarks/results/method.json`` and ``method.md``.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from proxyless import Architecture, Choice, Supernet, architecture_of, data
from proxyless.cost import CostTable, macs_table
from proxyless.data.batches import Batches
from proxyless.search.gradient import AllPathUpdate, SampledCandidates, TwoPathUpdate
from proxyless.search.loop import Schedule, SearchLoop
from proxyless.search.objective import BudgetLoss
from proxyless.search.reinforce import ReinforceUpdate
from proxyless.search.reward import LatencyReward
from proxyless.search.steps import ArchitectureUpdate
from proxyless.spaces.mobilenet import MobileNetSpace
from proxyless.tasks import Classification
from proxyless.training.loop import Recipe, TrainingLoop, evaluate

RESULTS = Path(__file__).parent / "results"
SPACE = MobileNetSpace(classes=10, channels=1, image_size=28, width=0.25, depths=(2, 2, 2, 2, 2, 1))
BATCH, WARM_UP, EPOCHS, EVERY, RATE = 128, 2, 3, 1, 0.05

TASK = Classification(label_smoothing=0.1)


class AllKept(AllPathUpdate):
    """The reference for memory: m(x) = sum_i g_i o_i(x), every candidate's output and graph kept."""

    class Sum:
        def __init__(self, gates: Tensor) -> None:
            self.gates = gates

        def mix(self, choice: Choice, inputs: tuple[Tensor, ...]) -> Tensor:
            outputs = [self.gates[i] * choice.candidate(i)(*inputs) for i in range(len(choice))]
            return torch.stack(outputs).sum(dim=0)

    def gating(self, row: int, sampled: SampledCandidates, gates: Tensor) -> AllKept.Sum:
        return self.Sum(gates)


def rules(cost: CostTable, budget: float) -> dict[str, Callable[[Supernet], ArchitectureUpdate]]:
    """The update rules by name."""

    def gradient(rule: type[TwoPathUpdate] | type[AllPathUpdate]) -> Callable[[Supernet], ArchitectureUpdate]:
        return lambda supernet: rule(supernet, BudgetLoss(cost, budget, gain=0.06), learning_rate=RATE)

    return {
        "two-path": gradient(TwoPathUpdate),
        "all-path": gradient(AllPathUpdate),
        "REINFORCE": lambda supernet: ReinforceUpdate(supernet, LatencyReward(cost, budget), learning_rate=RATE),
        "all outputs kept": gradient(AllKept),
    }


def supernet_and_cost() -> tuple[Supernet, CostTable, float]:
    """A fresh supernet, its MACs, and the budget: halfway between the smallest and the mean network."""
    torch.manual_seed(0)
    supernet = Supernet(SPACE.network(), seed=0)
    cost = macs_table(supernet, SPACE.input_shape)
    mean = float(cost.expected(supernet.mask / supernet.mask.sum(dim=1, keepdim=True)))
    return supernet.to(memory_format=torch.channels_last), cost, (cost.smallest() + mean) / 2


def step_cost(rule: str) -> dict[str, float]:
    """Median seconds of an architecture step, and by how many MiB it raises the peak size of this process."""
    supernet, cost, budget = supernet_and_cost()
    update = rules(cost, budget)[rule](supernet)
    batch = torch.randn(BATCH, *SPACE.input_shape).to(memory_format=torch.channels_last), torch.randint(0, 10, (BATCH,))
    with torch.no_grad():
        supernet(batch[0][:8])
    before = peak_kib()
    seconds = []
    for _ in range(12):
        started = time.perf_counter()
        update.step(batch, nn.functional.cross_entropy)
        seconds.append(time.perf_counter() - started)
    return {"step_seconds": float(np.median(seconds[2:])), "peak_mib": (peak_kib() - before) / 1024}


def peak_kib() -> int:
    """Peak resident size of this process; getrusage would count that of the parent before exec as well."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]


def train_alone(architecture: Architecture, batches: Batches, seed: int) -> float:
    """Held-out accuracy of the network trained from scratch."""
    torch.manual_seed(seed)
    network = SPACE.build(architecture).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loop = TrainingLoop(network, batches, Recipe(epochs=4, learning_rate=0.2, seed=seed), TASK)
    return evaluate(loop.run(), batches.valid(), TASK).figures()["accuracy"]


def random_architectures(supernet: Supernet, cost: CostTable, budget: float, count: int) -> list[Architecture]:
    """Uniformly drawn networks of 90 to 100 % of the budget."""
    found: list[Architecture] = []
    while len(found) < count:
        path = supernet.sample(uniform=True)
        if 0.9 * budget <= cost.of_path(path) <= budget:
            found.append(SPACE.architecture(dict(architecture_of(supernet, path).choices)))
    return found


def markdown(result: dict[str, Any]) -> str:
    """The result as a table."""
    lines = ["| rule | held-out accuracy, mean and each seed | MACs | step, ms | memory, MiB | architecture |"]
    lines.append("| --- | --- | ---: | ---: | ---: | --- |")
    for name, row in result["rules"].items():
        accuracies = row.get("accuracies")
        shown = f"{np.mean(accuracies):.2%} ({', '.join(f'{a:.2%}' for a in accuracies)})" if accuracies else "-"
        macs = f"{row['macs'] / 1e6:.2f} M" if "macs" in row else "-"
        step = f"{1e3 * row['step_seconds']:.0f}" if "step_seconds" in row else "-"
        memory = f"{row['peak_mib']:.0f}" if "peak_mib" in row else "-"
        lines.append(f"| {name} | {shown} | {macs} | {step} | {memory} | {row.get('architecture', '-')} |")
    lines += [
        "",
        f"Budget {result['budget_macs'] / 1e6:.2f} M MACs; {result['images']:,} training images; batch {BATCH};",
    ]
    lines[-1] += f" warm-up {WARM_UP} epochs, search {EPOCHS} epochs, one architecture step a weight step."
    return "\n".join(lines) + "\n"


def measured_step(rule: str) -> dict[str, float]:
    """:func:`step_cost` in a fresh process."""
    command = [sys.executable, __file__, "--step", rule]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def record(result: dict[str, Any]) -> None:
    """Write the files and print the table."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "method.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "method.md").write_text(markdown(result))
    print(markdown(result))


def main() -> None:
    """Run, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps-only", action="store_true", help="measure the steps again, keep the rest of the file")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.step:
        print(json.dumps(step_cost(parsed.step)))
        return
    if parsed.steps_only:
        result = json.loads((RESULTS / "method.json").read_text())
        for name in rules(*supernet_and_cost()[1:]):
            result["rules"][name] |= measured_step(name)
        record(result)
        return
    images = data.load("fashion-mnist", valid_fraction=0.15, seed=0)
    labels = images.train.labels[: parsed.images]
    train = replace(
        images.train, pixels=type(images.train.pixels)(images.train.images(np.arange(len(labels)))), labels=labels
    )
    images = replace(images, train=train)
    batches = Batches(images, BATCH, 0, torch.device("cpu"))
    supernet, cost, budget = supernet_and_cost()
    result: dict[str, Any] = {"budget_macs": budget, "images": len(labels), "torch": torch.__version__, "rules": {}}
    schedule = Schedule(WARM_UP, EPOCHS, 0.05, architecture_every=EVERY)
    states: list[dict[str, Any]] = []
    for name, make in rules(cost, budget).items():
        row: dict[str, Any] = dict(measured_step(name))
        result["rules"][name] = row
        if name != "all outputs kept":
            fresh, _, _ = supernet_and_cost()
            start = SPACE.quick_start(fresh)
            keep = lambda state: states.append(copy.deepcopy(state)) if len(states) < WARM_UP else None  # noqa: E731
            loop = SearchLoop(fresh, make(fresh), batches, schedule, TASK, start=start, checkpoint=keep)
            if states:  # the same warm-up for all; the update rule begins afresh
                loop.load_state_dict(states[-1] | {"update": loop.update.state_dict()})
            loop.run()
            taken = SPACE.architecture(dict(loop.update.architecture().choices))
            row["architecture"], row["macs"] = SPACE.describe(taken), cost.of(taken)
            row["accuracies"] = [train_alone(taken, batches, seed) for seed in range(parsed.seeds)]
        print(name, row, flush=True)
    chosen = random_architectures(supernet, cost, budget, parsed.seeds)
    accuracies = [train_alone(architecture, batches, seed) for seed, architecture in enumerate(chosen)]
    result["rules"]["at random"] = {
        "accuracies": accuracies,
        "macs": float(np.mean([cost.of(architecture) for architecture in chosen])),
        "architecture": "another for each seed",
    }
    record(result)


if __name__ == "__main__":
    main()
