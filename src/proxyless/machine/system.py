"""Asks the system what machine this is."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

from proxyless.machine.quota import cpu_quota
from proxyless.machine.system_files import system_text


def usable_cores() -> int:
    """Count the logical cores that this process may use all of the time: within its quota, and at least one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def machine() -> str:
    """Name the board or processor, its number of logical cores, and the quota of these, if there is one."""
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
    quota = cpu_quota()
    limited = "" if quota is None else f", limited to {quota:g}"
    return f"{model}, {os.cpu_count()} cores{limited}"
