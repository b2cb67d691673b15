"""Asks the driver which NVIDIA GPUs this process may use: quickly, and without any of the programs that use them."""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache


@lru_cache
def names() -> tuple[str, ...]:
    """Return the names of the GPUs that CUDA_VISIBLE_DEVICES does not hide, in order; none without a driver."""
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return ()
    count = ctypes.c_int()
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    found = []
    for ordinal in range(count.value):
        handle, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        if cuda.cuDeviceGet(ctypes.byref(handle), ordinal) != 0:
            return ()
        if cuda.cuDeviceGetName(name, len(name), handle) != 0:
            return ()
        found.append(name.value.decode(errors="replace"))
    return tuple(found)
