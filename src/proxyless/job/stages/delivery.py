"""Sixth stage: the trained network is exported, checked, measured and reported; what fails of it leaves the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from proxyless import files
from proxyless.architecture import Architecture
from proxyless.errors import ProxylessError, first_line, one_line
from proxyless.export.subnormals import subnormals_note
from proxyless.job import int8_comparison, model_files, objects
from proxyless.job.int8_comparison import Comparison, Times
from proxyless.job.job import Job, JobBatches
from proxyless.job.layers import layers
from proxyless.job.progress import Logged, Reporter, described
from proxyless.job.run_folder import RunFolder
from proxyless.job.run_records import read_result
from proxyless.job.seconds import timed
from proxyless.job.stages.measuring import warn
from proxyless.latency import measure
from proxyless.latency.identity import describe as describe_device
from proxyless.latency.table import LatencyTable
from proxyless.machine.versions import versions
from proxyless.modules.operators import count_macs, count_parameters, example_inputs
from proxyless.tasks import Confusion
from proxyless.training.loop import evaluate


@dataclass(frozen=True)
class Result:
    """What a finished run comes to; ``RUN/result.json`` holds the same."""

    run: RunFolder
    values: dict[str, Any]


def deliver(job: Job, architecture: Architecture, network: nn.Module) -> Result:
    """Export, check and measure the trained ``network``, and write everything that is handed over.

    What fails of it is told in a line and in the result, beside what is kept; of a run that lacks something, only that
    is tried again.
    """
    from proxyless.report import write_report

    run = job.run
    before = read_result(run) if run.result.exists() else None
    steps = Steps(job.log, None if before is None else before.get("failures", {}))
    with timed(run, "check"):
        job.log.stage("check")
        settings, cpu = job.settings, torch.device("cpu")
        batches = job.data.batches(settings.training.batch_size, settings.seed, cpu, job.log.note)
        with batches as given:
            values = _Check(job, architecture, network, given, before).run(steps)
    values = write_result(run, {**values, "failures": steps.failures})
    with timed(run, "report"):
        steps.run(run.report.name, lambda: write_report(run.path), anyway=True)
    values = write_result(run, {**values, "failures": steps.failures})
    if run.report.name not in steps.failures:
        write_report(run.path)  # with the time of the report itself
    return Result(run, values)


def is_finished(run: RunFolder) -> bool:
    """Whether there is a result that lacks nothing."""
    return run.result.exists() and not read_result(run).get("failures")


def finished(run: RunFolder, log: Reporter) -> Result:
    """The result of a run that is finished already."""
    from proxyless.report import write_report

    log.note(f"{run.path} is finished already: nothing to do")
    if not run.report.exists():  # stopped in the last moment
        write_report(run.path)
    return Result(run, read_result(run))


def write_result(run: RunFolder, values: Mapping[str, Any]) -> dict[str, Any]:
    """Write the result, with the seconds of each stage until now; returns it."""
    result = {**values, "seconds": files.read_json(run.seconds)}
    files.write_json(run.result, result)
    return result


class Steps:
    """Parts of the end of a job, each of which may fail while the others are kept.

    Args:
        log: told of what fails.
        failed: what failed the last time, with the reason; nothing else is done again. None: all is done.
    """

    def __init__(self, log: Reporter, failed: Mapping[str, str] | None = None) -> None:
        self.log, self.failed = log, failed
        self.failures: dict[str, str] = {}

    def run(self, name: str, step: Callable[[], object], *, anyway: bool = False) -> None:
        """Do a step, unless it was done the last time."""
        if self.failed is not None and name not in self.failed and not anyway:
            return
        try:
            step()
        except Exception as error:  # whatever it is, the work before it is worth keeping
            reason = str(error) if isinstance(error, ProxylessError) else one_line(first_line(error))
            self.failures[name] = reason
            self.log.note(f"{name} failed: {reason}")
            if isinstance(self.log, Logged) and not isinstance(error, ProxylessError):
                self.log.write("error", step=name, **described(error))


class _Check:
    """The files and figures of a trained network; each method is one step, which puts what it finds into ``values``.

    Args:
        job: what the stage needs.
        architecture: of the network.
        network: the trained one.
        batches: of the data, on the CPU.
        before: the values there are already, of a run that lacks something.
    """

    def __init__(
        self,
        job: Job,
        architecture: Architecture,
        network: nn.Module,
        batches: JobBatches,
        before: Mapping[str, Any] | None,
    ) -> None:
        self.job, self.architecture, self.network, self.batches = job, architecture, network, batches
        _write_description(job, architecture)
        self.device_file = model_files.device_file(job.run, job.target)
        self.values = dict(before) if before is not None else self._figures()
        int8 = self.device_file is not None and model_files.is_int8(job.run, self.device_file)
        self.samples = job.data.samples(job.settings, int8=int8)
        self.comparison: Comparison | None = None

    @property
    def _of_device_file(self) -> str:
        return f"test_{self.job.task.metric.name}_device_file"

    def run(self, steps: Steps) -> dict[str, Any]:
        """All steps in order; returns the values."""
        run = self.job.run
        steps.run(run.onnx.name, self.write_onnx)
        if self.device_file is not None and self.device_file != run.onnx:  # model.onnx is compared with PyTorch
            steps.run(self.device_file.name, self.write_device_file)
        if self.job.target.here:
            steps.run("measuring", self.measure)
        if self.comparison:
            for caution in self.values["int8"]["cautions"]:
                self.job.log.note(caution)
        if run.latency.exists():
            steps.run("prediction", self.predict)
        return self.values

    def write_onnx(self) -> None:
        found = model_files.write_onnx(self.job.run, self.network, self.samples.compared)
        if found.subnormals:
            self.job.log.note(subnormals_note(found.subnormals))
        self.values.update(onnx_max_difference=found.difference, subnormal_weights=found.subnormals)

    def write_device_file(self) -> None:
        if self.device_file is None:
            return
        path, batch, task = self.device_file, self.job.target.batch, self.job.task
        self.comparison = model_files.write(self.job.run, path, self.network, self.samples, task, batch=batch)
        self._compare_int8(None)  # so that it is kept if what follows fails
        pairs = map(task.inputs_and_targets, self.batches.test())
        self.values[self._of_device_file] = model_files.metric_of(path, pairs, task)
        self._compare_int8(None)

    def measure(self) -> None:
        """Measure the file for the device or, where there is none, the network itself.

        An int8 file is measured side by side with the same in float32.
        """
        job, path = self.job, self.device_file
        shapes = ((job.target.batch, *job.space.input_shape),)
        effort = objects.effort(job.settings, share=0.25)
        if path is None:
            found, conditions = measure.measure_networks([self.network], shapes, job.target, effort)
        else:
            beside = [model_files.float32_of(job.run, path)] if self.comparison else []
            found, conditions = measure.measure_files([path, *beside], shapes, job.target, effort)
        warn(conditions, job.log)
        time = found[0]
        self.values.update(latency_measured_ms=time.ms, latency_low_ms=time.low_ms, latency_high_ms=time.high_ms)
        self._compare_int8(Times(*found) if self.comparison else None)

    def predict(self) -> None:
        job = self.job
        table = LatencyTable.load(job.run.latency)
        supernet = objects.supernet(job.settings, job.space)
        self.values["latency_predicted_ms"] = table.of(self.architecture)
        self.values["layers"] = layers(supernet, self.architecture, table, job.space.input_shape)

    def _compare_int8(self, times: Times | None) -> None:
        if self.device_file is None or self.comparison is None:
            return
        self.values["int8"] = int8_comparison.described(
            self.device_file.name,
            model_files.float32_of(self.job.run, self.device_file).name,
            self.comparison,
            times,
            len(self.samples.calibration),
            (self.values[self._of_device_file], self.values[f"test_{self.job.task.metric.name}"]),
        )

    def _figures(self) -> dict[str, Any]:
        """What is known of a trained network without its files; what is not is None."""
        job = self.job
        settings, task, space = job.settings, job.task, job.space
        test = evaluate(self.network, self.batches.test(), task)
        valid = evaluate(self.network, self.batches.valid(), task)
        sums = test.on_cpu()
        if confusion := task.confusion(sums):
            write_confusion(job.run, confusion)
        return {
            "task": task.name,
            "metric": task.metric.to_dict(),
            "metrics": [metric.to_dict() for metric in task.all_metrics],
            **{f"test_{name}": value for name, value in task.figures(sums).items()},
            **{f"valid_{name}": value for name, value in task.figures(valid.on_cpu()).items()},
            "device_file": self.device_file.name if self.device_file else None,
            self._of_device_file: None,
            "test_images": test.samples,
            **task.details(sums),
            "tables": [asdict(table) for table in task.tables(sums)],
            "parameters": count_parameters(self.network),
            "macs": count_macs(self.network, example_inputs(((1, *space.input_shape),))),
            "latency_budget_ms": settings.latency,
            "latency_predicted_ms": None,
            "latency_measured_ms": None,
            "latency_low_ms": None,
            "latency_high_ms": None,
            "architecture": space.describe(self.architecture),
            **job.data.of_result(),
            "device": describe_device(job.target),
            "onnx_max_difference": None,
            "subnormal_weights": None,
            "int8": None,
            "versions": versions(),
        }


def _write_description(job: Job, architecture: Architecture) -> None:
    """Write ``model.json``: what one needs beside the weights."""
    describe = {**job.data.of_model(), "input_shape": list(job.space.input_shape), "task": job.task.to_dict()}
    timm = job.space.timm_arguments(architecture)
    if timm is not None:
        describe["timm"] = timm
    files.write_json(job.run.model, describe)


def write_confusion(run: RunFolder, confusion: Confusion) -> None:
    """Write the counts (true class, predicted class), a line of JSON for each true class.

    Number by number, a thousand classes would be a million lines.
    """
    rows = ",\n".join(json.dumps(row) for row in confusion.matrix.tolist())
    names = json.dumps(list(confusion.classes))
    counted = f'"counted": {json.dumps(confusion.counted)},\n' if confusion.counted != "images" else ""
    files.write_text(run.confusion, f'{{\n"classes": {names},\n{counted}"matrix": [\n{rows}\n]\n}}\n')
