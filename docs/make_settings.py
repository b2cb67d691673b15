"""Write docs/settings.md from the definition of the settings: python docs/make_settings.py"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

from proxyless.cli.options import SECTIONS, flag
from proxyless.configuration import type_name
from proxyless.job import settings
from proxyless.spaces import SPACES


def shown(value: Any) -> str:
    """A default as it is written in YAML."""
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(list(value)) if isinstance(value, tuple) else str(value)


HEAD = ["| setting | flag | type | default | |", "| --- | --- | --- | --- | --- |"]


def row(item: settings.Described) -> str:
    """The line of one setting in its table."""
    kind = type_name(item.type).removeprefix("a ")
    return f"| `{item.name}` | `{flag(item.name)}` | {kind} | {shown(item.default) or '-'} | {item.help} |"


def of_spaces() -> list[str]:
    """A table for each search space."""
    lines = []
    for space in SPACES.ours():
        chosen = settings.Settings().replace({"space.name": space})
        own = [
            item for item in settings.describe(chosen) if item.name.startswith("space.") and item.name != "space.name"
        ]
        lines += ["", f"### The space {space}", ""]
        lines += [*HEAD, *map(row, own)] if own else ["It has no settings of its own."]
    return lines


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
        "",
        "Each search space has its own settings. `proxyless search --space tree --help` shows those of the space tree.",
    ]
    section = None
    for item in settings.describe():
        name = item.name.rpartition(".")[0]
        if name != section:
            if section == "space":
                lines += of_spaces()
            section = name
            lines += ["", f"## {SECTIONS[name].capitalize()}", "", *HEAD]
        if name != "space" or item.name == "space.name":
            lines.append(row(item))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "settings.md").write_text(page())
