"""PyTorch itself on an NVIDIA GPU, kernel by kernel, or recorded once as a CUDA graph and replayed."""

from __future__ import annotations

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
from proxyless.latency.runtimes.torch_cpu import as_arrays, channels_last
from proxyless.modules.copying import copied

DTYPES = {Precision.FLOAT32: torch.float32, Precision.FLOAT16: torch.float16}
WARM_UP = 3
"""How often a module runs before its graph is recorded, so that cuDNN has chosen its algorithms and taken memory."""


class TorchCuda:
    """Runs a module on the first GPU that is visible, in evaluation mode and channels last, in float32 or float16.

    Each inference starts on an idle GPU and is timed between two CUDA events: the time in which the host launches the
    kernels counts, copies between host and GPU do not. In float32 the default of PyTorch decides about TF32.
    """

    def version(self) -> str:
        if torch.version.cuda is None:
            raise ProxylessError(f"PyTorch {torch.__version__} was built without CUDA: see pytorch.org/get-started")
        if not torch.cuda.is_available():
            raise ProxylessError(f"PyTorch cannot use the GPU: the driver is too old for CUDA {torch.version.cuda}")
        return f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"

    def prepare(self, module: nn.Module, inputs: Sequence[Tensor], device: Device) -> _OnGpu:
        check_precision(device, Precision.FLOAT32, Precision.FLOAT16)
        self.version()
        dtype = DTYPES[device.precision]
        with failing_as(f"{type(module).__name__} cannot be run by PyTorch on the GPU"):
            network = copied(module).eval().to("cuda", dtype).to(memory_format=torch.channels_last)
            return self._made(network, [_moved(x, dtype) for x in inputs])

    def load(self, model: Path, inputs: Sequence[NDArray[np.float32]], device: Device) -> _OnGpu:
        raise ProxylessError("PyTorch cannot run an exported file; measure the module")

    def _made(self, network: nn.Module, inputs: Sequence[Tensor]) -> _OnGpu:
        return _OnGpu(lambda: network(*inputs))


class TorchCudaGraph(TorchCuda):
    """Runs a module as a CUDA graph of its kernels, which the host starts by one call: the least that a GPU takes."""

    def _made(self, network: nn.Module, inputs: Sequence[Tensor]) -> _OnGpu:
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()
        with _tuned():
            # Recording wants everything chosen and allocated beforehand, on a stream that is not the default one.
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    network(*inputs)
            torch.cuda.current_stream().wait_stream(stream)
            with torch.cuda.graph(graph):
                result = network(*inputs)

        def replay() -> Any:
            graph.replay()
            return result

        return _OnGpu(replay)


class _OnGpu:
    def __init__(self, run: Callable[[], Any]) -> None:
        self.run = run
        self.outputs()

    def times_ms(self, count: int) -> NDArray[np.float64]:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        times = np.empty(count)
        with _tuned():
            torch.cuda.synchronize()
            for i in range(count):
                start.record()
                self.run()
                end.record()
                end.synchronize()
                times[i] = start.elapsed_time(end)
        return times

    def outputs(self) -> list[NDArray[Any]]:
        with _tuned():
            result = self.run()
            torch.cuda.synchronize()
        return as_arrays(result)


def _moved(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Move ``x`` to the GPU, channels last; convert it to ``dtype`` unless it holds integers."""
    return channels_last(x.to("cuda", dtype if x.is_floating_point() else x.dtype))


@contextmanager
def _tuned() -> Iterator[None]:
    """Compute no gradients, and let cuDNN try its algorithms when it first sees a shape, as where speed counts."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.backends.cudnn.benchmark = before
