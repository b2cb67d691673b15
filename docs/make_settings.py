"""Write docs/settings.md from the definition of the settings: python docs/make_settings.py"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

from proxyless.cli.options import SECTIONS, flag
from proxyless.job import settings
from proxyless.job.setting_values import type_name


def shown(value: Any) -> str:
    """A default as it is written in YAML."""
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(list(value)) if isinstance(value, tuple) else str(value)


def page() -> str:
    """The whole page."""
    lines = [
        "# Settings",
        "",
        "Every setting is a flag of `proxyless search` and a key of the file given with `--config`; flags override the",
        "file. What a run used, defaults filled in, is in `RUN/config.yaml`, which `--config` takes again.",
        "In YAML the part before the point is a section:",
        "",
        "    data: photos",
        "    latency: 2.5",
        "    search:",
        "      epochs: 30",
    ]
    section = None
    for item in settings.describe():
        name = item.name.rpartition(".")[0]
        if name != section:
            section = name
            lines += ["", f"## {SECTIONS[name].capitalize()}", "", "| setting | flag | type | default | |", ""]
            lines[-1] = "| --- | --- | --- | --- | --- |"
        kind = type_name(item.type).removeprefix("a ")
        lines.append(f"| `{item.name}` | `{flag(item.name)}` | {kind} | {shown(item.default) or '-'} | {item.help} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "settings.md").write_text(page())
