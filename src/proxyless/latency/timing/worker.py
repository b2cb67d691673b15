"""A process that loads models and times them, and the parent that starts it and listens to it.

The parent pickles a :class:`Plan` into the standard input of the process. The process answers on its standard output by
one pickled value for each thing that happens: :class:`LoadingBegins`, a float (the share of the timing that is done), a
:class:`~proxyless.latency.timing.statistics.Round`, a ``ProxylessError`` that ends it, or :class:`Finished`. Nothing is
written to disk, so that this also works where there is no room for temporary files.

Model files are loaded in processes of their own for three reasons. One loading takes a percent or two more than the
next for as long as it lasts, so that several are needed. A process that has traced and converted networks is a worse
place to load them than a new one. And a runtime that ends its process, as native code may, is then a mistake like any
other.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from proxyless.errors import ProxylessError
from proxyless.latency.timing.interleaved import Timeable, time_interleaved
from proxyless.latency.timing.pinning import pinned
from proxyless.latency.timing.statistics import Effort, Round
from proxyless.machine.stopping import leave_signals_to_parent

LOAD_SHARE = 0.2
"""Share of the progress of a worker that is given to loading."""


class Loader(Protocol):
    """Makes a model file ready to be timed. It is pickled, so its class must be importable in another process."""

    def __call__(self, file: Path, inputs: Mapping[str, NDArray[Any]]) -> Timeable:
        """Load ``file``, to be run on ``inputs``, an array for each input by name, and run it once.

        Raises:
            ProxylessError: the file cannot be loaded or run; the reason only, as its name is added.
        """
        ...


@dataclass(frozen=True)
class Input:
    """An input of a model: it is given standard normal numbers of this shape (batch included) and type."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Model:
    """A model file to be timed.

    Args:
        called: what error messages call it.
        file: where it lies.
        inputs: what it is run on.
    """

    called: str
    file: Path
    inputs: tuple[Input, ...]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Draw its inputs, the same ones every time."""
        numbers = np.random.default_rng(0)
        return {value.name: numbers.standard_normal(value.shape).astype(value.dtype) for value in self.inputs}


@dataclass(frozen=True)
class Plan:
    """What a worker has to do.

    Args:
        models: what to load by name, in the order of loading.
        load: loads a model file.
        threads: how many cores the process is pinned to.
        effort: how thoroughly to time.
        scratch: a folder that the worker removes if its parent has been killed and cannot do so.
    """

    models: Mapping[str, Model]
    load: Loader
    threads: int
    effort: Effort
    scratch: Path | None = None


@dataclass(frozen=True)
class LoadingBegins:
    """The worker begins to load the model called ``name``."""

    name: str


@dataclass(frozen=True)
class Finished:
    """The worker has carried out its plan."""


@dataclass(frozen=True)
class Workers:
    """Times models in a new process at each call; see :class:`proxyless.latency.timing.repeated_loading.LoadAndTime`.

    Args:
        models: the models by name.
        load: loads a model file.
        runtime: what error messages call the program that runs the models.
        threads: how many cores a process is pinned to.
        scratch: a folder that is to be removed even when this process is killed.
    """

    models: Mapping[str, Model]
    load: Loader
    runtime: str
    threads: int
    scratch: Path | None = None

    def __call__(
        self,
        order: Sequence[str],
        effort: Effort,
        on_round: Callable[[Round], None],
        advance: Callable[[float], None],
    ) -> None:
        """Load the models called ``order`` in that order in a new process, and time them there.

        Raises:
            ProxylessError: a model cannot be loaded or ends the process; names the model.
        """
        plan = Plan({name: self.models[name] for name in order}, self.load, self.threads, effort, self.scratch)
        loaded, name, finished = 0, "", False
        with _started(plan) as worker:
            for event in worker.events():
                match event:
                    case LoadingBegins():
                        name = event.name
                        advance(LOAD_SHARE * loaded / len(order))
                        loaded += 1
                    case Round():
                        on_round(event)
                    case float():
                        advance(LOAD_SHARE + (1 - LOAD_SHARE) * event)
                    case ProxylessError():
                        raise ProxylessError(f"{self.models[name].called}: {event}")
                    case Finished():
                        finished = True
            ended = worker.ended()
        if finished and not ended:
            return
        # Which model it was running when it ended is not known once all are loaded.
        at_fault = order if loaded in (0, len(order)) else [name]
        called = self.models[at_fault[0]].called if len(at_fault) == 1 else f"one of {len(order)} models"
        raise ProxylessError(f"{called}: cannot be run by {self.runtime}: {ended or 'its process ended early'}")


class _Worker:
    """A running process, seen from its parent."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.last_words: deque[bytes] = deque(maxlen=1)
        # In a thread, as the process would wait for somebody to read what it writes.
        self.reader = Thread(target=self._listen, daemon=True)
        self.reader.start()

    def _listen(self) -> None:
        assert self.process.stderr
        with suppress(ValueError, OSError):  # it is closed when the process is given up
            self.last_words.extend(line for line in self.process.stderr if line.strip())

    def events(self) -> Iterator[Any]:
        """Yield what the process tells until it ends."""
        assert self.process.stdout
        with suppress(EOFError, pickle.UnpicklingError):  # it may be killed while it tells something
            while True:
                yield pickle.load(self.process.stdout)

    def ended(self) -> str:
        """Wait for the end, and say why it came too early: the signal, or the last line written; else ""."""
        code = self.process.wait()
        if code == 0:
            return ""
        if code < 0:
            return f"its process ended by {signal.Signals(-code).name}"
        self.reader.join(timeout=5)
        if self.last_words:
            return self.last_words[0].decode("utf-8", errors="replace").strip()
        return f"its process ended with exit code {code}"


@contextmanager
def _started(plan: Plan) -> Iterator[_Worker]:
    """Start a process that carries out ``plan``; it has ended when the body is left."""
    # It finds modules where this process does, whatever has been done to the path here.
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        worker = _Worker(process)
        try:
            assert process.stdin
            with suppress(BrokenPipeError), process.stdin:  # it may have ended already, and why is told later
                pickle.dump(plan, process.stdin)
            yield worker
        finally:
            process.kill()
            worker.reader.join(timeout=5)


def main() -> None:
    """Carry out the plan that comes on standard input."""
    leave_signals_to_parent()
    plan: Plan = pickle.load(sys.stdin.buffer)
    # Runtimes print; what the parent reads must not be among it.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)

        def tell(event: object) -> None:
            pickle.dump(event, out)
            out.flush()

        try:
            _carry_out(plan, tell)
        except BrokenPipeError:
            _without_parent(plan)


def _without_parent(plan: Plan) -> None:
    """End the process at once; the parent has been killed, and cannot clear up."""
    if plan.scratch is not None:
        shutil.rmtree(plan.scratch, ignore_errors=True)
    os._exit(1)


def _carry_out(plan: Plan, tell: Callable[[object], None]) -> None:
    loaded: dict[str, Timeable] = {}
    with pinned(plan.threads):
        for name, model in plan.models.items():
            tell(LoadingBegins(name))
            try:
                loaded[name] = plan.load(model.file, model.arrays())
            except ProxylessError as error:
                tell(ProxylessError(str(error)))
                return
        time_interleaved(loaded, plan.effort, on_round=tell, advance=lambda share: tell(float(share)))
    tell(Finished())
