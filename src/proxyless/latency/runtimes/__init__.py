"""The programs that run networks, one file each behind one small interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from proxyless.errors import ProxylessError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from proxyless.latency.device import Device


class Prepared(Protocol):
    """A module ready to be timed."""

    def times_ms(self, count: int) -> NDArray[np.float64]:
        """Ms that each of ``count`` inferences took, one after the other, on the inputs it was prepared with."""
        ...


class Runtime(Protocol):
    """Turns modules into something the device runs."""

    def version(self) -> str:
        """Version of the program, part of what a measurement is keyed by."""
        ...

    def prepare(self, module: nn.Module, inputs: Sequence[Tensor], device: Device) -> Prepared:
        """Convert and load ``module`` for ``inputs``.

        Raises:
            ProxylessError: the module cannot be converted or loaded; names the runtime and the reason.
        """
        ...

    def load(self, model: Path, inputs: Sequence[Tensor], device: Device) -> Prepared:
        """Load a network that was exported to the ONNX file ``model``."""
        ...


def runtime(name: str) -> Runtime:
    """The runtime called ``name``.

    Raises:
        ProxylessError: no such runtime, or its package is not installed.
    """
    if name == "onnxruntime":
        from proxyless.latency.runtimes.onnxruntime_cpu import OnnxRuntimeCpu

        return OnnxRuntimeCpu()
    raise ProxylessError(f"no runtime called {name!r}: there is onnxruntime")
