"""What is printed, wherever it goes: a terminal that knows few characters, a pipe that was closed, nothing at all."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TextIO

from proxyless.errors import ProxylessError, one_line

STANDARD = (0, 1, 2)
"""File descriptors of standard input, output and error."""


def prepare() -> None:
    """Make sure that there is something to print to, and that no character is an error there; for a program's start.

    A descriptor that the caller has closed would become that of the next file that is opened, and what is printed by
    anybody would go into that file.
    """
    for descriptor in STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
    # Without one, print() to standard error would print to standard output.
    sys.stdout, sys.stderr = (open(os.devnull, "w") if s is None else s for s in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Print the outcome of a command. A reader that has gone, such as ``head``, is no error.

    Raises:
        ProxylessError: it cannot be written for another reason, such as a full disk.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        _forget(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            raise ProxylessError(f"the outcome cannot be printed: {error.strerror}") from None


def tell(text: str) -> None:
    """Print a line on the course of the work to standard error; that nobody can read it is no reason to stop."""
    try:
        print(one_line(text), file=sys.stderr, flush=True)
    except OSError:
        _forget(sys.stderr)


@contextmanager
def outcome_alone() -> Iterator[None]:
    """Meanwhile, what libraries and other processes print to standard output goes to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def shows_bars() -> bool:
    """Whether standard error is a terminal on which a line can be drawn again."""
    term = os.environ.get("TERM", "" if os.name == "nt" else "dumb")
    return sys.stderr.isatty() and term.lower() not in ("dumb", "unknown")


def _forget(stream: TextIO) -> None:
    """Let what is still to be written to a stream go nowhere, or Python would complain at its end."""
    with suppress(OSError):  # a stream without a descriptor keeps nothing
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
