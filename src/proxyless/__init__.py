"""Proxyless designs a neural network for your task and your device (ProxylessNAS, arXiv:1812.00332).

Give it data, a device and a latency budget: it measures the device, searches an architecture on the data itself, trains
the network that it found, checks its latency where it will run, and hands over a PyTorch model, an ONNX file and a
report:

    import proxyless

    run = proxyless.search("photos", device="cpu", latency=2.0, out="runs/photos")
    run.predict(["a.jpg", "b.jpg"])

The verbs:

    search(...)         the whole job, for a folder of images or for a network and loaders of your own; returns a Run
    load(path)          a run again: its model, what it takes and answers, its figures, its report
    measure(network)    the latency of a network, or of every candidate of a search space, on this machine
    list_devices()      what can be designed for
    list_spaces()       families of networks to choose from

A search space of your own is any module that holds a Choice wherever there is something to decide. In a training loop
of your own:

    supernet = Supernet(net)                       # net: an nn.Module with Choices
    cost = macs_table(supernet, (3, 32, 32))       # or measure(net, (3, 32, 32), device="cpu")
    update = TwoPathUpdate(supernet, BudgetLoss(cost, budget=2e6))
    for batch, held_out in zip(train, valid):
        supernet.sample()                          # a weight step on a sampled path ...
        ...
        update.step(held_out, criterion)           # ... and a step of the architecture
    network = derive(supernet, update.architecture())

What is learnt is a Task: Classification, MultiLabel, Regression, Segmentation, or a class of your own. Spaces,
runtimes, tasks and metrics of other packages are registered by name: register_space, register_runtime, register_task,
register_metric.

Everything below is imported on first use, so that ``import proxyless`` is quick.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import proxyless.search as _search_package
from proxyless.job import front_door as _front_door

if TYPE_CHECKING:
    from proxyless.architecture import Architecture, architecture_of, derive
    from proxyless.choice import Choice, Zero
    from proxyless.cost import CostTable, macs_table
    from proxyless.errors import ProxylessError
    from proxyless.job.front_door import load, measure, search
    from proxyless.job.run import Run
    from proxyless.latency.device import list_devices
    from proxyless.latency.runtimes import register_runtime
    from proxyless.latency.table import LatencyTable
    from proxyless.search.gradient import AllPathUpdate, TwoPathUpdate
    from proxyless.search.objective import BudgetLoss
    from proxyless.search.reinforce import ReinforceUpdate
    from proxyless.search.reward import LatencyReward
    from proxyless.spaces import list_spaces, register_space
    from proxyless.supernet import Supernet
    from proxyless.tasks import (
        Classification,
        Metric,
        MultiLabel,
        Regression,
        Segmentation,
        Task,
        register_metric,
        register_task,
    )

__version__ = "0.3.0"

__all__ = [
    "AllPathUpdate",
    "Architecture",
    "BudgetLoss",
    "Choice",
    "Classification",
    "CostTable",
    "LatencyReward",
    "LatencyTable",
    "Metric",
    "MultiLabel",
    "ProxylessError",
    "Regression",
    "ReinforceUpdate",
    "Run",
    "Segmentation",
    "Supernet",
    "Task",
    "TwoPathUpdate",
    "Zero",
    "architecture_of",
    "derive",
    "list_devices",
    "list_spaces",
    "load",
    "macs_table",
    "measure",
    "register_metric",
    "register_runtime",
    "register_space",
    "register_task",
    "search",
]

_HOMES = {
    "architecture": ("Architecture", "architecture_of", "derive"),
    "choice": ("Choice", "Zero"),
    "cost": ("CostTable", "macs_table"),
    "errors": ("ProxylessError",),
    "job.front_door": ("load", "measure"),
    "job.run": ("Run",),
    "latency.device": ("list_devices",),
    "latency.runtimes": ("register_runtime",),
    "latency.table": ("LatencyTable",),
    "search.gradient": ("AllPathUpdate", "TwoPathUpdate"),
    "search.objective": ("BudgetLoss",),
    "search.reinforce": ("ReinforceUpdate",),
    "search.reward": ("LatencyReward",),
    "spaces": ("list_spaces", "register_space"),
    "supernet": ("Supernet",),
    "tasks": (
        *("Classification", "Metric", "MultiLabel", "Regression", "Segmentation", "Task"),
        *("register_metric", "register_task"),
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'proxyless' has no attribute {name!r}")
    return getattr(import_module(f"proxyless.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _SearchPackage(ModuleType):
    """The package ``proxyless.search``, which is at the same time the verb: calling it runs the main job."""

    __wrapped__ = staticmethod(_front_door.search)  # whose signature and parameters tools show

    def __call__(self, *positional: Any, **named: Any) -> Run:
        return _front_door.search(*positional, **named)


_search_package.__class__ = _SearchPackage
