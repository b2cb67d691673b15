"""What a run hands over: the network rebuilt from its files, its ONNX model, its figures and its report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from proxyless import files, spaces
from proxyless.architecture import Architecture
from proxyless.data import ImageData
from proxyless.data.batches import Batches
from proxyless.errors import ProxylessError, first_line, one_line
from proxyless.export.onnx import Exported
from proxyless.export.plain import subnormals_note
from proxyless.files.checkpoints import check_state, read_safetensors
from proxyless.job import deployment, int8, summary
from proxyless.job.progress import Logged, Reporter, described
from proxyless.job.run_data import evaluated, recorded_data
from proxyless.job.run_folder import RunFolder
from proxyless.job.run_records import read_data, read_description, read_result
from proxyless.job.settings import Settings
from proxyless.job.settings import load as load_settings
from proxyless.job.stages import Job, balance, effort, supernet_of, timed, warn
from proxyless.latency import measure as measuring
from proxyless.latency.identity import describe as describe_device
from proxyless.latency.table import LatencyTable
from proxyless.latency.timing.statistics import Interval
from proxyless.modules.operators import count_macs, count_parameters, example_inputs
from proxyless.tasks import Classification, Confusion
from proxyless.training import loop as training

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Result:
    """What a finished run comes to; ``RUN/result.json`` holds the same."""

    run: RunFolder
    values: dict[str, Any]


def load_network(run: RunFolder) -> nn.Module:
    """The trained network of a run, rebuilt from its architecture and weights, in evaluation mode.

    Raises:
        ProxylessError: a file is missing, or the weights do not fit the architecture.
    """
    architecture = Architecture.load(run.need(run.architecture, "search"))
    space = spaces.space_of(architecture)
    weights = run.need(run.weights, "search")
    state = read_safetensors(weights)
    try:
        with torch.device("meta"):  # compared before memory is taken for a network that may be of any size
            check_state(state, space.build(architecture).state_dict())
        network = space.build(architecture)
        network.load_state_dict(state)
    except (ProxylessError, RuntimeError) as error:
        raise ProxylessError(f"{weights}: does not fit {run.architecture} ({first_line(error)})") from None
    return network.eval()


COMPARED = 32
"""Held-out images that a converted network is compared with PyTorch on."""

HELD_OUT = 2000
"""Held-out images that int8 is compared with float32 on, at the most."""


def export(
    run: RunFolder, others: Sequence[Path] = (), *, pixels: bool = False, source: str | None = None
) -> tuple[Exported, list[str]]:
    """Write ``model.onnx`` of a trained run, and ``others`` of its :class:`RunFolder`'s files, compared with PyTorch on
    held-out images of the run's data; returns what is to be said of ``model.onnx``, and of int8 files, measured
    briefly, what one must know before using them.

    ``pixels``: write ``model.pixels.onnx`` too, which takes pixels of 8 bits and normalises them itself. ``source``:
    where the images of the run are now.

    Raises:
        ProxylessError: the run is not trained, its data has changed, the network cannot be converted, or
            what another file needs is not installed.
    """
    for path in others:
        if reason := deployment.not_runnable(path):
            raise ProxylessError(f"{path.name}: {reason}")
    network = load_network(run)
    chosen = load_settings(run.config) if run.config.exists() else Settings()
    quantised = any(deployment.is_int8(run, path) for path in others)
    needed = ("train", "valid") if quantised else ("valid",)
    samples = _samples(recorded_data(run, source, check=needed), chosen, int8=quantised)
    exported = _onnx(run, network, samples.compared)
    if pixels:
        _onnx_pixels(run, network, samples.compared)
    cautions: list[str] = []
    for path in others:
        if path == run.tflite and run.tflite_int8 in others:
            continue  # written with that one
        comparison = deployment.write(run, path, network, samples)
        if comparison:
            plain = deployment.float32_of(run, path)
            times = deployment.briefly_measured(path, plain, (1, *samples.compared.shape[1:]))
            cautions += int8.cautions(path.name, plain.name, comparison, times)
    return exported, cautions


def _samples(images: ImageData, chosen: Settings, *, int8: bool) -> deployment.Samples:
    """Images that stand for the data. Ranges of int8 come from training images, so that held-out ones can judge."""
    count = chosen.calibration.images if int8 else 1
    return deployment.Samples(
        calibration=images.sample("train", count, seed=chosen.seed).images(),
        held_out=images.sample("valid", HELD_OUT if int8 else 1, seed=chosen.seed),
        compared=images.sample("valid", COMPARED, seed=chosen.seed).images(),
    )


def _onnx(run: RunFolder, network: nn.Module, images: Tensor) -> Exported:
    """Write ``model.onnx``, compared with PyTorch on ``images``."""
    from proxyless.export import onnx

    return onnx.export(network, images, run.onnx, metadata=files.read_json(run.need(run.model, "train")))


def _onnx_pixels(run: RunFolder, network: nn.Module, images: Tensor) -> None:
    """Write ``model.pixels.onnx``, and in ``model.json`` what each of the two files takes."""
    from proxyless.export import onnx_pixels

    describe = files.read_json(run.model)
    onnx_pixels.export(network, images, run.onnx_pixels, metadata=describe)
    describe["inputs"] = {
        run.onnx.name: "float32 (batch, channels, height, width), normalised",
        run.onnx_pixels.name: "uint8 (batch, height, width, channels), not normalised",
    }
    files.write_json(run.model, describe)


def finish(job: Job, architecture: Architecture) -> Result:
    """Export, check and measure a trained network, and write everything that is handed over.

    What fails of it is told in a line and in the result, beside what is kept; of a run that lacks something, only that
    is tried again.
    """
    from proxyless.report import write_report

    run = job.run
    before = read_result(run) if run.result.exists() else None
    steps = Steps(job.log, None if before is None else before.get("failures", {}))
    with timed(run, "check"):
        values = _checked(job, architecture, steps, before)
    values = write_result(run, {**values, "failures": steps.failures})
    with timed(run, "report"):
        steps.run(run.report.name, lambda: write_report(run.path), anyway=True)
    values = write_result(run, {**values, "failures": steps.failures})
    if run.report.name not in steps.failures:
        write_report(run.path)  # with the time of the report itself
    return Result(run, values)


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


def write_result(run: RunFolder, values: Mapping[str, Any]) -> dict[str, Any]:
    """Write the result, with the seconds of each stage until now; returns it."""
    result = {**values, "seconds": files.read_json(run.seconds)}
    files.write_json(run.result, result)
    return result


def _checked(job: Job, architecture: Architecture, steps: Steps, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """The figures of a trained network, once it is exported, checked and measured.

    Args:
        before: those there are already, of a run that lacks something.
    """
    settings, images, space, target, run = job.settings, job.images, job.space, job.target, job.run
    job.log.stage("check")
    network = load_network(run)
    describe: dict[str, Any] = {
        "classes": list(images.classes),
        "preprocessing": images.preprocessing.to_dict(),
        "input_shape": list(space.input_shape),
    }
    if hasattr(space, "timm_arguments"):
        describe["timm"] = space.timm_arguments(architecture)
    files.write_json(run.model, describe)
    batches = Batches(images, settings.training.batch_size, settings.seed, torch.device("cpu"), note=job.log.note)
    handed_over = deployment.device_file(run, target)
    values = dict(before) if before is not None else _figures(job, architecture, network, batches, handed_over)
    quantised = handed_over is not None and deployment.is_int8(run, handed_over)
    samples = _samples(images, settings, int8=quantised)
    other = handed_over if handed_over != run.onnx else None  # model.onnx is compared with PyTorch
    comparison: int8.Comparison | None = None

    def exported() -> None:
        found = _onnx(run, network, samples.compared)
        if found.subnormals:
            job.log.note(subnormals_note(found.subnormals))
        values.update(onnx_max_difference=found.difference, subnormal_weights=found.subnormals)

    def written(path: Path) -> None:
        nonlocal comparison
        comparison = deployment.write(run, path, network, samples, batch=target.batch)
        of_int8(None)  # so that it is kept if what follows fails
        values["test_accuracy_device_file"] = deployment.accuracy(path, batches.test())
        of_int8(None)

    def of_int8(times: int8.Times | None) -> None:
        if not other or not comparison:
            return
        on_test = (values["test_accuracy_device_file"], values["test_accuracy"])
        plain = deployment.float32_of(run, other).name
        values["int8"] = int8.described(other.name, plain, comparison, times, len(samples.calibration), on_test)

    def measured() -> None:
        plain = deployment.float32_of(run, other) if other and comparison else None
        found, times = _measured(job, network, handed_over, plain)
        values.update(latency_measured_ms=found.ms, latency_low_ms=found.low_ms, latency_high_ms=found.high_ms)
        of_int8(times)

    def predicted() -> None:
        table = LatencyTable.load(run.latency)
        values["latency_predicted_ms"] = table.of(architecture)
        values["layers"] = summary.layers(supernet_of(settings, space), architecture, table, space.input_shape)

    steps.run(run.onnx.name, exported)
    if other:
        steps.run(other.name, partial(written, other))
    if target.here:
        steps.run("measuring", measured)
    if other and comparison:
        for caution in values["int8"]["cautions"]:
            job.log.note(caution)
    if run.latency.exists():
        steps.run("prediction", predicted)
    return values


def _figures(
    job: Job, architecture: Architecture, network: nn.Module, batches: Batches, handed_over: Path | None
) -> dict[str, Any]:
    """What is known of a trained network without its files; what is not is None."""
    settings, images, space, run = job.settings, job.images, job.space, job.run
    task = Classification(images.classes)
    test = training.evaluate(network, batches.test(), task)
    valid = training.evaluate(network, batches.valid(), task)
    sums = test.on_cpu()
    if confusion := task.confusion(sums):
        write_confusion(run, confusion)
    return {
        "task": task.name,
        "metric": task.metric.to_dict(),
        **{f"test_{name}": value for name, value in task.figures(sums).items()},
        **{f"valid_{name}": value for name, value in task.figures(valid.on_cpu()).items()},
        "device_file": handed_over.name if handed_over else None,
        "test_accuracy_device_file": None,
        "test_images": test.samples,
        **task.details(sums),
        "tables": [asdict(table) for table in task.tables(sums)],
        "class_balance": balance(settings, images).value,
        "parameters": count_parameters(network),
        "macs": count_macs(network, example_inputs(((1, *space.input_shape),))),
        "latency_budget_ms": settings.latency,
        "latency_predicted_ms": None,
        "latency_measured_ms": None,
        "latency_low_ms": None,
        "latency_high_ms": None,
        "architecture": space.describe(architecture),
        "data": images.source,
        "data_remarks": images.findings.remarks(),
        "device": describe_device(job.target),
        "onnx_max_difference": None,
        "subnormal_weights": None,
        "int8": None,
        "versions": summary.versions(),
    }


def write_confusion(run: RunFolder, confusion: Confusion) -> None:
    """Write the counts (true class, predicted class), a line of JSON for each true class.

    Number by number, a thousand classes would be a million lines.
    """
    rows = ",\n".join(json.dumps(row) for row in confusion.matrix.tolist())
    names = json.dumps(list(confusion.classes))
    files.write_text(run.confusion, f'{{\n"classes": {names},\n"matrix": [\n{rows}\n]\n}}\n')


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


def _measured(
    job: Job, network: nn.Module, model: Path | None, plain: Path | None
) -> tuple[Interval, int8.Times | None]:
    """Latency of what is handed over for the device: the file ``model`` as it was written, or the network itself; of an
    int8 file also beside ``plain``, the same in float32.
    """
    shapes = ((job.target.batch, *job.space.input_shape),)
    enough = effort(job.settings, share=0.25)
    if model:
        files = [path for path in (model, plain) if path]
        found, conditions = measuring.measure_files(files, shapes, job.target, enough)
    else:
        found, conditions = measuring.measure_networks([network], shapes, job.target, enough)
    warn(conditions, job.log)
    return found[0], int8.Times(*found) if plain else None


def evaluate(run: RunFolder, source: str | None = None) -> dict[str, Any]:
    """Accuracy of a trained run on the test split of data, with PyTorch and of each file of the network, run by ONNX
    Runtime or LiteRT alone: None where that is not installed.

    Args:
        source: a data set, or a folder with ``test/`` or class folders in it, with classes of the run; the run's own
            data when None. See :func:`proxyless.job.run_data.evaluated`.

    Raises:
        ProxylessError: the run is not finished, or the data has other classes.
    """
    description = read_description(run)
    network = load_network(run)
    run.need(run.onnx, "export")
    chosen = evaluated(run, description, source)
    batches = chosen.batches
    task = Classification(tuple(description["classes"]))
    totals = training.evaluate(network, batches, task)
    sums = totals.on_cpu()
    outputs = len(sums["confusion"])
    if outputs != len(task.classes):
        raise ProxylessError(f"{run.model}: has {len(task.classes)} classes, the network {outputs}")
    figures = totals.figures("test_")
    found = {
        path.name: None if deployment.not_runnable(path) else deployment.accuracy(path, batches)
        for path in run.models()
    }
    return {
        "data": source or read_data(run)["source"],
        "note": chosen.note,
        "test_images": totals.samples,
        "test_accuracy": figures["test_accuracy"],
        **task.details(sums),
        "test_accuracy_files": found,
        "cautions": int8.lost(found, figures["test_accuracy"]),
        "test_loss": figures["test_loss"],
    }
