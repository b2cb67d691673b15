"""ONNX Runtime as it is used everywhere here: without telemetry, and with threads that rest between inferences.

It is imported when it is first needed, so that this module can be imported where ONNX Runtime is not installed.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from proxyless.errors import ProxylessError, first_line

NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""The environment variable that ONNX Runtime reads while it is imported."""

CPU = "CPUExecutionProvider"
XNNPACK = "XnnpackExecutionProvider"

Provider = str | tuple[str, Mapping[str, str]]
"""Full name of an execution provider, alone or with its options."""


def import_onnxruntime(module: str = "onnxruntime") -> Any:
    """Import ONNX Runtime, or a module of it, with its telemetry switched off.

    With telemetry it would write a database to the home folder, or where there is none a file to the temporary folder
    and a warning to the terminal. It stays off in processes that are started from here. Where the user's own program
    has imported ONNX Runtime before, or has set the variable, the user has decided, and nothing is changed.

    Args:
        module: full name of the module, such as ``onnxruntime.quantization``.

    Raises:
        ProxylessError: ONNX Runtime is not installed, or cannot be imported.
    """
    first = "onnxruntime" not in sys.modules
    if first:
        os.environ.setdefault(NO_TELEMETRY, "1")
    try:
        import onnxruntime

        if first and os.environ[NO_TELEMETRY] == "1":
            onnxruntime.disable_telemetry_events()  # versions that do not know the variable
        return import_module(module)
    except ImportError as error:
        raise ProxylessError(f"ONNX Runtime cannot be imported ({error}): pip install onnxruntime") from None


def open_session(model: bytes, *, threads: int = 1, providers: Sequence[Provider] = (CPU,)) -> Any:
    """Open an ONNX Runtime session that runs a model on a fixed number of threads.

    Args:
        model: content of an ONNX file.
        threads: threads of one inference.
        providers: execution providers by preference.

    Raises:
        ProxylessError: ONNX Runtime is not installed or cannot load the model, or the first provider cannot be loaded.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Otherwise its threads go on spinning after an inference and take the cores of whatever session runs next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    chosen: list[Any] = list(providers)
    if XNNPACK in chosen:  # has threads of its own, which those of ONNX Runtime would only disturb
        chosen[chosen.index(XNNPACK)] = (XNNPACK, {"intra_op_num_threads": str(threads)})
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Without the fallback to the CPU, which would run instead of what was asked for.
            session = onnxruntime.InferenceSession(model, options, providers=chosen, enable_fallback=0)
    except Exception as error:  # ONNX Runtime raises its own classes, which it does not export
        raise ProxylessError(f"ONNX Runtime cannot load the model: {first_line(error)}") from None
    first, used = providers[0] if isinstance(providers[0], str) else providers[0][0], session.get_providers()[0]
    if used != first:  # where a provider's library is missing, ONNX Runtime goes on with the next one and only logs it
        raise ProxylessError(
            f"ONNX Runtime runs the model by {used}, since {first} cannot be loaded: its libraries are missing or of"
            f" other versions than ONNX Runtime {onnxruntime.__version__} needs"
        )
    return session
