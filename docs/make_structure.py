"""Write the structure of the package into docs/architecture.md: python docs/make_structure.py

The rooms are the folders of the package and the modules beside them. `python docs/make_structure.py --lines` prints how
many lines each of them has.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "proxyless"
PAGE = ROOT / "docs" / "architecture.md"

ROOMS = {
    "errors": "the error that a user's mistake raises",
    "registry": "things known by name, also those of other packages",
    "configuration": "what a setting is: its default, meaning and range",
    "machine": "cores, quotas and signals of this machine",
    "files": "writing files as a whole, reading untrusted ones",
    "modules": "running, copying and inspecting PyTorch modules",
    "choice": "an edge with candidate operations",
    "inspection": "shapes and runs of a supernet, found by running it",
    "supernet": "a network with choices, and their probabilities",
    "architecture": "what was chosen, as data; the network derived from it",
    "cost": "what a path costs, linear in the gates",
    "spaces": "search spaces, by name",
    "tasks": "what is learnt: loss, metrics, predictions",
    "export": "ONNX and TFLite files, int8",
    "latency": "what a network costs in time: devices, runtimes, tables",
    "search": "how a path is chosen: update rules, objectives, budgets",
    "training": "training of a derived network",
    "data": "data sets, splits, loaders",
    "report": "the HTML page of a run",
    "zoo": "the networks published with the paper",
    "bundle": "a search space as files for another device",
    "job": "the main job: settings, six stages, the run folder",
    "cli": "the command line",
    "__main__": "`python -m proxyless`",
}
"""Every room, from top to bottom: imports point upwards only."""


def room_of(module: str) -> str:
    """The room of a module, named without `proxyless.`."""
    return module.split(".")[0]


def modules() -> dict[str, Path]:
    """Every module of the package by its name without `proxyless.`, but for the front door."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if name := ".".join(part for part in parts if part != "__init__"):
            found[name] = path
    return found


def imports() -> dict[str, set[str]]:
    """The modules that each module imports, inside functions too, but for type checking alone."""
    known = modules()
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        found = set()
        for node in _running(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inside = {f"{node.module}.{alias.name}" for alias in node.names}
                there = {one for one in inside if one.removeprefix("proxyless.") in known}
                found |= there if len(there) == len(inside) else there | {node.module}
        own = {one.removeprefix("proxyless.") for one in found if one.startswith("proxyless.")}
        graph[name] = (own & set(known)) - {name}
    return graph


def _running(tree: ast.AST) -> list[ast.AST]:
    """All parts of a module but those under `if TYPE_CHECKING:`."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        found.append(node)
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            waiting += ast.iter_child_nodes(node)
    return found


def arrows(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The rooms that each room imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, targets in graph.items():
        found[room_of(module)] |= {room_of(target) for target in targets} - {room_of(module)}
    return dict(found)


def wrong_way(rooms: dict[str, set[str]]) -> list[str]:
    """The arrows that do not point upwards, such as `search -> job`."""
    order = list(ROOMS)
    return [f"{room} -> {other}" for room in rooms for other in rooms[room] if order.index(other) > order.index(room)]


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import one another in a circle; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def direct(rooms: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows without those that follow from others, for a diagram that can be read."""

    def reached(room: str) -> set[str]:
        return rooms[room].union(*(reached(other) for other in rooms[room]))

    return {
        room: {one for one in others if not any(one in reached(other) for other in others - {one})}
        for room, others in rooms.items()
    }


def table() -> str:
    """The rooms and their arrows, as they are written on the page."""
    graph = imports()
    rooms = arrows(graph)
    shown = direct(rooms)
    lines = ["```mermaid", "flowchart BT"]
    lines += [f"  {room} --> {other}" for room in ROOMS for other in ROOMS if other in shown[room]]
    lines += ["```", "", "| room | what it is about | imports |", "| --- | --- | --- |"]
    for room, about in ROOMS.items():
        names = ", ".join(other for other in ROOMS if other in rooms[room])
        lines.append(f"| `{room}` | {about} | {names or '-'} |")
    count = sum(len(others) for others in rooms.values())
    lines += ["", f"{len(ROOMS)} rooms, {count} arrows between them, {len(wrong_way(rooms))} of them downwards."]
    found = circle(graph)
    lines.append(f"Circles of modules: {' -> '.join(found) if found else 0}.")
    return "\n".join(lines)


def filled(page: str) -> str:
    """The page with the structure of the package as it is now."""
    return re.sub(
        r"(<!-- structure -->\n).*?(<!-- end -->)", lambda m: m[1] + table() + "\n" + m[2], page, flags=re.DOTALL
    )


def lines() -> dict[str, int]:
    """Lines of Python in each room."""
    counts: dict[str, int] = defaultdict(int)
    for name, path in modules().items():
        counts[room_of(name)] += len(path.read_text().splitlines())
    return {room: counts[room] for room in ROOMS}


if __name__ == "__main__":
    if sys.argv[1:] == ["--lines"]:
        for room, count in lines().items():
            print(f"{room:14}{count:7,}")
        print(f"{'all':14}{sum(lines().values()):7,}")
    else:
        PAGE.write_text(filled(PAGE.read_text()))
