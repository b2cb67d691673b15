"""Finds out whether worker processes would run the script of the user again."""

from __future__ import annotations

import ast
import multiprocessing
import os
import sys
import threading
from types import FrameType

MEND = 'put what it does under `if __name__ == "__main__":`'


def not_to_be_imported() -> str | None:
    """Say why no process should be started that imports the user's script; None where one may be.

    A process that is not forked first imports the script, to find the function that it is to call. Everything that the
    script does outside ``if __name__ == "__main__":`` would be done again.
    """
    if multiprocessing.get_start_method() == "fork":
        return None
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    spec = getattr(main, "__spec__", None)
    if path is None or (spec is not None and str(spec.name).endswith("__main__")):  # these are not imported again
        return None
    if not os.path.exists(path):
        return f"processes that load images would look for the script {path} in vain"
    line = _running_line(vars(main))
    if line is None:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            statements = ast.parse(file.read()).body
    except (OSError, ValueError, SyntaxError):  # a script without a source
        return None
    for statement in statements:
        if isinstance(statement, ast.If) and statement.lineno <= line <= (statement.end_lineno or line):
            names = (node.id for node in ast.walk(statement.test) if isinstance(node, ast.Name))
            if "__name__" in names:
                return None
    return f"{os.path.basename(path)} would be run again by each process that loads images: {MEND}"


def _running_line(names: dict[str, object]) -> int | None:
    """Find the line that the main thread runs at the top level of the script with these globals; None at its end."""
    frame: FrameType | None = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if frame.f_globals is names and frame.f_code.co_name == "<module>":
            return frame.f_lineno
        frame = frame.f_back
    return None
