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
class RunFolder:
    """The files of one run; what a stage left is enough for the next one."""

    path: Path

    @property
    def config(self) -> Path:
        """Every setting that was used, as YAML."""
        return self.path / "config.yaml"

    @property
    def data(self) -> Path:
        """Classes, splits and preprocessing of the data."""
        return self.path / "data.json"

    @property
    def fingerprints(self) -> Path:
        """What the images are known by, wherever they lie."""
        return self.path / "fingerprints.bin"

    @property
    def log(self) -> Path:
        """The course of the job, one JSON value a line."""
        return self.path / "log.jsonl"

    @property
    def latency(self) -> Path:
        """The latency table."""
        return self.path / "latency.json"

    @property
    def search_history(self) -> Path:
        """Metrics of warm-up and search."""
        return self.path / "search" / "history.jsonl"

    @property
    def search_checkpoint(self) -> Path:
        """State after the last finished epoch of the search."""
        return self.path / "search" / "checkpoint.pt"

    @property
    def search_checkpoint_before(self) -> Path:
        """State an epoch earlier, for when the newest is damaged."""
        return self.path / "search" / "checkpoint.previous.pt"

    @property
    def architecture(self) -> Path:
        """What was chosen."""
        return self.path / "architecture.json"

    @property
    def training_history(self) -> Path:
        """Metrics of the training of the derived network."""
        return self.path / "training" / "history.jsonl"

    @property
    def training_checkpoint(self) -> Path:
        """State after the last finished epoch of training."""
        return self.path / "training" / "checkpoint.pt"

    @property
    def training_checkpoint_before(self) -> Path:
        """State an epoch earlier, for when the newest is damaged."""
        return self.path / "training" / "checkpoint.previous.pt"

    @property
    def weights(self) -> Path:
        """The trained weights."""
        return self.path / "model.safetensors"

    @property
    def onnx(self) -> Path:
        """The trained network as ONNX."""
        return self.path / "model.onnx"

    @property
    def onnx_int8(self) -> Path:
        """The trained network as ONNX with int8 weights and activations, where the device computes so."""
        return self.path / "model.int8.onnx"

    @property
    def onnx_pixels(self) -> Path:
        """The trained network as ONNX that takes pixels of 8 bits and normalises them itself."""
        return self.path / "model.pixels.onnx"

    @property
    def tflite(self) -> Path:
        """The trained network as a TFLite file, where the device runs these."""
        return self.path / "model.tflite"

    @property
    def tflite_int8(self) -> Path:
        """The same with int8 weights and activations."""
        return self.path / "model.int8.tflite"

    def models(self) -> list[Path]:
        """The files there are of the trained network that other programs run, ``model.onnx`` first."""
        every = (self.onnx, self.onnx_pixels, self.onnx_int8, self.tflite, self.tflite_int8)
        return [path for path in every if path.exists()]

    @property
    def model(self) -> Path:
        """What one needs beside the weights: classes, preprocessing, timm's arguments."""
        return self.path / "model.json"

    @property
    def confusion(self) -> Path:
        """Counts of true and predicted classes on the test split."""
        return self.path / "confusion.json"

    @property
    def result(self) -> Path:
        """The summary, for machines."""
        return self.path / "result.json"

    @property
    def seconds(self) -> Path:
        """Seconds that each stage took."""
        return self.path / "seconds.json"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    def written(self) -> list[str]:
        """The names of all files that a job writes, relative to the folder."""
        made = {name for name, value in vars(RunFolder).items() if isinstance(value, property)}
        paths: list[Path] = [getattr(self, name) for name in sorted(made)]
        return [str(path.relative_to(self.path)) for path in paths]

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
            own = ("data.json", lock.NAME)
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
    before = settings.load(run.config).replace({name: value(wanted, name) for name in FREE})
    record = files.read_json(run.data)
    same = _same_images(record, json.loads(json.dumps(data)))
    names = [item.name for item in settings.describe() if value(before, item.name) != value(wanted, item.name)]
    if same and "data" in names:  # the same images lie elsewhere now
        names.remove("data")
    if names:
        first = names[0]
        raise ProxylessError(
            f"--out {run.path}: holds another run ({first} is {value(before, first)!r} there and"
            f" {value(wanted, first)!r} here); choose another --out, or remove the folder"
        )
    if not same:
        raise ProxylessError(
            f"--out {run.path}: its images have changed since that run began; restore them, or choose another --out"
        )


_WHERE_AND_WHAT_ELSE = ("source", "split_method", "skipped", "found", "remarks")
"""Of a data set's description: where its images lie, and what was noticed beside them."""


def _same_images(record: Any, now: Mapping[str, Any]) -> bool:
    """Whether two descriptions are of the same images, divided and prepared in the same way; one of before has fewer
    keys.
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


def value(of: Settings, name: str) -> Any:
    """A setting by its dotted name."""
    found: Any = of
    for part in name.split("."):
        found = getattr(found, part)
    return found
