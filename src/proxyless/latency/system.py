"""What the system tells of the machine.

Complete in itself, Python alone, so that it also runs where this package is not.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path


def system_text(path: str) -> str:
    """A file of the system without the line's end; empty where there is none, or it may not be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""


def usable_cores() -> int:
    """Logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> str:
    """The board's or processor's name and number of logical cores."""
    model = platform.processor() or platform.machine()
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        model = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or model
    lines = system_text("/proc/cpuinfo").splitlines()
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    model = fields.get("model name", model)
    if "cpu family" in fields:  # virtual machines often hide the model's name
        model += f" (family {fields['cpu family']}, model {fields.get('model', '?')})"
    else:  # boards with ARM processors name themselves here
        model = system_text("/proc/device-tree/model") or model
    return f"{model}, {os.cpu_count()} cores"
