"""A run as a folder: where each stage leaves its files, and whether a folder may be used for a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxyless import files
from proxyless.errors import ProxylessError
from proxyless.files import lock, place
from proxyless.job import settings
from proxyless.job.progress import described
from proxyless.job.settings import Settings


@dataclass(frozen=True)
class File:
    """A file of every run folder, with what it holds; as an attribute of a :class:`RunFolder` it is that one's path."""

    name: str
    holds: str

    def __get__(self, run: RunFolder, kind: type[RunFolder] | None = None) -> Path:
        return run.path / self.name


@dataclass(frozen=True)
class RunFolder:
    """The files of one run; what a stage left is enough for the next one."""

    path: Path

    config = File("config.yaml", "Every setting that was used, as YAML.")
    imports = File("imports.json", "The modules of the user that the run needs, each with its file.")
    data = File("data.json", "Classes, splits and preprocessing of the data.")
    fingerprints = File("fingerprints.bin", "What the images are known by, wherever they lie.")
    log = File("log.jsonl", "The course of the job, one JSON value a line.")
    initial = File("initial.pt", "The weights that a network of one's own began with.")
    latency = File("latency.json", "The latency table.")
    search_history = File("search/history.jsonl", "Metrics of warm-up and search.")
    search_checkpoint = File("search/checkpoint.pt", "State after the last finished epoch of the search.")
    search_checkpoint_before = File("search/checkpoint.previous.pt", "State an epoch before that.")
    search_gradients = File("search/gradients.json", "Convolutions whose weight gradients were computed in strips.")
    architecture = File("architecture.json", "What was chosen.")
    training_history = File("training/history.jsonl", "Metrics of the training of the derived network.")
    training_checkpoint = File("training/checkpoint.pt", "State after the last finished epoch of training.")
    training_checkpoint_before = File("training/checkpoint.previous.pt", "State an epoch before that.")
    training_gradients = File("training/gradients.json", "The same for the training.")
    weights = File("model.safetensors", "The trained weights.")
    onnx = File("model.onnx", "The trained network as ONNX.")
    onnx_int8 = File("model.int8.onnx", "The same in int8, where the device computes so.")
    onnx_pixels = File("model.pixels.onnx", "The same for pixels of 8 bits, which it normalises itself.")
    tflite = File("model.tflite", "The trained network as TFLite, where the device runs these.")
    tflite_int8 = File("model.int8.tflite", "The same in int8.")
    model = File("model.json", "What one needs beside the weights: classes, preprocessing, timm's arguments.")
    confusion = File("confusion.json", "Counts of true and predicted classes on the test split.")
    result = File("result.json", "The summary, for machines.")
    seconds = File("seconds.json", "Seconds that each stage took.")
    report = File("report.html", "The page for people.")

    def models(self) -> list[Path]:
        """The files there are of the trained network that other programs run, ``model.onnx`` first."""
        every = (self.onnx, self.onnx_pixels, self.onnx_int8, self.tflite, self.tflite_int8)
        return [path for path in every if path.exists()]

    def written(self) -> list[str]:
        """The names of all files that a job writes, relative to the folder."""
        return [item.name for item in vars(RunFolder).values() if isinstance(item, File)]

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Have the run for this process alone, to write some of its files again.

        Raises:
            ProxylessError: there is no such folder, it cannot be written to, or another process is at work on the run.
        """
        if not self.path.is_dir():
            raise ProxylessError(f"{self.path}: no such run folder")
        with place.folder(self.path, self.written(), flag=""):
            try:
                yield
            except Exception as error:
                if self.log.exists() and not isinstance(error, ProxylessError):
                    with suppress(OSError):  # the disk may be full, and what is wrong is told to the user anyway
                        files.append_json_line(self.log, {"event": "error", **described(error)})
                raise

    def need(self, path: Path, made_by: str) -> Path:
        """``path``, which must be there.

        Raises:
            ProxylessError: it is not; the message says which command makes it.
        """
        if not self.path.is_dir():
            raise ProxylessError(f"{self.path}: no such run folder")
        if not path.exists():
            raise ProxylessError(f"{self.path} has no {path.relative_to(self.path)}: `proxyless {made_by}` makes it")
        return path


@contextmanager
def taken(path: Path) -> Iterator[RunFolder]:
    """Have ``path`` as the folder of a run for this process alone; it is known before any work that it can be written.

    Raises:
        ProxylessError: it is a file, cannot be written to, holds other files, or another process is at work on it.
    """
    with place.named(f"--out {path}"):
        if path.is_dir():
            # A run that was killed while its folder was made holds no config yet.
            own = ("data.json", "initial.pt", lock.NAME)
            others = [item for item in path.iterdir() if item.name not in own and not files.is_partial(item)]
            if others and not (path / "config.yaml").exists():
                raise ProxylessError(f"--out {path}: the folder is not empty and holds no run; choose another name")
        elif path.exists():
            raise ProxylessError(f"--out {path}: is a file; choose another name")
    run = RunFolder(path)
    with place.folder(path, run.written()):
        yield run


FREE = ("images.workers",)
"""Settings on which nothing depends but the time that it takes: a run may be continued with others."""


def check_same(run: RunFolder, wanted: Settings, data: Mapping[str, Any]) -> None:
    """Make sure that the run in the folder, if there is one, is the one that is wanted and can be continued.

    Raises:
        ProxylessError: it has other settings (the message names the first of them), or its images have changed.
    """
    if not run.config.exists():
        return
    before = settings.load(run.config).replace({name: settings.value(wanted, name) for name in FREE})
    record = files.read_json(run.data)
    same = _same_images(record, json.loads(json.dumps(data)))
    there, here = settings.flat(before), settings.flat(wanted)
    names = [name for name, value in here.items() if there.get(name) != value]
    if same and "data" in names:  # the same images lie elsewhere now
        names.remove("data")
    if names:
        first = names[0]
        raise ProxylessError(
            f"--out {run.path}: holds another run ({first} is {there.get(first)!r} there and"
            f" {here[first]!r} here); choose another --out, or remove the folder"
        )
    task = record.get("task") if isinstance(record, dict) else None
    if task not in (None, data.get("task")):
        raise ProxylessError(
            f"--out {run.path}: holds another run (its task is {task!r} there and {data.get('task')!r} here); choose"
            " another --out"
        )
    if not same:
        raise ProxylessError(
            f"--out {run.path}: its images have changed since that run began; restore them, or choose another --out"
        )


_WHERE_AND_WHAT_ELSE = ("source", "split_method", "skipped", "found", "remarks")
"""Of a data set's description: where its images lie, and what was noticed beside them."""


def _same_images(record: Any, now: Mapping[str, Any]) -> bool:
    """Say whether two descriptions are of the same images, divided and prepared in the same way.

    The record of an earlier version has fewer keys.
    """
    return isinstance(record, dict) and all(
        now.get(key) == value for key, value in record.items() if key not in _WHERE_AND_WHAT_ELSE
    )


def open_run(run: RunFolder, wanted: Settings, data: Mapping[str, Any]) -> None:
    """Begin a run in its folder, or take up the one that is there; see :func:`check_same`."""
    if run.config.exists():
        return
    files.write_json(run.data, data)
    settings.save(wanted, run.config)
