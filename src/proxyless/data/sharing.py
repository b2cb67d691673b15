"""Memory that processes share.

It has no name, so nothing of it is left behind, however a process ends. The size of /dev/shm, which is 64 MB in many
containers, does not limit it.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import tempfile
from collections.abc import Mapping
from multiprocessing import reduction
from typing import Any

import torch

Layout = list[tuple[torch.dtype, tuple[int, ...], int]]
"""Where tensors are in a memory: type, shape and first byte of each."""

ALIGNED = 64  # bytes at which a tensor begins


class Memory:
    """A block of memory that a process and the processes that it starts have in common.

    Args:
        size: In bytes.
        handle: Of a block that there is already.

    Raises:
        OSError: The system does not have so much memory.
    """

    def __init__(self, size: int, handle: int | None = None) -> None:
        self.size = max(size, 1)
        self.handle = _unnamed(self.size) if handle is None else handle
        self.view = mmap.mmap(self.handle, self.size)

    def __reduce__(self) -> Any:
        return _received, (self.size, reduction.DupFd(self.handle))

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            os.close(self.handle)  # the memory stays as long as a tensor uses it

    def put(self, tensors: tuple[torch.Tensor, ...]) -> Layout:
        """Copy tensors into this memory.

        Raises:
            ValueError: They do not fit.
        """
        found: Layout = []
        start = 0
        for tensor in tensors:
            if start + tensor.nbytes > self.size:
                raise ValueError(f"{start + tensor.nbytes} bytes do not fit into {self.size}")
            found.append((tensor.dtype, tuple(tensor.shape), start))
            self.tensor(found[-1]).copy_(tensor)
            start = _aligned(start + tensor.nbytes)
        return found

    def tensor(self, place: tuple[torch.dtype, tuple[int, ...], int]) -> torch.Tensor:
        """Return the tensor at a place, without copying it."""
        dtype, shape, start = place
        count = int(torch.Size(shape).numel())
        if not count:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(self.view, dtype=dtype, count=count, offset=start).view(shape)


def bytes_of(tensors: tuple[torch.Tensor, ...]) -> int:
    """Return the size of a memory that tensors fit into."""
    return sum(_aligned(tensor.nbytes) for tensor in tensors)


class Shared:
    """An object whose tensors are shared with the processes that it is given to, not copied.

    Forked processes share all memory anyway. For other processes the tensors are moved into shared memory, so that a
    data set is not in memory twice.
    """

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.value = value
        self.packed: tuple[bytes, list[Memory], list[Layout]] | None = None

    def __reduce__(self) -> Any:
        if self.packed is None:
            tensors: list[torch.Tensor] = []
            stream = io.BytesIO()
            _Packing(stream, tensors).dump(self.value)
            memories = [Memory(tensor.nbytes) for tensor in tensors]
            layouts = [memory.put((tensor,)) for memory, tensor in zip(memories, tensors, strict=True)]
            for memory, tensor, layout in zip(memories, tensors, layouts, strict=True):
                tensor.set_(memory.tensor(layout[0]))  # type: ignore[call-overload]
            self.packed = stream.getvalue(), memories, layouts
        return _unpacked, self.packed


class _Packing(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, tensors: list[torch.Tensor]) -> None:
        super().__init__(stream)
        self.tensors = tensors
        self.numbers: dict[int, int] = {}

    def persistent_id(self, value: Any) -> int | None:
        if not isinstance(value, torch.Tensor):
            return None
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.tensors)
            self.tensors.append(value)
        return self.numbers[id(value)]


class _Unpacking(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, tensors: list[torch.Tensor]) -> None:
        super().__init__(stream)
        self.tensors = tensors

    def persistent_load(self, number: int) -> torch.Tensor:
        return self.tensors[number]


def _unpacked(content: bytes, memories: list[Memory], layouts: list[Layout]) -> Shared:
    tensors = [memory.tensor(layout[0]) for memory, layout in zip(memories, layouts, strict=True)]
    return Shared(_Unpacking(io.BytesIO(content), tensors).load())


def _received(size: int, handle: Any) -> Memory:
    return Memory(size, handle.detach())


def _unnamed(size: int) -> int:
    """Open a file without a name, in memory or, where the system has no such files, on disk."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("proxyless")
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    try:
        os.ftruncate(handle, size)
    except OSError:
        os.close(handle)
        raise
    return handle


def _aligned(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED
