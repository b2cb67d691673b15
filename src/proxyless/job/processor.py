"""Where search and training compute, and with how many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from proxyless.machine.quota import cpu_quota
from proxyless.machine.system import usable_cores

Module = TypeVar("Module", bound=nn.Module)


def processor() -> torch.device:
    """The first CUDA GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def moved(network: Module) -> Module:
    """``network`` on the processor, its convolutions laid out channels last, which suits depthwise ones on a CPU.

    A network of volumes, whose weights have five dimensions, stays as it is laid out.
    """
    if any(parameter.dim() == 5 for parameter in network.parameters()):
        return network.to(processor())
    return network.to(processor(), memory_format=torch.channels_last)  # type: ignore[call-overload]


@contextmanager
def within_quota() -> Iterator[None]:
    """Meanwhile, PyTorch has no more threads than the quota of processor time keeps busy, where there is one.

    With more, the quota would be used up sooner, and then all of them stand still.
    """
    threads = torch.get_num_threads()
    if cpu_quota() is not None:
        torch.set_num_threads(min(threads, usable_cores()))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
