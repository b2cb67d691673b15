"""ONNX models run by ONNX Runtime on the CPU. No PyTorch here, so that what only runs them starts quickly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyless.errors import ProxylessError, first_line
from proxyless.files.reading import LARGEST_MODEL, content
from proxyless.machine.onnx_runtime import open_session


def input_names(count: int) -> list[str]:
    """The names of the inputs of an exported module: ``input``, ``input1``, ``input2``..."""
    return [f"input{i or ''}" for i in range(count)]


def session(model: bytes | str | Path, *, threads: int = 1) -> Any:
    """Open an ONNX Runtime session on the CPU.

    Args:
        model: content of an ONNX file, or its path.
        threads: threads of one inference.

    Raises:
        ProxylessError: ONNX Runtime is not installed, or cannot load the model.
    """
    # Read here, as ONNX Runtime takes no name that is not UTF-8.
    return open_session(model if isinstance(model, bytes) else content(model, LARGEST_MODEL), threads=threads)


def run(session: Any, images: NDArray[Any]) -> NDArray[np.float32]:
    """Run normalised images through a session and return its outputs.

    Args:
        session: see :func:`session`. Where its file takes pixels of 8 bits, these are made from the images.
        images: float32 (batch, channels, height, width); or pixels, uint8 (batch, height, width, channels).

    Raises:
        ProxylessError: ONNX Runtime cannot run the model.
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
    """Undo normalisation: the pixels, uint8 (batch, height, width, channels), that images were made of.

    Args:
        images: normalised images (batch, channels, height, width).
        preprocessing: with the ``mean`` and ``std`` of its record.
    """
    mean, std = (np.asarray(preprocessing[name], np.float32)[:, None, None] for name in ("mean", "std"))
    pixels = np.clip(np.rint((images * std + mean) * 255), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
