"""YAML files that people write are read as the values that JSON has too; nothing else that YAML can do is read.

No value is made before the whole document is known to be of a sensible size: with anchors and merges, a page of YAML
can ask for more memory than there is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from proxyless.errors import ProxylessError, short
from proxyless.files import reading

LARGEST = 2**20
"""Bytes of a YAML file at the most."""

DEEPEST = 32
"""Lists and mappings that may stand in one another."""

MOST = 20_000
"""Values of a file, those that anchors repeat counted each time."""


def read_yaml(path: str | Path) -> Any:
    """Read the YAML value in a file; None where it is empty.

    Raises:
        ProxylessError: the file is missing, malformed or too large, gives a name twice in one mapping, or asks for what
            is no plain value.
    """
    try:
        return yaml.load(reading.text(path, "YAML", LARGEST), Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ProxylessError(f"{path}: not valid YAML{where}: {problem}") from None
    except ValueError as error:  # a number with more digits than Python reads
        raise ProxylessError(f"{path}: not valid YAML: {error}") from None


class _Loader(yaml.SafeLoader):
    """Refuses tags and names that are given twice, reads dates as text, and counts before it makes anything."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(None, None, f"tags such as {short(event.tag)} are not read", event.start_mark)
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.MarkedYAMLError(None, None, "lists or mappings are nested too deeply", event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        left, seen = ([(node, 0)] if node else []), 0
        while left:
            found, depth = left.pop()
            seen += 1
            if seen > MOST or depth > DEEPEST:
                raise yaml.MarkedYAMLError(None, None, "anchors repeat too much", found.start_mark)
            if isinstance(found, yaml.SequenceNode):
                left += [(inner, depth + 1) for inner in found.value]
            elif isinstance(found, yaml.MappingNode):
                _check_names(found)
                left += [(inner, depth + 1) for pair in found.value for inner in pair]
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _check_names(mapping: yaml.MappingNode) -> None:
    seen = set()
    for name, _ in mapping.value:
        if not isinstance(name, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(None, None, "a name is a list or mapping", name.start_mark)
        if name.value in seen:
            raise yaml.MarkedYAMLError(None, None, f"{short(name.value)} is given twice", name.start_mark)
        seen.add(name.value)
