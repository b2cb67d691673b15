"""Proxyless designs a neural network for your task and your device (ProxylessNAS, arXiv:1812.00332).

The public names below are imported on first use, so that ``import proxyless`` stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxyless.architecture import Architecture, architecture_of, derive
    from proxyless.choice import Choice, Zero
    from proxyless.errors import ProxylessError
    from proxyless.supernet import Supernet

__version__ = "0.2.0"

_HOMES = {
    "Architecture": "architecture",
    "architecture_of": "architecture",
    "derive": "architecture",
    "Choice": "choice",
    "Zero": "choice",
    "Supernet": "supernet",
    "ProxylessError": "errors",
}

__all__ = [
    "Architecture",
    "Choice",
    "ProxylessError",
    "Supernet",
    "Zero",
    "architecture_of",
    "derive",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'proxyless' has no attribute {name!r}")
    return getattr(import_module(f"proxyless.{_HOMES[name]}"), name)
