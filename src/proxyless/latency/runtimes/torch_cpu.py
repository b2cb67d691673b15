"""PyTorch itself on the CPU, module by module, or compiled by torch.compile."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from proxyless.errors import ProxylessError
from proxyless.latency.device import Device, Precision
from proxyless.latency.runtimes import check_precision, failing_as
from proxyless.latency.timing.clock import wall_clock_ms
from proxyless.modules.copying import copied

Run = Callable[..., Any]


class TorchCpu:
    """Runs a module as PyTorch does, in evaluation mode and channels last.

    Channels last makes depthwise convolutions quicker, and with them whole networks.
    """

    def version(self) -> str:
        return str(torch.__version__)

    def prepare(self, module: nn.Module, inputs: Sequence[Tensor], device: Device) -> _Called:
        check_precision(device, Precision.FLOAT32)
        with failing_as(f"{type(module).__name__} cannot be run by PyTorch"):
            network = copied(module).eval().to(memory_format=torch.channels_last)
            return _Called(network, inputs, device.threads)

    def load(self, model: Path, inputs: Sequence[NDArray[np.float32]], device: Device) -> _Called:
        raise ProxylessError("PyTorch cannot run an exported file; measure the module")


class TorchCompiled(TorchCpu):
    """Runs a module as compiled by torch.compile, with its weights frozen so that norms are folded into convolutions.

    Compiling takes far longer than any other conversion here, above all that of whole networks: with fewer of them
    (``measure.networks``) most of that time is saved.
    """

    def version(self) -> str:
        compiler = _compiler()
        if shutil.which(compiler) is None:
            raise ProxylessError(
                f"torch.compile needs a C++ compiler, and {compiler} is not found: install it, name another in the"
                " environment variable CXX, or measure on cpu-torch"
            )
        return super().version()

    def prepare(self, module: nn.Module, inputs: Sequence[Tensor], device: Device) -> _Called:
        check_precision(device, Precision.FLOAT32)
        self.version()
        with failing_as(f"{type(module).__name__} cannot be run by torch.compile"), _quiet():
            from torch._inductor import config

            network = copied(module).eval().to(memory_format=torch.channels_last)
            # Read while tracing, which is in the first call; the options of torch.compile come too late for it.
            with config.patch(freezing=True):
                return _Called(torch.compile(_apart(network), dynamic=False), inputs, device.threads)


class _Called:
    def __init__(self, run: Run, inputs: Sequence[Tensor], threads: int) -> None:
        self.run = run
        self.inputs = [channels_last(x) for x in inputs]
        self.threads = threads
        self.outputs()

    def times_ms(self, count: int) -> NDArray[np.float64]:
        with self._ready():
            return wall_clock_ms(lambda: self.run(*self.inputs), count)

    def outputs(self) -> list[NDArray[Any]]:
        with self._ready():
            return as_arrays(self.run(*self.inputs))

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """Give PyTorch the threads of the device and no gradients, as when it compiled: else it would compile again."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with torch.no_grad():
                yield
        finally:
            torch.set_num_threads(before)


def channels_last(x: Tensor) -> Tensor:
    """Store images and feature maps channels last; other tensors stay as they are."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def as_arrays(result: Any) -> list[NDArray[Any]]:
    """Turn what a module returned, one tensor or several, into arrays on the host, in their own precision."""
    tensors = [result] if isinstance(result, Tensor) else list(result)
    return [tensor.detach().cpu().contiguous().numpy() for tensor in tensors]


_NUMBERS = itertools.count()


def _apart(module: nn.Module) -> Run:
    """Make ``module`` a function with a code object of its own.

    PyTorch keeps what it has compiled with the code it was compiled from, and all modules of one class share their
    code. From the ninth module on it would silently no longer compile them, and every call would search the earlier
    ones.
    """

    def run(*inputs: Tensor) -> Any:
        return module(*inputs)

    run.__code__ = run.__code__.replace(co_name=f"run_{next(_NUMBERS)}")
    return run


def _compiler() -> str:
    """Name the C++ compiler that torch.compile takes by default."""
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    return os.environ.get("CXX", usual)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress warnings, and messages of Python's loggers."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
