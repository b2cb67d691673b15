"""The programs that run networks, one file each behind one small interface, known by name.

A runtime of another package registers itself by :func:`register_runtime`, and is found by an entry point of the group
``proxyless.runtimes``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from proxyless.errors import ProxylessError, first_line
from proxyless.latency.runtimes import gpu
from proxyless.registry import Registry

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
        """Load a network from a file in the format of the runtime.

        Args:
            model: The file.
            inputs: As the module takes them, images channels first.
            device: Threads and precision.

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
    """What is known of a runtime without importing it: where it is found, what it needs, and its devices.

    Args:
        title: what it is called in messages.
        implementation: its class, a :class:`Runtime`, as ``module:class``.
        packages: what must be importable.
        install: what ``pip install`` is to be given for them.
        gpu: whether it needs an NVIDIA GPU.
        format: what it runs, and so what a network is handed over as.
        devices: the devices whose networks it runs.
    """

    title: str
    implementation: str
    packages: tuple[str, ...] = ()
    install: str = ""
    gpu: bool = False
    format: Format = Format.MODULE
    devices: tuple[Device, ...] = ()


_OURS = (
    "onnxruntime",
    "torch",
    "torch-compile",
    "openvino",
    "litert",
    "onnxruntime-cuda",
    "onnxruntime-tensorrt",
    "torch-cuda",
    "torch-cuda-graph",
)

RUNTIMES: Registry[Program] = Registry(
    "runtime", "proxyless.runtimes", dict.fromkeys(_OURS, "proxyless.latency.runtimes.ours")
)
"""Every runtime by the name that devices give it."""

R = TypeVar("R", bound=type)


def register_runtime(
    name: str,
    *,
    title: str,
    devices: Iterable[Device],
    packages: Iterable[str] = (),
    install: str = "",
    gpu: bool = False,
    format: Format = Format.MODULE,
) -> Callable[[R], R]:
    """Make a class known as a runtime, and its devices wherever those of this package are.

    Args:
        name: the name that its devices give as their ``runtime``.
        title: what messages call it.
        devices: the devices whose networks it runs.
        packages: what must be importable for it.
        install: what ``pip install`` is to be given for these packages; by default their names.
        gpu: whether it needs an NVIDIA GPU.
        format: what it runs, and so what a network is handed over as.

    Returns:
        A decorator for a class that follows :class:`Runtime`, at the top of a module.

    Raises:
        ProxylessError: the name is taken, or one of a device is, or a device is of another runtime.

    Example:
        >>> import numpy as np
        >>> from proxyless import ProxylessError, list_devices, register_runtime
        >>> from proxyless.latency.device import Device
        >>> @register_runtime("made-up", title="Made up", devices=[Device("made-up-chip", "made-up")])
        ... class MadeUp:
        ...     def version(self):
        ...         return "1.0"
        ...     def prepare(self, module, inputs, device):
        ...         ...  # returns an object that times the module: Prepared
        ...     def load(self, model, inputs, device):
        ...         raise ProxylessError("Made up runs no files")
        >>> {device.name: device.title for device in list_devices()}["made-up-chip"]
        'Made up'
    """

    def registered(kind: R) -> R:
        needed = tuple(packages)
        program = Program(
            title=title,
            implementation=f"{kind.__module__}:{kind.__qualname__}",
            packages=needed,
            install=install or " ".join(needed),
            gpu=gpu,
            format=format,
            devices=tuple(devices),
        )
        register(name, program, module=kind.__module__)
        return kind

    return registered


def register(name: str, program: Program, *, module: str) -> None:
    """Make a runtime known by its description; ``module`` is the one that describes it.

    Raises:
        ProxylessError: the name is taken, or one of a device is, or a device is of another runtime.
    """
    taken = {
        device.name: other
        for other, known in RUNTIMES.registered().items()
        for device in known.devices
        if other != name
    }
    for device in program.devices:
        if device.runtime != name:
            raise ProxylessError(f"runtime {name}: its device {device.name} is of the runtime {device.runtime}")
        if device.name in taken:
            raise ProxylessError(f"runtime {name}: there is a device {device.name} already, of {taken[device.name]}")
    RUNTIMES.register(name, program, module=module)


def runtime(name: str) -> Runtime:
    """The runtime called ``name``.

    Raises:
        ProxylessError: no such runtime, or a package or GPU that it needs is missing.
    """
    program = RUNTIMES.get(name)
    mend = missing(program)
    if mend is not None:
        raise ProxylessError(f"{program.title}: {mend}")
    module, _, implementation = program.implementation.partition(":")
    found: Runtime = getattr(import_module(module), implementation)()
    return found


def missing(program: Program) -> str | None:
    """What ``program`` lacks here and how to mend it, in words; None where nothing is known to be missing."""
    for package in program.packages:
        if find_spec(package) is None:
            return f"{package} is not installed: pip install {program.install}"
    if program.gpu and not gpu.names():
        return "needs an NVIDIA GPU, and none is found"
    return None


def why_unavailable(name: str) -> str | None:
    """Why the runtime called ``name`` cannot be used here, in words; None where it can be. Never raises."""
    try:
        program = RUNTIMES.get(name)
        mend = missing(program)
        if mend is None:
            runtime(name).version()
    except ProxylessError as error:
        return str(error)
    except Exception as error:  # a package that is installed, but broken
        return f"{program.title}: {first_line(error)}"
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
        title = RUNTIMES.get(device.runtime).title
        raise ProxylessError(
            f"device {device.name}: {title} runs {' or '.join(supported)} here, not {device.precision}"
        )
