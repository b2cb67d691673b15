"""Where modules are brought to be timed against one another: converted, loaded, timed.

Most runtimes run a file, and so it is in processes of their own that their models are loaded and timed, several times
over: one loading takes a percent or two more than the next for as long as it lasts, and a process that has traced and
converted networks is a worse place to load them than a new one. A runtime that ends its process, as native code may, is
then a mistake like any other.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from proxyless import files
from proxyless.errors import ProxylessError
from proxyless.latency.device import Device
from proxyless.latency.runtimes import RUNTIMES, Converting, Prepared, Runtime, runtime
from proxyless.latency.timing.interleaved import time_interleaved
from proxyless.latency.timing.interruptions import Held
from proxyless.latency.timing.pinning import steady
from proxyless.latency.timing.repeated_loading import time_loadings
from proxyless.latency.timing.statistics import Conditions, Effort, Interval, Round
from proxyless.latency.timing.worker import PLAN
from proxyless.machine.system import usable_cores

LOAD_SHARE = 0.2
"""Share of a loading's progress for loading itself."""


class Bench(ABC):
    """Modules to be timed on a device, by name."""

    def __init__(self, program: Runtime, device: Device) -> None:
        self.program = program
        self.device = device
        self.called: dict[str, str] = {}

    def add(self, name: str, module: nn.Module, inputs: Sequence[Tensor], *, called: str) -> None:
        """Bring a module, with what it is to be run on; it is left as it was.

        Args:
            called: what it is called in messages.

        Raises:
            ProxylessError: it cannot be converted or, where that is tried at once, run.
        """
        with self._naming(called):
            self._add(name, module, inputs)
        self.called[name] = called

    def add_file(self, name: str, model: Path, inputs: Sequence[Tensor]) -> None:
        """Bring a model that was exported, of the runtime's format.

        Raises:
            ProxylessError: it cannot be run, where that is tried at once; names the file.
        """
        with self._naming(str(model)):
            self._add_file(name, model, inputs)
        self.called[name] = str(model)

    @abstractmethod
    def _add(self, name: str, module: nn.Module, inputs: Sequence[Tensor]) -> None: ...

    @abstractmethod
    def _add_file(self, name: str, model: Path, inputs: Sequence[Tensor]) -> None: ...

    @contextmanager
    def _naming(self, called: str) -> Iterator[None]:
        try:
            yield
        except ProxylessError as error:
            device = self.device
            raise ProxylessError(f"{called} on {device.name} ({device.runtime}): {error}") from error.__cause__

    @abstractmethod
    def effort(self, wanted: Effort) -> Effort:
        """What of ``wanted`` applies here."""

    @abstractmethod
    def time(
        self,
        effort: Effort,
        *,
        history: Sequence[Round] = (),
        on_round: Callable[[Round], None] = lambda done: None,
        advance: Callable[[float], None] = lambda share: None,
    ) -> tuple[dict[str, Interval], Conditions]:
        """Time everything brought, see :func:`proxyless.latency.timing.repeated_loading.time_loadings`.

        Raises:
            ProxylessError: a module cannot be run; names it, the device and the reason.
        """


@contextmanager
def bench(device: Device) -> Iterator[Bench]:
    """A bench for ``device``, cleared away afterwards. PyTorch runs on one thread meanwhile: its waiting threads would
    disturb the clock.

    Raises:
        ProxylessError: the device has more threads than there are cores, or its runtime cannot be used here.
    """
    if device.threads > usable_cores():
        raise ProxylessError(
            f"device {device.name}: {device.threads} threads, but this process may use {usable_cores()} cores"
        )
    program = runtime(device.runtime)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ExitStack() as stack:
            if isinstance(program, Converting):
                yield _Apart(program, device, stack.enter_context(files.scratch()))
            else:
                stack.enter_context(steady(device.threads))
                yield _Here(program, device)
    finally:
        torch.set_num_threads(threads)


