"""Nothing on the terminal from programs that write there themselves. No PyTorch here."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress


@contextmanager
def silence() -> Iterator[None]:
    """Nothing printed: not by Python's ``print``, loggers and warnings, nor by C++ code, which writes to the
    descriptors 1 and 2 itself.
    """
    disabled = logging.root.manager.disable
    with ExitStack() as stack:
        stack.callback(logging.disable, disabled)
        logging.disable(logging.ERROR)
        stack.enter_context(_nowhere())
        stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(redirect_stderr(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _nowhere() -> Iterator[None]:
    """What is written to the descriptors 1 and 2 meanwhile is lost; either may be closed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):  # no such stream, a closed one, or nobody reads it
            stream.flush()
    kept: dict[int, int] = {}
    for descriptor in (1, 2):
        with suppress(OSError):
            kept[descriptor] = os.dup(descriptor)
    try:
        with open(os.devnull, "wb") as nowhere:
            for descriptor in kept:
                os.dup2(nowhere.fileno(), descriptor)
        yield
    finally:
        for descriptor, copy in kept.items():
            os.dup2(copy, descriptor)
            os.close(copy)
