"""Libraries that write to the terminal are kept from doing so; PyTorch is not imported here."""

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
    """Let nothing be printed as long as the context lasts.

    That holds for Python's ``print``, loggers and warnings, and for C++ code, which writes to the descriptors 1 and 2.
    """
    with ExitStack() as stack:
        stack.enter_context(_handlers_kept())
        stack.enter_context(silent_loggers())
        stack.enter_context(_nowhere())
        stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(redirect_stderr(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


@contextmanager
def silent_loggers() -> Iterator[None]:
    """Let Python's loggers print nothing as long as the context lasts."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Remove the handlers of loggers that are added meanwhile: they would write to a stream that nobody reads."""
    before = list(logging.root.handlers)
    try:
        yield
    finally:
        for handler in [added for added in logging.root.handlers if added not in before]:
            logging.root.removeHandler(handler)


@contextmanager
def _nowhere() -> Iterator[None]:
    """Throw away what is written to the descriptors 1 and 2, of which either may be closed."""
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
