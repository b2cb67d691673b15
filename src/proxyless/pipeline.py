"""The main job in order: data, measuring, search, derivation, training, export, check, report; resumable by stage."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from proxyless import data, files, spaces, summary
from proxyless.architecture import Architecture, architecture_of
from proxyless.data import ImageData
from proxyless.errors import ProxylessError
from proxyless.latency import measure as measuring
from proxyless.latency.device import Device, device
from proxyless.latency.operators import count_macs, count_parameters, example_inputs
from proxyless.latency.table import Interval, LatencyTable, MeasuredNetwork
from proxyless.progress import Logged, Reporter, Silent
from proxyless.run_folder import RunFolder, check_usable, open_run
from proxyless.search.budget import best_under_budget
from proxyless.search.gradient import AllPathUpdate, GradientUpdate, TwoPathUpdate
from proxyless.search.loop import Schedule, SearchLoop
from proxyless.search.objective import BudgetLoss
from proxyless.settings import Settings, Update
from proxyless.spaces import Space
from proxyless.supernet import Supernet
from proxyless.training.loop import Recipe, TrainingLoop, confusion

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Result:
    """What a finished run comes to; ``RUN/result.json`` holds the same."""

    run: RunFolder
    values: dict[str, Any]


def search(settings: Settings, out: Path, reporter: Reporter | None = None) -> Result:
    """The whole job: from images, a device and a budget to a trained, measured and exported network with a report.

    The same call on an unfinished run goes on where it stopped, and comes to the same result.

    Raises:
        ProxylessError: a mistake in the settings, the data or the folder; nothing is left half-written.
    """
    log = Logged(reporter or Silent())
    if settings.latency is None:
        raise ProxylessError("no latency budget: pass --latency MS (`proxyless measure` shows what a space spans)")
    if settings.latency <= 0:
        raise ProxylessError(f"--latency must be above 0 ms, got {settings.latency:g}")
    target = _device(settings)
    check_usable(out)
    log.stage("data")
    images = _load(settings, log)
    space = _space(settings, images)
    settings = _resolved(settings, images, space)
    supernet = _supernet(settings, space)
    known = RunFolder(out)
    log.stage("measure")
    if known.config.exists() and known.latency.exists():
        table = LatencyTable.load(known.latency)
    else:
        table = _measured(settings, supernet, space, target, log)
    table.check(supernet)
    _check_budget(settings, table, log)

    run = open_run(out, settings, images.describe())
    log.path = run.log
    if run.result.exists():
        log.note(f"{out} is finished already: nothing to do")
        return Result(run, files.read_json(run.result))
    if not run.latency.exists():
        table.save(run.latency)
    if not run.architecture.exists():
        with _timed(run, "search"):
            _search(settings, supernet, space, table, images, run, log)
        with _timed(run, "derive"):
            _derive(settings, supernet, space, table, target, run, log)
    architecture = Architecture.load(run.architecture)
    with _timed(run, "train"):
        _train(settings, space, architecture, images, run, log)
    return _finish(settings, space, architecture, images, target, run, log)


def train(settings: Settings, architecture: Architecture, out: Path, reporter: Reporter | None = None) -> Result:
    """Train, export and check the network of an architecture on data, as the last stages of :func:`search` do.

    The classes and image format of the data replace those the architecture was found with; the size of the images
    stays that of the architecture unless the settings give another.
    """
    log = Logged(reporter or Silent())
    target = _device(settings)
    check_usable(out)
    if settings.images.size is None and "image_size" in architecture.arguments:
        settings = settings.replace({"images.size": architecture.arguments["image_size"]})
    log.stage("data")
    images = _load(settings, log)
    found = {"classes": len(images.classes), "channels": images.channels, "image_size": images.image_size}
    arguments = dict(architecture.arguments) | found | {"dropout": settings.training.dropout}
    space = spaces.make(architecture.space, arguments)
    architecture = space.architecture(dict(architecture.choices))
    space.build(architecture)
    settings = _resolved(settings, images, space)
    run = open_run(out, settings, images.describe())
    log.path = run.log
    if run.result.exists():
        log.note(f"{out} is finished already: nothing to do")
        return Result(run, files.read_json(run.result))
    architecture.save(run.architecture)
    with _timed(run, "train"):
        _train(settings, space, architecture, images, run, log)
    return _finish(settings, space, architecture, images, target, run, log)


def measure(
    settings: Settings, out: Path, *, classes: int, channels: int, size: int, reporter: Reporter | None = None
) -> LatencyTable:
    """The latency table of a space alone, written as JSON to ``out``."""
    log = Logged(reporter or Silent())
    target = _device(settings)
    arguments = _space_arguments(settings) | {"classes": classes, "channels": channels, "image_size": size}
    space = spaces.make(settings.space.name, arguments)
    log.stage("measure")
    table = _measured(settings, _supernet(settings, space), space, target, log)
    table.save(out)
    return table


# -- what the stages need --


def _device(settings: Settings) -> Device:
    return device(settings.device, threads=settings.measure.threads, batch=settings.measure.batch)


def _load(settings: Settings, log: Reporter) -> ImageData:
    chosen = settings.images
    images = data.load(
        settings.data,
        image_size=chosen.size,
        valid_fraction=chosen.valid_fraction,
        test_fraction=chosen.test_fraction,
        seed=settings.seed,
        skip_corrupt=chosen.skip_corrupt,
        progress=lambda done, total: log.advance(done, total, {}),
    )
    if images.skipped:
        log.note(f"left out {len(images.skipped)} images that cannot be read, listed in data.json")
    changes: dict[str, Any] = {"cutout": settings.training.cutout}
    if chosen.flip is not None:
        changes["flip"] = chosen.flip
    return dataclasses.replace(images, augmentation=dataclasses.replace(images.augmentation, **changes))


def _space_arguments(settings: Settings) -> dict[str, Any]:
    chosen = dataclasses.asdict(settings.space)
    del chosen["name"]
    return chosen | {"dropout": settings.training.dropout}


def _space(settings: Settings, images: ImageData) -> Space:
    found = {"classes": len(images.classes), "channels": images.channels, "image_size": images.image_size}
    return spaces.make(settings.space.name, _space_arguments(settings) | found)


def _resolved(settings: Settings, images: ImageData, space: Space) -> Settings:
    """The settings with every default that depends on data or space filled in, so that they can be repeated."""
    count = len(images.train)

    def epochs(chosen: int | None, seen: int, most: int) -> int:
        return max(1, min(most, round(seen / count))) if chosen is None else chosen

    source = Path(settings.data).expanduser()
    chosen = settings.search
    values: dict[str, Any] = {
        "data": str(source.resolve()) if images.source == str(source.resolve()) else settings.data,
        "images.size": images.image_size,
        "images.flip": images.augmentation.flip,
        "search.warmup_epochs": epochs(chosen.warmup_epochs, 50_000, 20),
        "search.epochs": epochs(chosen.epochs, 100_000, 40),
        "training.epochs": epochs(settings.training.epochs, 250_000, 60),
    }
    arguments = space.architecture({}).arguments
    values |= {f"space.{k}": arguments[k] for k in ("width", "depths") if k in arguments}
    settings = settings.replace(values)
    steps = max(1, _schedule(settings).architecture_steps(max(1, count // chosen.batch_size)))
    if chosen.architecture_learning_rate is None:
        settings = settings.replace({"search.architecture_learning_rate": round(min(0.05, 24 / steps), 6)})
    if chosen.multiplier_gain is None:
        settings = settings.replace({"search.multiplier_gain": round(25 / steps, 6)})
    return settings


def _schedule(settings: Settings) -> Schedule:
    chosen = settings.search
    assert chosen.warmup_epochs is not None
    assert chosen.epochs is not None
    return Schedule(
        warmup_epochs=chosen.warmup_epochs,
        epochs=chosen.epochs,
        learning_rate=chosen.learning_rate,
        weight_decay=chosen.weight_decay,
        label_smoothing=chosen.label_smoothing,
        architecture_every=chosen.architecture_every,
        seed=settings.seed,
    )


def _supernet(settings: Settings, space: Space) -> Supernet:
    torch.manual_seed(settings.seed)
    return Supernet(space.network(), seed=settings.seed)


def _measured(settings: Settings, supernet: Supernet, space: Space, target: Device, log: Reporter) -> LatencyTable:
    chosen = settings.measure
    return measuring.measure_table(
        supernet,
        space.input_shape,
        target,
        effort=_effort(settings),
        cache=Path(chosen.cache).expanduser() if chosen.cache else None,
        advance=lambda share: log.advance(share, 1.0, {}),
    )


def _effort(settings: Settings) -> measuring.Effort:
    return measuring.Effort(settings.measure.rounds, settings.measure.burst_ms, settings.measure.networks)


def _check_budget(settings: Settings, table: LatencyTable, log: Reporter) -> None:
    assert settings.latency is not None
    smallest, largest = table.smallest(), table.largest()
    span = f"the networks of this space take {smallest:.3g} to {largest:.3g} ms on {settings.device}"
    if settings.latency < smallest:
        raise ProxylessError(
            f"--latency {settings.latency:g} cannot be met: {span}; raise it to at least {smallest:.3g} or choose"
            " a smaller --space-width"
        )
    log.note(span)
    if settings.latency > largest:
        log.note(f"a budget of {settings.latency:g} ms binds none of them: a larger --space-width would make use of it")


class _Batches:
    """The data set as search and training want it: on the right processor, in the layout that is fast there."""

    def __init__(self, images: ImageData, batch_size: int, seed: int, processor: torch.device) -> None:
        self.images, self.batch_size, self.seed, self.processor = images, batch_size, seed, processor

    def _ready(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for inputs, targets in batches:
            yield (
                inputs.to(self.processor, memory_format=torch.channels_last, non_blocking=True),
                targets.to(self.processor, non_blocking=True),
            )

    def train(self, epoch: int) -> Iterator[Batch]:
        loader = self.images.loader("train", batch_size=self.batch_size, augment=True, seed=self.seed, epoch=epoch)
        return self._ready(loader)

    def held_out(self, start: int) -> Iterator[Batch]:
        return self._ready(self.images.cycle("valid", batch_size=self.batch_size, seed=self.seed, start=start))

    def valid(self) -> Iterator[Batch]:
        return self._ready(self.images.loader("valid", batch_size=2 * self.batch_size))

    def test(self) -> Iterator[Batch]:
        return self._ready(self.images.loader("test", batch_size=2 * self.batch_size))

    def steps(self) -> int:
        return max(1, len(self.images.train) // self.batch_size)


def _processor() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _on(network: nn.Module, processor: torch.device) -> nn.Module:
    """Moved, with convolutions laid out channels last: on a CPU that halves the time of a step."""
    return network.to(processor, memory_format=torch.channels_last)  # type: ignore[call-overload]


@contextmanager
def _timed(run: RunFolder, stage: str) -> Iterator[None]:
    """Adds the stage's seconds to the run's account, also when it is stopped and resumed."""
    path, started = run.path / "seconds.json", time.perf_counter()
    try:
        yield
    finally:
        seconds = files.read_json(path) if path.exists() else {}
        files.write_json(path, seconds | {stage: seconds.get(stage, 0.0) + time.perf_counter() - started})


def _save_state(path: Path, state: dict[str, Any]) -> None:
    with files.replacing(path) as temporary:
        torch.save(state, temporary)


def _load_state(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state
    except Exception as error:  # zip, pickle and torch each raise their own
        reason = str(error).splitlines()[0]
        raise ProxylessError(
            f"{path}: not a readable checkpoint ({reason}); remove it to start the stage anew"
        ) from None


# -- the stages --


def _search(
    settings: Settings,
    supernet: Supernet,
    space: Space,
    table: LatencyTable,
    images: ImageData,
    run: RunFolder,
    log: Reporter,
) -> None:
    log.stage("search")
    assert settings.latency is not None
    chosen = settings.search
    assert chosen.architecture_learning_rate is not None
    assert chosen.multiplier_gain is not None
    processor = _processor()
    _on(supernet, processor)
    objective = BudgetLoss(table, settings.latency, weight=chosen.latency_weight, gain=chosen.multiplier_gain)
    kinds: dict[Update, type[GradientUpdate]] = {Update.TWO_PATH: TwoPathUpdate, Update.ALL_PATH: AllPathUpdate}
    update = kinds[chosen.update](supernet, objective, learning_rate=chosen.architecture_learning_rate)
    loop = SearchLoop(
        supernet,
        update,
        _Batches(images, chosen.batch_size, settings.seed, processor),
        _schedule(settings),
        expected_cost=lambda probabilities: float(table.expected(probabilities)),
        measures=lambda: {"multiplier": objective.weight, "budget_ms": objective.budget},
        report=lambda metrics: files.append_json_line(run.search_history, metrics),
        checkpoint=lambda state: _save_state(run.search_checkpoint, state),
        advance=log.advance,
    )
    if run.search_checkpoint.exists():
        loop.load_state_dict(_load_state(run.search_checkpoint))
        log.note(f"going on after epoch {loop.epoch} of the search")
    loop.run()
    supernet.cpu()


def _derive(
    settings: Settings,
    supernet: Supernet,
    space: Space,
    table: LatencyTable,
    target: Device,
    run: RunFolder,
    log: Reporter,
) -> None:
    """Take the most probable architecture whose *measured* latency keeps the budget.

    The table is right within a few percent, so the network it promises is measured as a whole; where that is above
    the budget, the next derivation aims lower by as much.
    """
    log.stage("derive")
    assert settings.latency is not None
    budget = aim = settings.latency
    shapes = ((target.batch, *space.input_shape),)
    tried: list[MeasuredNetwork] = []
    for attempt in range(6):
        path = best_under_budget(supernet, table, max(aim, table.smallest()))
        architecture = space.architecture(dict(architecture_of(supernet, path).choices))
        (found,) = measuring.measure_networks([space.build(architecture)], shapes, target, _effort(settings))
        tried.append(MeasuredNetwork(architecture.choices, found.ms, found.low_ms, found.high_ms, "check"))
        log.advance(attempt + 1, 6, {})
        if found.ms <= budget or aim <= table.smallest():
            break
        aim = min(aim, table.of_path(path)) * min(0.998, budget / found.ms)
        log.note(f"measured {found.ms:.4g} ms, above the budget of {budget:g} ms: deriving for {aim:.4g} ms")
    dataclasses.replace(table, networks=(*table.networks, *tried)).save(run.latency)
    architecture.save(run.architecture)


def _train(
    settings: Settings, space: Space, architecture: Architecture, images: ImageData, run: RunFolder, log: Reporter
) -> None:
    if run.weights.exists():
        return
    from safetensors.torch import save_file

    log.stage("train")
    chosen = settings.training
    assert chosen.epochs is not None
    processor = _processor()
    torch.manual_seed(settings.seed)
    network = _on(space.build(architecture), processor)
    loop = TrainingLoop(
        network,
        _Batches(images, chosen.batch_size, settings.seed + 1, processor),
        Recipe(
            epochs=chosen.epochs,
            learning_rate=chosen.learning_rate,
            warmup_epochs=chosen.warmup_epochs,
            weight_decay=chosen.weight_decay,
            label_smoothing=chosen.label_smoothing,
            ema=chosen.ema,
            seed=settings.seed,
        ),
        report=lambda metrics: files.append_json_line(run.training_history, metrics),
        checkpoint=lambda state: _save_state(run.training_checkpoint, state),
        advance=log.advance,
    )
    if run.training_checkpoint.exists():
        loop.load_state_dict(_load_state(run.training_checkpoint))
        log.note(f"going on after epoch {loop.epoch} of the training")
    trained = loop.run().cpu().eval()
    with files.replacing(run.weights) as temporary:
        save_file({name: value.contiguous() for name, value in trained.state_dict().items()}, temporary)


def load_network(run: RunFolder) -> nn.Module:
    """The trained network of a run, rebuilt from its architecture and weights, in evaluation mode.

    Raises:
        ProxylessError: a file is missing, or the weights do not fit the architecture.
    """
    from safetensors.torch import load_file

    architecture = Architecture.load(run.need(run.architecture, "search"))
    network = spaces.space_of(architecture).build(architecture)
    try:
        network.load_state_dict(load_file(run.need(run.weights, "train")))
    except Exception as error:  # safetensors raises its own class, torch RuntimeError
        raise ProxylessError(f"{run.weights}: does not fit {run.architecture} ({str(error).splitlines()[0]})") from None
    return network.eval()


def export(run: RunFolder, images: Tensor | None = None) -> float:
    """Write ``model.onnx`` of a trained run; returns the largest difference to PyTorch's outputs on ``images``.

    Args:
        images: normalised images to compare on; those of the run's data, its first held-out ones, when None.
    """
    from proxyless.export import onnx

    if images is None:
        images = next(iter(recorded_data(run).loader("valid", batch_size=32)))[0]
    network = load_network(run)
    description = files.read_json(run.need(run.model, "train"))
    return onnx.export(network, images, run.onnx, metadata=description)


def recorded_data(run: RunFolder) -> ImageData:
    """The data a run was made with; that it has changed since is a :class:`ProxylessError`."""
    record = files.read_json(run.need(run.data, "search"))
    return data.load(record["source"], record=record)


def _finish(
    settings: Settings,
    space: Space,
    architecture: Architecture,
    images: ImageData,
    target: Device,
    run: RunFolder,
    log: Reporter,
) -> Result:
    from proxyless.report import write_report

    log.stage("check")
    network = load_network(run)
    describe: dict[str, Any] = {
        "classes": list(images.classes),
        "preprocessing": images.preprocessing.to_dict(),
        "input_shape": list(space.input_shape),
    }
    if hasattr(space, "timm_arguments"):
        describe["timm"] = space.timm_arguments(architecture)
    files.write_json(run.model, describe)
    batches = _Batches(images, settings.training.batch_size, settings.seed, torch.device("cpu"))
    held_out = next(iter(images.loader("valid", batch_size=32)))[0]
    difference = export(run, held_out)
    matrix, _ = confusion(network, batches.test())
    held_out_matrix, _ = confusion(network, batches.valid())
    files.write_json(run.confusion, {"classes": list(images.classes), "matrix": matrix.tolist()})
    inputs = example_inputs(((1, *space.input_shape),))
    measured = measure_exported(run, space, target, _effort(settings))
    values: dict[str, Any] = {
        "test_accuracy": float(matrix.diagonal().sum() / matrix.sum()),
        "valid_accuracy": float(held_out_matrix.diagonal().sum() / held_out_matrix.sum()),
        "test_images": int(matrix.sum()),
        "parameters": count_parameters(network),
        "macs": count_macs(network, inputs),
        "latency_budget_ms": settings.latency,
        "latency_predicted_ms": None,
        "latency_measured_ms": measured.ms,
        "latency_low_ms": measured.low_ms,
        "latency_high_ms": measured.high_ms,
        "architecture": space.describe(architecture),
        "data": images.source,
        "device": target.describe(),
        "onnx_max_difference": difference,
        "seconds": files.read_json(run.path / "seconds.json"),
        "versions": summary.versions(),
    }
    if run.latency.exists():
        table = LatencyTable.load(run.latency)
        values["latency_predicted_ms"] = table.of(architecture)
        values["layers"] = summary.layers(_supernet(settings, space), architecture, table, space.input_shape)
    files.write_json(run.result, values)
    write_report(run.path)
    return Result(run, values)


def measure_exported(run: RunFolder, space: Space, target: Device, effort: measuring.Effort) -> Interval:
    """Latency of ``model.onnx`` as it was written, on ``target``."""
    from proxyless.latency.runtimes import runtime

    inputs = example_inputs(((target.batch, *space.input_shape),))
    prepared = runtime(target.runtime).load(run.onnx, inputs, target)
    return measuring.time_interleaved([prepared], effort)[0]


def evaluate(run: RunFolder, source: str | None = None) -> dict[str, Any]:
    """Accuracy of a trained run on the test split of data, with PyTorch and with ONNX Runtime alone.

    Args:
        source: a data set or folder with the classes of the run; the run's own data when None.

    Raises:
        ProxylessError: the run is not finished, or the classes are others.
    """
    from proxyless.export import onnx

    description = files.read_json(run.need(run.model, "train"))
    record = files.read_json(run.need(run.data, "search"))
    own = source is None or source == record["source"] or str(Path(source).expanduser().resolve()) == record["source"]
    preprocessing = data.Preprocessing.from_dict(description["preprocessing"])
    if own:
        images = recorded_data(run)
    else:
        images = data.load(str(source), image_size=preprocessing.image_size)
        if list(images.classes) != description["classes"]:
            raise ProxylessError(f"{source}: its classes are not those the network was trained on")
        images = dataclasses.replace(images, preprocessing=preprocessing)
    network = load_network(run)
    model = onnx.session(run.need(run.onnx, "export"))
    matrix, loss = confusion(network, images.loader("test", batch_size=256))
    correct = sum(
        int((onnx.run(model, inputs.numpy()).argmax(axis=1) == targets.numpy()).sum())
        for inputs, targets in images.loader("test", batch_size=256)
    )
    return {
        "data": images.source,
        "test_images": int(matrix.sum()),
        "test_accuracy": float(matrix.diagonal().sum() / matrix.sum()),
        "test_accuracy_onnx": correct / int(matrix.sum()),
        "test_loss": loss,
    }
