"""Tells the versions of the programs that a result depends on."""

from __future__ import annotations

import platform
from importlib import metadata

PACKAGES = ("proxyless", "torch", "torchvision", "timm", "onnx", "onnxruntime", "numpy")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
