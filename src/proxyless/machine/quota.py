"""Tells how much processor time the system lets this process have: the quota of its control groups on Linux."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from proxyless.machine.system_files import system_text


@dataclass(frozen=True)
class Throttling:
    """How often and for how many seconds a quota has made this process wait."""

    periods: int = 0
    seconds: float = 0.0

    def since(self, before: Throttling) -> Throttling:
        """Return what has been added since ``before``."""
        return Throttling(self.periods - before.periods, round(self.seconds - before.seconds, 6))


def cpu_quota(root: str = "") -> float | None:
    """Return how many cores this process and all that it starts may use on average; None without a limit.

    Args:
        root: folder that stands for the root of the system.
    """
    limits = [limit for folder in control_groups(root) if (limit := _limit(folder)) is not None]
    return min(limits, default=None)


def throttling(groups: Sequence[str]) -> Throttling:
    """Return how much the quotas of ``groups`` (see :func:`control_groups`) have made processes wait until now."""
    periods, seconds = 0, 0.0
    for folder in groups:
        lines = (line.split() for line in system_text(f"{folder}/cpu.stat").splitlines())
        values = {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdigit()}
        periods += values.get("nr_throttled", 0)
        seconds += values.get("throttled_usec", 0) / 1e6 + values.get("throttled_time", 0) / 1e9  # version 2, version 1
    return Throttling(periods, seconds)


def control_groups(root: str = "") -> list[str]:
    """Find the folders of the control groups of processor time that this process is in, with those around them.

    Both versions of control groups may be mounted at once, each with other controllers.
    """
    paths: dict[str, str] = {}
    for line in system_text(f"{root}/proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "cpu" in controllers.split(","):
            paths["cgroup"] = path
        elif number == "0" and not controllers:
            paths["cgroup2"] = path
    found: list[str] = []
    for line in system_text(f"{root}/proc/self/mountinfo").splitlines():
        mount, _, rest = line.partition(" - ")
        fields, kind, options = mount.split(), rest.split()[:1], rest.split()[-1:]
        if len(fields) < 5 or not kind or kind[0] not in paths:
            continue
        if kind[0] == "cgroup" and "cpu" not in options[0].split(","):
            continue
        found += _with_parents(f"{root}{fields[4]}", fields[3], paths[kind[0]])
    return list(dict.fromkeys(found))


def _with_parents(mounted: str, top: str, path: str) -> list[str]:
    """Return the folder of the group ``path`` and all above it; the group ``top`` is seen at ``mounted``.

    In a container the group itself may be mounted as if it were the topmost, while its name is that outside.
    """
    inside = path.removeprefix(top) if top != "/" and (path + "/").startswith(top + "/") else path
    parts = [part for part in inside.split("/") if part and part != ".."]
    folders = ["/".join([mounted, *parts[:count]]) for count in range(len(parts), -1, -1)]
    return [folder for folder in folders if Path(folder).is_dir()]


def _limit(folder: str) -> float | None:
    """Return how many cores a group may use on average; None without a limit."""
    together = system_text(f"{folder}/cpu.max").split()  # version 2
    apart = [system_text(f"{folder}/cpu.cfs_{name}_us") for name in ("quota", "period")]  # version 1
    quota, period = together if len(together) == 2 else apart
    if not (quota.isdigit() and period.isdigit() and int(quota) and int(period)):  # "max", or -1
        return None
    return int(quota) / int(period)