class _Here(Bench):
    """In this process, loaded once: what is no file, and on a GPU what takes long to load."""

    def __init__(self, program: Runtime, device: Device) -> None:
        super().__init__(program, device)
        self.prepared: dict[str, Prepared] = {}

    def _add(self, name: str, module: nn.Module, inputs: Sequence[Tensor]) -> None:
        self.prepared[name] = self.program.prepare(module, inputs, self.device)

    def _add_file(self, name: str, model: Path, inputs: Sequence[Tensor]) -> None:
        self.prepared[name] = self.program.load(model, _arrays(inputs), self.device)

    def effort(self, wanted: Effort) -> Effort:
        return replace(wanted, loadings=1)

    def time(
        self,
        effort: Effort,
        *,
        history: Sequence[Round] = (),
        on_round: Callable[[Round], None] = lambda done: None,
        advance: Callable[[float], None] = lambda share: None,
    ) -> tuple[dict[str, Interval], Conditions]:
        return time_interleaved(self.prepared, self.effort(effort), history=history, on_round=on_round, advance=advance)


class _Apart(Bench):
    """In processes of their own, one for each loading."""

    program: Converting

    def __init__(self, program: Converting, device: Device, folder: Path) -> None:
        super().__init__(program, device)
        self.folder = folder
        self.models: dict[str, dict[str, str]] = {}

    def _add(self, name: str, module: nn.Module, inputs: Sequence[Tensor]) -> None:
        path = self.folder / f"{len(self.models)}.model"
        path.write_bytes(self.program.convert(module, inputs, self.device))
        self._add_file(name, path, inputs)

    def _add_file(self, name: str, model: Path, inputs: Sequence[Tensor]) -> None:
        arrays = f"{len(self.models)}.npz"
        np.savez(self.folder / arrays, *_arrays(inputs))
        self.models[name] = {"name": name, "file": str(model.absolute()), "inputs": arrays}

    def effort(self, wanted: Effort) -> Effort:
        return wanted

    def time(
        self,
        effort: Effort,
        *,
        history: Sequence[Round] = (),
        on_round: Callable[[Round], None] = lambda done: None,
        advance: Callable[[float], None] = lambda share: None,
    ) -> tuple[dict[str, Interval], Conditions]:
        return time_loadings(list(self.models), self._load, effort, history=history, on_round=on_round, advance=advance)

    def _load(
        self,
        order: Sequence[str],
        effort: Effort,
        on_round: Callable[[Round], None],
        advance: Callable[[float], None],
    ) -> None:
        """One loading; see :class:`proxyless.latency.timing.repeated_loading.Loading`."""
        plan = {"device": asdict(self.device), "effort": asdict(effort), "models": [self.models[n] for n in order]}
        (self.folder / PLAN).write_text(json.dumps(plan), encoding="utf-8")
        loaded, name, finished = 0, "", False
        with _worker(self.folder) as (process, errors):
            assert process.stdout
            for line in process.stdout:
                event: dict[str, Any] = json.loads(line)
                if "loading" in event:
                    name = event["loading"]
                    advance(LOAD_SHARE * loaded / len(order))
                    loaded += 1
                elif "bursts" in event:
                    on_round(Round(event["bursts"], event["other_cores"], held=Held(**event["held"])))
                elif "share" in event:
                    advance(LOAD_SHARE + (1 - LOAD_SHARE) * event["share"])
                elif "mistake" in event:
                    with self._naming(self.called[name]):
                        raise ProxylessError(event["mistake"])
                finished = finished or "finished" in event
            code = process.wait()
        if finished and code == 0:
            return
        # What it was running when it ended is not known once all are loaded.
        what = self.called[name] if name and loaded < len(order) else f"one of {len(order)} modules"
        with self._naming(what):
            raise ProxylessError(f"cannot be run by {RUNTIMES.get(self.device.runtime).title}: {_end(code, errors)}")


@contextmanager
def _worker(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that carries out the plan in ``folder``, and the file of what it writes to standard error."""
    # It finds modules where this process does, whatever has been done to the path here.
    found = f"import sys; sys.path[:] = {sys.path!r}"
    code = f"{found}; from proxyless.latency.timing.worker import main; main({str(folder)!r})"
    errors = folder / "errors.txt"
    with errors.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=file, text=True)
    try:
        yield process, errors
    finally:
        process.kill()
        process.communicate()


def _end(code: int, errors: Path) -> str:
    """Why a process ended, in words: the signal, or the last line that it wrote."""
    if code < 0:
        return f"its process ended by {signal.Signals(-code).name}"
    lines = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else f"its process ended with exit code {code}"


def _arrays(inputs: Sequence[Tensor]) -> list[NDArray[np.float32]]:
    return [x.numpy() for x in inputs]
