"""Reads files in which the system describes itself."""

from __future__ import annotations

from pathlib import Path


def system_text(path: str) -> str:
    """Read a file of the system, without the end of its last line; "" if there is none, or it may not be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""
