"""The layers of a network that was found, with shapes, MACs and ms."""

from __future__ import annotations

from typing import Any

import torch

from proxyless.architecture import Architecture
from proxyless.choice import Zero, settled
from proxyless.inspection import inspect
from proxyless.latency.table import LatencyTable
from proxyless.modules.inputs import Inputs
from proxyless.modules.modes import evaluation
from proxyless.modules.operators import count_macs, example_inputs
from proxyless.supernet import Supernet


def layers(
    supernet: Supernet, architecture: Architecture, table: LatencyTable, input_shape: tuple[int, ...]
) -> list[dict[str, Any]]:
    """One entry for each choice: its name, the operation taken, input and output shape, MACs and predicted ms.

    MACs and ms are those of all runs, shapes those of the first; ``runs`` says how many there are, where several.
    """
    path = architecture.path(supernet)
    example = Inputs(example_inputs(((1, *input_shape),)))
    runs = inspect(supernet.network, supernet.choices, example).always()
    rows = table.rows
    found = []
    for (name, choice), index in zip(supernet.choices.items(), path, strict=True):
        module, taken, first = settled(choice, index), choice.operations[index], runs[name][0]
        with evaluation(module), torch.no_grad():
            output = module(*first.positional, **first.keywords)
        layer = {
            "name": name,
            "operation": taken,
            "input": list(first.shapes[0][1:]),
            "output": list(output.shape[1:]),
            "macs": sum(count_macs(run.bound(module), run.tensors) for run in runs[name]),
            "ms": rows[name][taken],
            "skipped": isinstance(choice.candidate(index), Zero),
        }
        found.append(layer | ({"runs": len(runs[name])} if len(runs[name]) > 1 else {}))
    return found
