"""ONNX models run by ONNX Runtime on the CPU. No PyTorch here, so that what only runs them starts quickly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyless.errors import ProxylessError, first_line
from proxyless.export.onnxruntime_import import import_onnxruntime
from proxyless.files.reading import content

LARGEST = 2**31
"""Bytes of a model at the most: its format holds no more."""


def input_names(count: int) -> list[str]:
    """What the inputs of an exported module are called: ``input``, ``input1``, ``input2``..."""
    return [f"input{i or ''}" for i in range(count)]


def imported(module: str = "onnxruntime") -> Any:
    """ONNX Runtime, or a ``module`` of it; see :func:`import_onnxruntime`.

    Raises:
        ProxylessError: it is not installed.
    """
    try:
        return import_onnxruntime(module)
    except ImportError as error:
        raise ProxylessError(f"ONNX Runtime cannot be imported ({error}): pip install onnxruntime") from None


def session(model: bytes | str | Path, *, threads: int = 1) -> Any:
    """An ONNX Runtime session on the CPU.

    Raises:
        ProxylessError: ONNX Runtime is not installed, or cannot load the model.
    """
    onnxruntime = imported()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if threads > 1:
        # Otherwise its threads go on spinning after an inference and take the cores of whatever session runs next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
    # Read here, as ONNX Runtime takes no name that is not UTF-8.
    source = model if isinstance(model, bytes) else content(model, LARGEST)
    try:
        # What it would fall back to is the same provider again, after a message on the terminal.
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # ONNX Runtime raises its own classes, which it does not export
        raise ProxylessError(f"ONNX Runtime cannot load the model: {first_line(error)}") from None


def run(session: Any, images: NDArray[Any]) -> NDArray[np.float32]:
    """Outputs of a session for normalised images, float32 (batch, channels, height, width); a file that takes pixels of
    8 bits is given these, or they are passed as such.
    """
    inputs = images
    wanted = session.get_inputs()[0]
    if wanted.type == "tensor(uint8)" and images.dtype != np.uint8:
        inputs = pixels_of(images, json.loads(session.get_modelmeta().custom_metadata_map["preprocessing"]))
    try:
        outputs: NDArray[np.float32] = session.run(None, {wanted.name: inputs})[0]
    except Exception as error:  # of a damaged file, which could be loaded all the same; its classes are not exported
        raise ProxylessError(f"ONNX Runtime cannot run the model: {first_line(error)}") from None
    return outputs


def pixels_of(images: NDArray[np.float32], preprocessing: Mapping[str, Any]) -> NDArray[np.uint8]:
    """The pixels that normalised ``images`` (batch, channels, height, width) were made of: uint8 (batch, height,
    width, channels).

    Args:
        preprocessing: with the ``mean`` and ``std`` of its record.
    """
    mean, std = (np.asarray(preprocessing[name], np.float32)[:, None, None] for name in ("mean", "std"))
    pixels = np.clip(np.rint((images * std + mean) * 255), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
