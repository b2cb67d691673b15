"""What is learnt: loss, metrics and predictions as an object that the loops of search and training are given.

:class:`Classification`, :class:`MultiLabel`, :class:`Regression` and :class:`Segmentation` are here. A task of one's
own is a class with a name, a loss and metrics (see :class:`Task`); :func:`register_task` lets it be asked for by name.
"""

from proxyless.tasks.classification import Classification, MultiLabel
from proxyless.tasks.metric import METRICS, Metric, register_metric
from proxyless.tasks.registry import TASKS, from_dict, make, register_task
from proxyless.tasks.regression import Regression
from proxyless.tasks.segmentation import Segmentation
from proxyless.tasks.task import Confusion, Forward, Table, Task
from proxyless.tasks.totals import Totals

__all__ = [
    "METRICS",
    "TASKS",
    "Classification",
    "Confusion",
    "Forward",
    "Metric",
    "MultiLabel",
    "Regression",
    "Segmentation",
    "Table",
    "Task",
    "Totals",
    "from_dict",
    "make",
    "register_metric",
    "register_task",
]
