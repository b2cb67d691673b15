"""ONNX Runtime, imported with its telemetry off."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""The environment variable that ONNX Runtime reads while it is imported."""


def import_onnxruntime(module: str = "onnxruntime") -> Any:
    """ONNX Runtime, or a ``module`` of it; processes that are started from here keep its telemetry off as well.

    From its import on it would write a database to the home folder, or where there is none a file to the temporary
    folder and a warning to the terminal. Where the user's own program has imported it before, or the variable is set,
    that is the user's decision.

    Raises:
        ImportError: it is not installed.
    """
    first = "onnxruntime" not in sys.modules
    if first:
        os.environ.setdefault(NO_TELEMETRY, "1")
    import onnxruntime

    if first and os.environ[NO_TELEMETRY] == "1":
        onnxruntime.disable_telemetry_events()  # versions that do not know the variable
    return import_module(module)
