"""Tasks by name: those of this package and of others, for settings and for the files of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from proxyless.errors import ProxylessError, first_line
from proxyless.registry import Registry
from proxyless.tasks.metric import METRICS
from proxyless.tasks.task import Task

TaskClass = TypeVar("TaskClass", bound=type[Task])

TASKS: Registry[type[Task]] = Registry(
    "task",
    "proxyless.tasks",
    {
        "classification": "proxyless.tasks.classification",
        "multi-label": "proxyless.tasks.classification",
        "regression": "proxyless.tasks.regression",
        "segmentation": "proxyless.tasks.segmentation",
    },
)
"""The tasks that can be asked for by name."""


def register_task(task: TaskClass) -> TaskClass:
    """Let a task be asked for by its name, and found again by it in the files of a run; a decorator of its class.

    Raises:
        ProxylessError: the name has another form than ``multi-label``, or a task of another module has it already.

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
    TASKS.register(task.name, task, module=task.__module__)
    return task


def make(name: str, *arguments: Any, **keywords: Any) -> Task:
    """The task of that name, made with the arguments of its class.

    Raises:
        ProxylessError: there is no such task, or it takes other arguments.
    """
    try:
        return TASKS.get(name)(*arguments, **keywords)
    except (TypeError, ValueError) as error:
        raise ProxylessError(f"task {name}: {first_line(error)}") from None


def from_dict(record: Mapping[str, Any]) -> Task:
    """The task that :meth:`Task.to_dict` described; metrics that are not registered here are left out.

    Raises:
        ProxylessError: no task of that name is registered, or it takes other arguments.
    """
    name = str(record.get("name"))
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    if any(isinstance(part, list | dict) for value in values.values() for part in ([value, *_parts(value)])):
        raise ProxylessError(f"task {name}: its arguments must be text, numbers, or lists of either")
    known = tuple(metric for metric in values.pop("metrics", ()) if metric in METRICS.names())
    task = TASKS.get(name)
    if known and is_dataclass(task) and "metrics" in {field.name for field in fields(task)}:
        values["metrics"] = known
    return make(name, **{key: value for key, value in values.items() if key != "name"})


def _parts(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else ()
