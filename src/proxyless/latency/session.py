"""A session of timing on a device: modules and model files are converted, loaded and timed against one another."""

from __future__ import annotations

import pickle
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
from proxyless.latency.timing.pinning import pinned
from proxyless.latency.timing.repeated_loading import time_over_loadings
from proxyless.latency.timing.statistics import Conditions, Effort, Interval, Round
from proxyless.latency.timing.worker import Input, Model, Workers
from proxyless.machine.system import usable_cores
from proxyless.modules.operators import example_inputs
from proxyless.supernet import Shapes


class Session:
    """Modules and model files that are timed on a device, each under a name; made by :func:`timing_session`.

    Most runtimes run a file: theirs are loaded and timed in worker processes, in a new one for each loading. Others,
    and GPUs, on which loading takes long, have everything loaded once, in this process.

    Args:
        program: the runtime of the device.
        device: what is timed.
        scratch: folder for the files of a runtime that converts modules to files; None for one that does not.
    """

    def __init__(self, program: Runtime, device: Device, scratch: Path | None) -> None:
        self.program = program
        self.device = device
        self.scratch = scratch
        self.models: dict[str, Model] = {}
        self.prepared: dict[str, Prepared] = {}

    def add(self, name: str, module: nn.Module, shapes: Shapes, *, called: str) -> None:
        """Convert a module, to be timed under ``name``; the module is left as it was.

        Args:
            name: under which :meth:`time` returns its time.
            module: on the CPU.
            shapes: of its inputs, batch included.
            called: what error messages call it.

        Raises:
            ProxylessError: it cannot be converted or, where that is tried at once, run.
        """
        inputs = example_inputs(shapes)
        with self._naming(called):
            if self.scratch is None or not isinstance(self.program, Converting):
                self.prepared[name] = self.program.prepare(module, inputs, self.device)
                return
            file = self.scratch / f"{len(self.models)}.model"
            file.write_bytes(self.program.convert(module, inputs, self.device))
        self.models[name] = self._model(called, file, shapes)

    def add_file(self, name: str, file: Path, shapes: Shapes) -> None:
        """Take a model file of the runtime's format as it is, to be timed under ``name``.

        Args:
            name: under which :meth:`time` returns its time.
            file: where it lies.
            shapes: of its inputs, batch included.

        Raises:
            ProxylessError: it cannot be run, where that is tried at once; names the file.
        """
        if self.scratch is not None:
            self.models[name] = self._model(str(file), file, shapes)
            return
        with self._naming(str(file)):
            inputs = [x.numpy() for x in example_inputs(shapes)]
            self.prepared[name] = self.program.load(file, inputs, self.device)

    def effort(self, wanted: Effort) -> Effort:
        """Return what of the ``wanted`` effort this device can be timed with."""
        return wanted if self.scratch is not None else replace(wanted, loadings=1)

    def time(
        self,
        effort: Effort,
        *,
        history: Sequence[Round] = (),
        on_round: Callable[[Round], None] = lambda done: None,
        advance: Callable[[float], None] = lambda share: None,
    ) -> tuple[dict[str, Interval], Conditions]:
        """Time everything added; see :func:`proxyless.latency.timing.repeated_loading.time_over_loadings`.

        Raises:
            ProxylessError: a module cannot be run; names it, the device and the reason.
        """
        if self.scratch is None:
            return time_interleaved(self.prepared, effort, history=history, on_round=on_round, advance=advance)
        load = RuntimeLoader(type(self.program), self.device)
        title = RUNTIMES.get(self.device.runtime).title
        workers = Workers(self.models, load, title, self.device.threads, self.scratch)
        return time_over_loadings(self.models, workers, effort, history=history, on_round=on_round, advance=advance)

    def _model(self, called: str, file: Path, shapes: Shapes) -> Model:
        inputs = tuple(Input(*both) for both in zip(input_names(len(shapes)), shapes, strict=True))
        return Model(self._on_device(called), file.absolute(), inputs)

    def _on_device(self, called: str) -> str:
        return f"{called} on {self.device.name} ({self.device.runtime})"

    @contextmanager
    def _naming(self, called: str) -> Iterator[None]:
        try:
            yield
        except ProxylessError as error:
            raise ProxylessError(f"{self._on_device(called)}: {error}") from error.__cause__


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
            scratch = None
            if isinstance(program, Converting) and _can_be_imported(type(program)):
                scratch = stack.enter_context(files.scratch())
            else:
                stack.enter_context(pinned(device.threads))
            yield Session(program, device, scratch)
    finally:
        torch.set_num_threads(threads)


def _can_be_imported(kind: type[Runtime]) -> bool:
    """Tell whether another process can import a class, as it cannot one of a notebook, a script or a function."""
    with suppress(pickle.PicklingError, AttributeError):
        pickle.dumps(kind)
        return kind.__module__ != "__main__"
    return False
