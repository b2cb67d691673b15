"""Whatever goes wrong in a command becomes one line and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

from proxyless.errors import ProxylessError, first_line, one_line
from proxyless.job import terminal
from proxyless.machine.stopping import Stop, stoppable

INSTALLED_AS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
"""Packages whose name is not that of the module."""

GOES_ON = ("search", "train", "measure")
"""Commands that go on from where they were stopped."""

MISTAKE, FAILURE = 2, 1
"""Exit codes: what the user or the machine can mend, and what they cannot."""


def guarded(work: Callable[[], None], *, command: str, debug: bool, ending: bool) -> int:
    """The exit code of ``work``; whatever it raises becomes one line on standard error, and its exit code.

    Args:
        work: a command.
        command: for the line; "" where none was given.
        debug: show also where it arose.
        ending: the process ends after this.
    """
    with stoppable(ending=ending) as stop:
        try:
            try:
                work()
            finally:  # now, since an error while Python ends could not be answered
                sys.stdout.flush()
        except SystemExit:  # of the parser, which has printed its line
            raise
        except BaseException as error:
            code, line = _answer(error, stop, command)
            _drop_output()
            if debug:
                with suppress(OSError):  # nobody reads it any more
                    traceback.print_exception(error)
            for one in line.splitlines():
                terminal.tell(one)
            return code
        return 0


def _answer(error: BaseException, stop: Stop, command: str) -> tuple[int, str]:
    """The exit code, and the line if there is to be one."""
    name = " ".join(["proxyless", *command.split()])
    # What was running may have ended for the same signal, and said so by an error of its own.
    if stop.number is not None or isinstance(error, KeyboardInterrupt):
        return stop.exit_code, "stopped" + "; the same command goes on from here" * (command in GOES_ON)
    if isinstance(error, BrokenPipeError):  # `| head`: as a program that knows nothing of it ends
        return 128 + getattr(signal, "SIGPIPE", 13), ""
    if isinstance(error, ProxylessError):
        return error.exit_code, f"{name}: {error}"
    if isinstance(error, ImportError) and not _ours(error):
        module = (error.name or "").split(".")[0]
        mend = f"; pip install {INSTALLED_AS.get(module, module)}" if module else ""
        return MISTAKE, f"{name}: {one_line(str(error))}{mend}"
    if isinstance(error, OSError):
        return MISTAKE, f"{name}: {_of_the_system(error, command)}"
    if _is_memory(error):
        reason = one_line(first_line(error))
        return FAILURE, f"{name}: not enough memory ({reason}); smaller batches and images need less"
    kind, text = type(error).__name__, one_line(first_line(error))
    return FAILURE, f"{name}: internal error: {kind}{f': {text}' if text != kind else ''}; --debug shows where"


def _ours(error: ImportError) -> bool:
    return (error.name or "").split(".")[0] == "proxyless"


def _of_the_system(error: OSError, command: str) -> str:
    reason = error.strerror or first_line(error)
    where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    mend = ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        mend = "; make room, and the same command goes on from here" if command in GOES_ON else "; make room"
    return one_line(f"{where}{reason}{mend}")


def _is_memory(error: BaseException) -> bool:
    """Whether memory ran out, which PyTorch says by a RuntimeError."""
    text = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    )


def _drop_output() -> None:
    """What could not be written is not tried again while Python ends, where it would be a traceback."""
    with suppress(OSError, ValueError, AttributeError):  # closed, or replaced by something that is no file
        sys.stdout.flush()
        return
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
