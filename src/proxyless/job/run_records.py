"""The JSON files of a run folder that later commands read, sure to hold what these take from them."""

from __future__ import annotations

import dataclasses
from typing import Any

from proxyless import files, tasks
from proxyless.errors import ProxylessError, short
from proxyless.files.fields import Fields
from proxyless.job.run_folder import RunFolder
from proxyless.tasks import Classification, Task

COUNT = 2**53
"""No count beyond this is taken for real."""


def read_data(run: RunFolder) -> dict[str, Any]:
    """What the data of a run were.

    Raises:
        ProxylessError: the file is missing, or holds something else.
    """
    fields = _fields(files.read_json(run.need(run.data, "search")), f"{run.data}: not the record of the data")
    fields.text("source")
    _classes(fields)
    splits = fields.child("splits")
    for name in splits.names:
        splits.child(name).text("digest")
        splits.child(name).count("images", least=0, most=COUNT)
    for key in ("valid_fraction", "test_fraction"):
        fields.measured(key, least=0)
    fields.count("seed", least=0, most=2**64)
    fields.child("preprocessing")
    if not all(isinstance(name, str) for name in fields.values("skipped")):
        raise fields.problem("skipped must be names of files")
    return fields.value


def read_description(run: RunFolder) -> dict[str, Any]:
    """What is known of the inputs of a trained network; of images their classes and preprocessing.

    Raises:
        ProxylessError: the file is missing, or holds something else.
    """
    fields = _fields(files.read_json(run.need(run.model, "search")), f"{run.model}: not the description of a network")
    if "preprocessing" in fields or "task" not in fields:
        _classes(fields)
        fields.child("preprocessing")
    else:  # of loaders of one's own
        for size in fields.values("input_shape"):
            if not isinstance(size, int) or not 0 < size <= COUNT:
                raise fields.problem(f"input_shape must be sizes, got {short(size)}")
    return fields.value


def read_task(run: RunFolder, known: Task | None = None) -> Task:
    """What a trained network has learnt; that of a run of version 0.1 is classification.

    Args:
        run: with the description of the network.
        known: a task of the same kind, for one that is not registered by name.

    Raises:
        ProxylessError: the file is missing, names a task that is not known here, or another than ``known``.
    """
    fields = _fields(files.read_json(run.need(run.model, "search")), f"{run.model}: not the description of a network")
    record = fields.mapping("task") if "task" in fields else {"name": Classification.name}
    if known is not None and known.name != record.get("name"):
        raise ProxylessError(f"{run.path}: has learnt the task {record.get('name')}, not {known.name}")
    if "task" not in fields:
        _classes(fields)
        return Classification(tuple(fields.values("classes")))
    if known is not None:
        taken: list[str] = [item.name for item in dataclasses.fields(known)] if dataclasses.is_dataclass(known) else []
        values = {name: record[name] for name in taken if name in record and name != "metrics"}
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        return dataclasses.replace(known, **values) if values else known  # type: ignore[type-var]
    try:
        return tasks.from_dict(record)
    except ProxylessError as error:
        raise fields.problem(f"task: {error}") from None


def read_result(run: RunFolder) -> dict[str, Any]:
    """The result of a finished run.

    Raises:
        ProxylessError: the file is missing, or holds something else.
    """
    fields = _fields(files.read_json(run.result), f"{run.result}: not the result of a run")
    fields.text("architecture")
    for key in ("parameters", "macs", "test_images"):
        fields.count(key, least=0, most=COUNT)
    if "metric" in fields:
        fields.measured(f"test_{fields.child('metric').text('name')}")
    else:  # of version 0.1, which had no other
        fields.measured("test_accuracy", least=0)
    for key in ("test_accuracy_device_file", "test_balanced_accuracy"):
        _measured_or_null(fields, key)
    for key in ("budget", "predicted", "measured"):
        if _measured_or_null(fields, f"latency_{key}_ms", needed=True) == 0:
            raise fields.problem(f"latency_{key}_ms must be above 0")
    if fields.get("device_file") is not None:
        fields.text("device_file")
    fields.child("device").text("name")
    if fields.get("worst_class") is not None:
        worst = fields.child("worst_class")
        worst.text("name")
        worst.measured("recall", least=0)
        worst.count("images", least=0, most=COUNT)
        fields.measured("test_balanced_accuracy", least=0)
        fields.count("classes_without_test_images", 0, least=0)
    if fields.get("int8") is not None:
        int8 = fields.child("int8")
        if "cautions" in int8 and not all(isinstance(text, str) for text in int8.values("cautions")):
            raise int8.problem("cautions must be text")
        if _measured_or_null(int8, "latency_float32_ms") is not None:
            int8.text("float32_file")
            int8.text("use")
    return fields.value


def _fields(value: Any, source: str) -> Fields:
    return Fields(value, "", source=source, whole="the file")


def _classes(fields: Fields) -> None:
    names = fields.values("classes")
    if not names or not all(isinstance(name, str) for name in names):
        raise fields.problem(f"classes must be names, got {short(names)}")


def _measured_or_null(fields: Fields, key: str, *, needed: bool = False) -> float | None:
    if fields.get(key) is None and (key in fields or not needed):
        return None
    return fields.measured(key, least=0)
