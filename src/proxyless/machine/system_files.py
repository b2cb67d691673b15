"""Files in which the system tells of itself.

Complete in itself, Python alone, so that it also runs where this package is not.
"""

from __future__ import annotations

from pathlib import Path


def system_text(path: str) -> str:
    """A file of the system without the line's end; empty where there is none, or it may not be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""
