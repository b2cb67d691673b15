"""A program whose standard error, or output, is a terminal of a given width."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence


def on_terminal(
    arguments: Sequence[str], *, columns: int = 80, environment: Mapping[str, str | None] | None = None
) -> str:
    """What a Python program with ``arguments`` shows on a terminal that is its standard error, once it has ended well.

    Args:
        environment: variables that differ from this process's; None for one that is not to be set.
    """
    values = os.environ | {"TERM": "xterm-256color", "COLUMNS": None} | dict(environment or {})
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    known = {name: value for name, value in values.items() if value is not None}
    process = subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs, env=known
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0, shown
    return shown.decode("utf-8", "replace")
