"""Tasks by name: those of this package and of others, for settings and for the files of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from proxyless.errors import ProxylessError, first_line, meant
from proxyless.tasks.metric import METRICS
from proxyless.tasks.task import Task

TaskClass = TypeVar("TaskClass", bound=type[Task])

TASKS: dict[str, type[Task]] = {}
"""The tasks that can be asked for by name."""


def register_task(task: TaskClass) -> TaskClass:
    """Let a task be asked for by its name, and found again by it in the files of a run; a decorator of its class.

    Raises:
        ValueError: another task has the name already.

    Example:
        >>> import torch
        >>> from proxyless.tasks import Metric, Task, make, register_task
        >>> @register_task
        ... class Counting(Task):
        ...     name = "counting"
        ...     metrics = (Metric.mean("off_by", lambda outputs, targets: (outputs - targets).abs(),
        ...                            higher_is_better=False),)
        ...     def loss(self, outputs, targets):
        ...         return torch.nn.functional.poisson_nll_loss(outputs, targets)
        >>> make("counting").metric.name
        'off_by'
    """
    known = TASKS.setdefault(task.name, task)
    if (known.__module__, known.__qualname__) != (task.__module__, task.__qualname__):
        raise ValueError(f"there is a task {task.name!r} already")
    TASKS[task.name] = task
    return task


def make(name: str, **arguments: Any) -> Task:
    """The task of that name, made with the arguments of its class.

    Raises:
        ProxylessError: there is no such task, or it takes other arguments.
    """
    if name not in TASKS:
        raise ProxylessError(
            f"unknown task {name!r}: known are {', '.join(TASKS)}; import the module that registers another one"
            f" first{meant(name, TASKS)}"
        )
    try:
        return TASKS[name](**arguments)
    except TypeError as error:
        raise ProxylessError(f"task {name}: {first_line(error)}") from None


def from_dict(record: Mapping[str, Any]) -> Task:
    """The task that :meth:`Task.to_dict` described; metrics that are not registered here are left out.

    Raises:
        ProxylessError: no task of that name is registered, or it takes other arguments.
    """
    arguments = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in record.items()
        if name not in ("name", "metrics")
    }
    names = record.get("metrics", ())
    known = tuple(name for name in names if name in METRICS)
    if known and "metrics" in getattr(TASKS.get(str(record.get("name"))), "__dataclass_fields__", {}):
        arguments["metrics"] = known
    return make(str(record.get("name")), **arguments)
