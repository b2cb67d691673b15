"""A session of timing on a device: modules and model files are converted, loaded and timed against one another."""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from proxyless import files
from proxyless.errors import ProxylessError
from proxyless.export.onnx_session import input_names
from proxyless.latency.device import Device
from proxyless.latency.runtimes import RUNTIMES, Converting, Prepared, Runtime, runtime
from proxyless.latency.runtimes.loading import RuntimeLoader
from proxyless.latency.timing.interleaved import time_interleaved
from proxyless.latency.timing.pinning import steady
from proxyless.latency.timing.repeated_loading import time_loadings
from proxyless.latency.timing.statistics import Conditions, Effort, Interval, Round
from proxyless.latency.timing.worker import Input, Model, Workers
from proxyless.machine.system import usable_cores
from proxyless.modules.operators import example_inputs
from proxyless.supernet import Shapes


class Session(ABC):
    """Modules and model files that are timed on a device, each under a name; made by :func:`timing_session`."""

    def __init__(self, program: Runtime, device: Device) -> None:
        self.program = program
        self.device = device

    def add(self, name: str, module: nn.Module, shapes: Shapes, *, called: str) -> None:
        """Convert a module for the device, to be timed under ``name``; the module is left as it was.

        Args:
            name: under which :meth:`time` returns its time.
            module: on the CPU.
            shapes: of its inputs, batch included.
            called: what error messages call it.

        Raises:
            ProxylessError: it cannot be converted or, where that is tried at once, run.
        """
        with self._naming(called):
            self._add(name, module, shapes, called)

    def add_file(self, name: str, file: Path, shapes: Shapes) -> None:
        """Take a model file of the runtime's format as it is, to be timed under ``name``.

        Args:
            name: under which :meth:`time` returns its time.
            file: where it lies.
            shapes: of its inputs, batch included.

        Raises:
            ProxylessError: it cannot be run, where that is tried at once; names the file.
        """
        with self._naming(str(file)):
            self._add_file(name, file, shapes, str(file))

    @abstractmethod
    def _add(self, name: str, module: nn.Module, shapes: Shapes, called: str) -> None: ...

    @abstractmethod
    def _add_file(self, name: str, file: Path, shapes: Shapes, called: str) -> None: ...

    def _on_device(self, called: str) -> str:
        return f"{called} on {self.device.name} ({self.device.runtime})"

    @contextmanager
    def _naming(self, called: str) -> Iterator[None]:
        try:
            yield
        except ProxylessError as error:
            raise ProxylessError(f"{self._on_device(called)}: {error}") from error.__cause__

    @abstractmethod
    def effort(self, wanted: Effort) -> Effort:
        """Return what of the ``wanted`` effort this device can be timed with."""

    @abstractmethod
    def time(
        self,
        effort: Effort,
        *,
        history: Sequence[Round] = (),
        on_round: Callable[[Round], None] = lambda done: None,
        advance: Callable[[float], None] = lambda share: None,
    ) -> tuple[dict[str, Interval], Conditions]:
        """Time everything added; see :func:`proxyless.latency.timing.repeated_loading.time_loadings`.

        Raises:
            ProxylessError: a module cannot be run; names it, the device and the reason.
        """


@contextmanager
def timing_session(device: Device) -> Iterator[Session]:
    """Open a session on ``device``, and clear up after it.

    PyTorch runs on one thread meanwhile: its waiting threads would disturb the clock.

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
            if isinstance(program, Converting) and _can_be_imported(type(program)):
                yield _InWorkers(program, device, stack.enter_context(files.scratch()))
            else:
                stack.enter_context(steady(device.threads))
                yield _InThisProcess(program, device)
    finally:
        torch.set_num_threads(threads)


def _can_be_imported(kind: type[Runtime]) -> bool:
    """Tell whether another process can import a class, as it cannot one of a notebook, a script or a function."""
    with suppress(pickle.PicklingError, AttributeError):
        pickle.dumps(kind)
        return kind.__module__ != "__main__"
    return False


class _InThisProcess(Session):
    """What is no file, and what takes long to load, as on a GPU: loaded once, and timed in this process."""

    def __init__(self, program: Runtime, device: Device) -> None:
        super().__init__(program, device)
        self.prepared: dict[str, Prepared] = {}

    def _add(self, name: str, module: nn.Module, shapes: Shapes, called: str) -> None:
        self.prepared[name] = self.program.prepare(module, example_inputs(shapes), self.device)

    def _add_file(self, name: str, file: Path, shapes: Shapes, called: str) -> None:
        inputs = [x.numpy() for x in example_inputs(shapes)]
        self.prepared[name] = self.program.load(file, inputs, self.device)

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


class _InWorkers(Session):
    """Model files, which are loaded and timed in a new process for each loading."""

    program: Converting

    def __init__(self, program: Converting, device: Device, scratch: Path) -> None:
        super().__init__(program, device)
        self.scratch = scratch
        self.models: dict[str, Model] = {}

    def _add(self, name: str, module: nn.Module, shapes: Shapes, called: str) -> None:
        file = self.scratch / f"{len(self.models)}.model"
        file.write_bytes(self.program.convert(module, example_inputs(shapes), self.device))
        self._add_file(name, file, shapes, called)

    def _add_file(self, name: str, file: Path, shapes: Shapes, called: str) -> None:
        inputs = tuple(Input(*both) for both in zip(input_names(len(shapes)), shapes, strict=True))
        self.models[name] = Model(self._on_device(called), file.absolute(), inputs)

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
        load = RuntimeLoader(type(self.program), self.device)
        title = RUNTIMES.get(self.device.runtime).title
        workers = Workers(self.models, load, title, self.device.threads, self.scratch)
        return time_loadings(list(self.models), workers, effort, history=history, on_round=on_round, advance=advance)
