"""Every way in which the package reads a file, with a small good file for each, and what is then done with the value.

A value that was read is used, as the package would: that a file was taken says little where its value fails later.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from proxyless import files, spaces, zoo
from proxyless.architecture import Architecture
from proxyless.bundle import program, results, tables
from proxyless.cli import output
from proxyless.data import published, sources
from proxyless.errors import ProxylessError
from proxyless.files import lock
from proxyless.job import consistency, finished, objects, run_data, run_folder, settings
from proxyless.job.checkpoints import Checkpoints
from proxyless.job.progress import Reporter
from proxyless.job.resolved import with_lengths
from proxyless.job.run_folder import RunFolder
from proxyless.job.seconds import timed
from proxyless.job.stages import delivery
from proxyless.latency.cache import RoundsCache
from proxyless.latency.calibration import predictions
from proxyless.latency.device import device
from proxyless.latency.predict.kernels import kernels
from proxyless.latency.predict.model import LatencyModel, Measured
from proxyless.latency.table import LatencyTable
from proxyless.latency.timing.statistics import Effort, Round, conditions, intervals, missing
from proxyless.report import write_report
from proxyless.search.gradient import TwoPathUpdate
from proxyless.search.loop import SearchLoop
from proxyless.search.objective import BudgetLoss
from proxyless.spaces.mobilenet import MobileNetSpace
from proxyless.spaces.tree import TreeSpace
from proxyless.supernet import Supernet
from proxyless.tasks import Classification
from proxyless.training.loop import Recipe, TrainingLoop

SAMPLES = Path(__file__).parents[2] / "tests" / "versions" / "0.1.0"
TREE, YAML, LINES, CHECKPOINT, SAFETENSORS, BYTES = "tree", "yaml", "lines", "checkpoint", "safetensors", "bytes"
Reader = Callable[[Path], None]


@dataclass(frozen=True)
class Door:
    """One file that is read, and by what.

    Args:
        name: in the results.
        file: in the folder of :func:`prepare`.
        kind: of content, which says how it can be wrong.
        read: reads the file and uses its value.
        share: of the cases; fewer where a case takes long.
    """

    name: str
    file: str
    kind: str
    read: Reader
    share: float = 1.0


def prepare(root: Path) -> None:
    """Put a good file for every door into ``root``."""
    shutil.copytree(SAMPLES, root, dirs_exist_ok=True)
    for name in ("config.yaml", "data.json", "result.json"):
        path = root / "of-photos" / name
        path.write_text(path.read_text().replace("/data/photos", str(root / "photos")))
    run = RunFolder(root / "of-photos")
    run_data.save_fingerprints(run, run_data.recorded_data(run))
    shutil.copytree(root / "photos", root / "renamed")
    for path in (root / "renamed").rglob("*.png"):
        path.rename(path.with_name(f"a{path.name}"))
    owner = dataclasses.replace(lock.Owner.this(), pid=2**22 + 1)  # beyond what Linux gives
    files.write_json(root / "lock", dataclasses.asdict(owner))
    torch.manual_seed(0)
    space = MobileNetSpace(classes=3, image_size=16, width=0.1, depths=(2, 1, 1, 1, 1, 1))
    architecture = space.architecture({name: names[-1] for name, names in space.choices().items()})
    network = space.build(architecture)
    files.write_json(root / "older.config", zoo.official_config(network))
    torch.save({"state_dict": zoo.official_state_dict(network)}, root / "older.pth")
    files.write_json(root / "newer.config", _newer(zoo.official_config(network)))
    tree = TreeSpace(blocks=1, stages=2, stem=4, final_width=32)
    made = tree.build(tree.architecture({name: names[0] for name, names in tree.choices().items()}))
    files.write_json(root / "tree.config", zoo.official_config(made))
    tree.architecture({name: names[0] for name, names in tree.choices().items()}).save(root / "tree.json")
    space = spaces.make("nas-bench-macro")
    space.architecture(dict.fromkeys([f"layer{i}" for i in range(8)], "k3_e3")).save(root / "macro.json")
    store = _store(root)
    for loading in ("a", "b"):
        store.add(Round({"x": 1.0, "y": 2.5}, 0.1, loading))
    shutil.move(store.path, root / "store.jsonl")
    (root / "idx").mkdir(exist_ok=True)
    for half, count in (("train", 40), ("t10k", 20)):
        images = bytes(i % 251 for i in range(count * 64))
        head = bytes([0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 8, 0, 0, 0, 8])
        (root / "idx" / f"{half}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + images))
        labels = bytes([0, 0, 8, 1, 0, 0, 0, count]) + bytes(i % 10 for i in range(count))
        (root / "idx" / f"{half}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    photos = sorted((root / "photos").rglob("*.png"))
    rows = [f"{path.relative_to(root)},{number % 2},{number % 3 > 0:d}\n" for number, path in enumerate(photos)]
    (root / "labels.csv").write_text("path,large,round\n" + "".join(rows))
    # Not fitted: its measurements alone are written.
    LatencyModel(_operators(), None, None).save(root / "model.json")  # type: ignore[arg-type]


def _newer(config: dict[str, Any]) -> dict[str, Any]:
    """A file in the form of Once-for-all, after MobileNetV3, with the same layers."""
    for block in config["blocks"]:
        block["name"] = "ResidualBlock"
        block["conv"] = block.pop("mobile_inverted_conv")
        if block["conv"]["name"] != "ZeroLayer":
            block["conv"] |= {"name": "MBConvLayer", "use_se": True, "act_func": "h_swish", "mid_channels": None}
    return config | {"name": "MobileNetV3", "final_expand_layer": None}


def _store(root: Path) -> RoundsCache:
    return RoundsCache(root / "store", device("cpu-torch"))


@cache
def _operators() -> tuple[Measured, ...]:
    found = []
    for number in range(16):
        width = 8 + 8 * number
        module = torch.nn.Conv2d(width, width, 3, padding=1, groups=width if number % 3 == 0 else 1)
        ms = 0.01 + 1e-5 * width**1.5
        found.append(Measured(tuple(kernels(module, [torch.zeros(1, width, 8, 8)])), ms, 0.98 * ms, 1.02 * ms))
    return tuple(found)


# -- what is done with what was read --


def _finite(*values: float) -> None:
    assert all(math.isfinite(value) for value in values), values


def _used(table: LatencyTable) -> None:
    _finite(table.fixed, table.smallest(), table.largest(), *(value for row in predictions(table) for value in row))
    table.expected(torch.full(table.matrix().shape, 0.5))
    output.as_json(output.of_table(table, Path("table.json")).value)


def _table(root: Path) -> None:
    table = LatencyTable.load(root / "table.json")
    _used(table)
    table.save(root / "again.json")
    assert LatencyTable.load(root / "again.json") == table


def _architecture(file: str) -> Reader:
    def read(root: Path) -> None:
        architecture = Architecture.load(root / file)
        space = spaces.space_of(architecture)
        with torch.device("meta"):
            network = space.build(architecture)
        assert sum(p.numel() for p in network.parameters()) < 2e9
        assert isinstance(space.describe(architecture), str)
        architecture.save(root / "again.json")
        assert Architecture.load(root / "again.json") == architecture

    return read


def _config(root: Path) -> None:
    found = settings.load(root / "config.yaml")
    (root / "again.yaml").write_text(found.to_yaml(), encoding="utf-8")
    assert settings.load(root / "again.yaml") == found
    consistency.search_without_effect(found)
    objects.effort(found)


@cache
def _supernet(name: str, arguments: str) -> Supernet:
    return Supernet(spaces.make(name, json.loads(arguments)).network())


ORIGINAL = json.dumps(json.loads((SAMPLES / "bundle" / "manifest.json").read_text())["space"]["arguments"])


def _of_results(found: results.Results, known: Path) -> None:
    space = spaces.make(found.manifest.space, found.manifest.arguments)
    if found.manifest.space != "mobilenet" or json.dumps(dict(found.manifest.arguments)) != ORIGINAL:
        with torch.device("meta"):  # another network, of a size that may be right
            space.network()
        return
    supernet = _supernet("mobilenet", ORIGINAL)
    _used(tables.table_of(found, supernet))
    _used(tables.table_adapted(found, supernet, {"known": LatencyTable.load(known)}))


def _results(root: Path) -> None:
    _of_results(results.read_results(root / "results.json"), SAMPLES / "table.json")


def _timings(root: Path) -> None:
    _of_results(results.read_results(root / "times.csv", root / "bundle"), SAMPLES / "table.json")


def _official(file: str, weights: str | None = None) -> Reader:
    def read(root: Path) -> None:
        network = zoo.load_official(root / file, None if weights is None else root / weights)
        again = zoo.from_config(json.loads(json.dumps(zoo.official_config(network))))
        zoo.load_official_state_dict(again, zoo.official_state_dict(network))
        if sum(p.numel() for p in network.parameters()) < 10**6:
            assert all(bool(torch.isfinite(p).all()) for p in network.state_dict().values())

    return read


def _network(root: Path) -> None:
    network = finished.load_network(RunFolder(root / "finished"))
    with torch.no_grad():
        assert bool(torch.isfinite(network(torch.zeros(1, 1, 8, 8))).all())


def _record(root: Path) -> None:
    images = run_data.recorded_data(RunFolder(root / "of-photos"))
    inputs, _ = next(iter(images.loader("test", batch_size=4)))
    assert bool(torch.isfinite(inputs).all())
    json.dumps(images.describe(), allow_nan=False)


def _evaluated(root: Path) -> None:
    found = finished.evaluate(RunFolder(root / "of-photos"), str(root / "photos"))
    _finite(found["test_accuracy"], found["test_loss"])


def _recognised(root: Path) -> None:
    """Images under other names, which are known by what they look like."""
    images = run_data.recorded_data(RunFolder(root / "of-photos"), str(root / "renamed"))
    next(iter(images.loader("test", batch_size=4)))


def _lock(root: Path) -> None:
    try:
        with lock.held(root / "lock", root / "run"):
            pass
    except OSError as error:  # which the command line shows as one line
        raise ProxylessError(str(error)) from None
    if not (root / "lock").exists():
        (root / "lock").touch()


def _course(root: Path) -> None:
    files.keep_lines(root / "in-search" / "search" / "history.jsonl", lambda metrics: metrics.get("epoch") != 1)


def _report(root: Path) -> None:
    page = write_report(root / "finished").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "<script" not in page


def _compared(root: Path) -> None:
    write_report(root / "of-photos", [root / "finished"])


def _finished(root: Path) -> None:
    found = delivery.finished(RunFolder(root / "finished"), Reporter())
    output.as_json(output.of_run(found.values, found.run.path).value)


def _seconds(root: Path) -> None:
    with timed(RunFolder(root / "finished"), "check") as account:
        account()


def _same(root: Path) -> None:
    run = RunFolder(root / "in-search")
    run_folder.check_same(run, settings.load(SAMPLES / "in-search" / "config.yaml"), _recorded())


@cache
def _recorded() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SAMPLES / "in-search" / "data.json").read_text())
    return found


class _NoData:
    def train(self, epoch: int) -> Any:
        return iter(())

    held_out = valid = train

    def steps(self) -> int:
        return 10


def _stepped(*optimizers: torch.optim.Optimizer) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad()


def _search(root: Path) -> None:
    chosen = settings.load(SAMPLES / "in-search" / "config.yaml")
    supernet = _supernet("mobilenet", _arguments())
    table = LatencyTable.load(SAMPLES / "in-search" / "latency.json")
    update = TwoPathUpdate(supernet, BudgetLoss(table, 1.0), learning_rate=0.01)
    loop = SearchLoop(supernet, update, _NoData(), objects.schedule(with_lengths(chosen, 100)), Classification())  # type: ignore[arg-type]
    Checkpoints(root / "in-search" / "search" / "checkpoint.pt", root / "before.pt", root / "history.jsonl").resume(
        loop, "search", Reporter()
    )
    _stepped(loop.optimizer, update.optimizer)
    assert bool(torch.isfinite(supernet.probabilities()).all())
    supernet.sample()


@cache
def _arguments() -> str:
    return json.dumps(Architecture.load(SAMPLES / "architecture.json").arguments)


def _training(root: Path) -> None:
    architecture = Architecture.load(SAMPLES / "in-training" / "architecture.json")
    chosen = settings.load(SAMPLES / "in-training" / "config.yaml")
    network = spaces.space_of(architecture).build(architecture)
    recipe = Recipe(epochs=chosen.training.epochs or 1, learning_rate=0.1, ema=chosen.training.ema)
    loop = TrainingLoop(network, _NoData(), recipe, Classification())  # type: ignore[arg-type]
    Checkpoints(root / "in-training" / "training" / "checkpoint.pt", root / "before.pt", root / "history.jsonl").resume(
        loop, "", Reporter()
    )
    _stepped(loop.optimizer)
    loop._average()


def _cache(root: Path) -> None:
    store = _store(root)
    store.path.parent.mkdir(exist_ok=True)
    store.path.unlink(missing_ok=True)
    store.path.symlink_to(root / "store.jsonl")
    for found in store.load():
        _finite(*found.bursts.values(), found.other_cores or 0.0)
        assert all(ms > 0 for ms in found.bursts.values())
        assert isinstance(found.loading, str)
    store.add(Round({"x": 1.0}, None, "c"))


def _idx(root: Path) -> None:
    found = published.fashion_mnist(root / "downloads", installed=root / "idx")
    assert found.test is not None
    settings = sources.LoadSettings(sources.HoldOut(0.1, 0.15, 0), image_size=8)
    images = sources.load_arrays("fashion-mnist", found, settings)
    assert len(images.train) > 0


def _latency_model(root: Path) -> None:
    model = LatencyModel.load(root / "model.json")
    found = model.predict(_operators()[0].kernels)
    _finite(found.ms, found.low_ms, found.high_ms)


def _photo(root: Path) -> None:
    images = sources.load(str(root / "photos"), image_size=8, skip_corrupt=True)
    next(iter(images.loader("train", batch_size=4)))


def _labels(root: Path) -> None:
    images = sources.load(str(root / "labels.csv"), image_size=8, skip_corrupt=True)
    next(iter(images.loader("train", batch_size=4)))


def _program(root: Path) -> None:
    """Of the program that goes to another device with a bundle."""
    try:
        bundle = program.read_bundle(root / "bundle")
        assert all(model.file.is_file() for model in (*bundle.operators.values(), *bundle.networks.values()))
    except OSError as error:
        raise ProxylessError(str(error)) from None


def _rounds(root: Path) -> None:
    path = root / "results.rounds.jsonl"
    setup = json.loads((SAMPLES / path.name).read_text().splitlines()[0])
    try:
        rounds = program.take_up(path, setup)
        models = dict.fromkeys(json.loads((SAMPLES / "results.json").read_text())["times"])
        effort = Effort(1, 1.0, 0.02, 1.0, 1)
        if missing(models, rounds, effort):  # would be measured first
            return
        found, about = intervals(models, rounds, effort)[0], conditions(models, rounds, effort)
        _finite(*(value for interval in found.values() for value in dataclasses.astuple(interval)), about.seconds)
    except OSError as error:
        raise ProxylessError(str(error)) from None


REPORTED = {
    "result.json": TREE, "confusion.json": TREE, "data.json": TREE, "latency.json": TREE, "architecture.json": TREE,
    "model.json": TREE, "config.yaml": YAML, "search/history.jsonl": LINES, "training/history.jsonl": LINES,
}  # fmt: skip

DOORS = (
    Door("architecture", "architecture.json", TREE, _architecture("architecture.json"), 3),
    Door("architecture of a tree", "tree.json", TREE, _architecture("tree.json")),
    Door("architecture of NAS-Bench-Macro", "macro.json", TREE, _architecture("macro.json"), 0.3),
    Door("config", "config.yaml", YAML, _config, 1.5),
    Door("latency table", "table.json", TREE, _table, 3),
    Door("results of a bundle", "results.json", TREE, _results),
    Door("manifest of a bundle", "bundle/manifest.json", TREE, _timings, 0.5),
    Door("times as CSV", "times.csv", BYTES, _timings, 0.5),
    Door("bundle's program: manifest", "bundle/manifest.json", TREE, _program),
    Door("bundle's program: rounds", "results.rounds.jsonl", LINES, _rounds),
    Door("network file, older form", "older.config", TREE, _official("older.config"), 2),
    Door("network file, newer form", "newer.config", TREE, _official("newer.config")),
    Door("network file, tree", "tree.config", TREE, _official("tree.config")),
    Door("authors' checkpoint", "older.pth", CHECKPOINT, _official("older.config", "older.pth")),
    Door("weights", "finished/model.safetensors", SAFETENSORS, _network, 3),
    Door("weights' architecture", "finished/architecture.json", TREE, _network),
    Door("record of the data", "of-photos/data.json", TREE, _record),
    Door("record beside the run", "in-search/data.json", TREE, _same),
    Door("config beside the run", "in-search/config.yaml", YAML, _same),
    Door("description of the model", "of-photos/model.json", TREE, _evaluated, 0.5),
    Door("images' fingerprints", "of-photos/fingerprints.bin", BYTES, _recognised, 0.3),
    Door("network as ONNX", "of-photos/model.onnx", BYTES, _evaluated, 0.5),
    Door("lock", "lock", TREE, _lock, 0.5),
    Door("course of a search", "in-search/search/history.jsonl", LINES, _course, 0.5),
    Door("result", "finished/result.json", TREE, _finished, 2),
    Door("seconds", "finished/seconds.json", TREE, _seconds, 0.5),
    Door("checkpoint of a search", "in-search/search/checkpoint.pt", CHECKPOINT, _search, 0.5),
    Door("checkpoint of a training", "in-training/training/checkpoint.pt", CHECKPOINT, _training, 0.5),
    Door("known measurements", "store.jsonl", LINES, _cache),
    Door("images as IDX", "idx/train-images-idx3-ubyte.gz", BYTES, _idx, 0.5),
    Door("labels as IDX", "idx/train-labels-idx1-ubyte.gz", BYTES, _idx, 0.5),
    Door("latency model", "model.json", TREE, _latency_model, 0.3),
    Door("image", "photos/bright/03.png", BYTES, _photo),
    Door("table of labels", "labels.csv", BYTES, _labels),
    *(Door(f"report: {name}", f"finished/{name}", kind, _report, 0.5) for name, kind in REPORTED.items()),
    *(
        Door(f"comparison: {name}", f"finished/{name}", TREE, _compared, 0.2)
        for name in ("result.json", "latency.json")
    ),
)
