"""The programs that run networks, one file each behind one small interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from proxyless.errors import ProxylessError, first_line, meant
from proxyless.latency.runtimes import gpu

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

    def outputs(self) -> list[NDArray[Any]]:
        """What one inference computes, to be compared with PyTorch: what is timed is what was asked for."""
        ...


class Format(StrEnum):
    """What a runtime runs, and so what a network is handed over as."""

    ONNX = "ONNX file"
    TFLITE = "TFLite file"
    MODULE = "PyTorch module"


class Runtime(Protocol):
    """Turns modules into something the device runs."""

    format: Format
    """What it runs."""

    def version(self) -> str:
        """Version of the program, part of what a measurement is keyed by.

        Raises:
            ProxylessError: the program cannot be used here; says how to mend it.
        """
        ...

    def prepare(self, module: nn.Module, inputs: Sequence[Tensor], device: Device) -> Prepared:
        """Convert and load ``module`` for ``inputs``, both on the CPU, and run it once. The module is left as it was.

        Raises:
            ProxylessError: the module cannot be converted or run; names its class, the runtime and the reason.
        """
        ...

    def load(self, model: Path, inputs: Sequence[NDArray[np.float32]], device: Device) -> Prepared:
        """Load a network that was exported to the file ``model``, of the runtime's format, as it is.

        Args:
            inputs: as the module takes them, images channels first.

        Raises:
            ProxylessError: the file cannot be run, for a reason of which its name is no part; or the runtime runs none.
        """
        ...


@runtime_checkable
class Converting(Runtime, Protocol):
    """A runtime whose models can be loaded in another process, without PyTorch and as often as wanted."""

    def convert(self, module: nn.Module, inputs: Sequence[Tensor], device: Device) -> bytes:
        """What :meth:`load` is to find in a file. The module is left as it was.

        Raises:
            ProxylessError: the module cannot be converted; names its class, the runtime and the reason.
        """
        ...


@dataclass(frozen=True)
class Program:
    """Where a runtime is found, and what it needs.

    Args:
        title: what it is called in messages.
        module: its file in this package.
        implementation: its class there.
        packages: what must be importable.
        install: what ``pip install`` is to be given for them.
        gpu: whether it needs an NVIDIA GPU.
    """

    title: str
    module: str
    implementation: str
    packages: tuple[str, ...]
    install: str
    gpu: bool = False


PROGRAMS: Mapping[str, Program] = {
    "onnxruntime": Program("ONNX Runtime", "onnxruntime_cpu", "OnnxRuntimeCpu", ("onnxruntime",), "onnxruntime"),
    "torch": Program("PyTorch", "torch_cpu", "TorchCpu", ("torch",), "torch"),
    "torch-compile": Program("torch.compile", "torch_cpu", "TorchCompiled", ("torch",), "torch"),
    "openvino": Program("OpenVINO", "openvino_cpu", "OpenVinoCpu", ("openvino",), "'proxyless[openvino]'"),
    "litert": Program("LiteRT", "litert_cpu", "LiteRTCpu", ("ai_edge_litert", "litert_torch"), "'proxyless[litert]'"),
    "onnxruntime-cuda": Program(
        "ONNX Runtime CUDA", "onnxruntime_cuda", "OnnxRuntimeCuda", ("onnxruntime",), "'proxyless[gpu]'", gpu=True
    ),
    "onnxruntime-tensorrt": Program(
        "ONNX Runtime TensorRT",
        "onnxruntime_cuda",
        "OnnxRuntimeTensorRT",
        ("onnxruntime",),
        "'proxyless[gpu]'",
        gpu=True,
    ),
    "torch-cuda": Program("PyTorch CUDA", "torch_cuda", "TorchCuda", ("torch",), "torch", gpu=True),
    "torch-cuda-graph": Program("PyTorch CUDA graph", "torch_cuda", "TorchCudaGraph", ("torch",), "torch", gpu=True),
}
"""Every runtime by the name that devices give it."""


def runtime(name: str) -> Runtime:
    """The runtime called ``name``.

    Raises:
        ProxylessError: no such runtime, or a package or GPU that it needs is missing.
    """
    if name not in PROGRAMS:
        raise ProxylessError(f"no runtime called {name!r}: there is {', '.join(PROGRAMS)}{meant(name, PROGRAMS)}")
    program = PROGRAMS[name]
    mend = missing(program)
    if mend is not None:
        raise ProxylessError(f"{program.title}: {mend}")
    found: Runtime = getattr(import_module(f"{__name__}.{program.module}"), program.implementation)()
    return found


def missing(program: Program) -> str | None:
    """What ``program`` lacks here and how to mend it, in words; None where nothing is known to be missing."""
    for package in program.packages:
        if find_spec(package) is None:
            return f"{package} is not installed: pip install {program.install}"
    if program.gpu and not gpu.names():
        return "needs an NVIDIA GPU, and none is found"
    return None


def available(name: str) -> str | None:
    """None where the runtime called ``name`` can be used here, else the reason, in words; never raises."""
    mend = missing(PROGRAMS[name])
    if mend is None:
        try:
            runtime(name).version()
        except ProxylessError as error:
            return str(error)
        except Exception as error:  # a package that is installed, but broken
            return f"{PROGRAMS[name].title}: {first_line(error)}"
    return mend


@contextmanager
def failing_as(text: str) -> Iterator[None]:
    """Any error in the body as one line that begins with ``text``: the programs raise errors of many kinds."""
    try:
        yield
    except ProxylessError:
        raise
    except Exception as error:
        # torch.compile wraps what its compiler raised.
        raise ProxylessError(f"{text}: {first_line(getattr(error, 'inner_exception', error))}") from error


def check_precision(device: Device, *supported: str) -> None:
    """Make sure that the precision of ``device`` is one that its runtime has here.

    Raises:
        ProxylessError: it is not.
    """
    if device.precision not in supported:
        title = PROGRAMS[device.runtime].title
        raise ProxylessError(
            f"device {device.name}: {title} runs {' or '.join(supported)} here, not {device.precision}"
        )
