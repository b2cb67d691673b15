"""The manifest of a bundle: the space, and which candidate and which network is which file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxyless.bundle.program import BUNDLE
from proxyless.errors import ProxylessError, short
from proxyless.files.fields import Fields

MOST_NUMBERS = 2**26
"""Numbers in the inputs of one inference at the most: 256 MiB as float32."""


@dataclass(frozen=True)
class Network:
    """A whole network of a bundle: its file and the candidate taken at each choice."""

    file: str
    choices: Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
    """What is in a bundle.

    Args:
        proxyless: version of this package that wrote it.
        space: name of the search space.
        arguments: what the space was made with.
        input_shape: of one input, without the batch.
        batch: images in one inference.
        precision: of weights and activations.
        candidates: signature of each candidate by choice; see :class:`proxyless.latency.operators.SpaceOperators`.
        operators: file of each operator by signature.
        networks: the whole networks.
    """

    proxyless: str
    space: str
    arguments: Mapping[str, Any]
    input_shape: tuple[int, ...]
    batch: int
    precision: str
    candidates: Mapping[str, Mapping[str, str | None]]
    operators: Mapping[str, str]
    networks: tuple[Network, ...]

    @property
    def files(self) -> list[str]:
        """The files of all models, relative to the bundle."""
        return [*self.operators.values(), *(network.file for network in self.networks)]

    @classmethod
    def parse(cls, value: Any, source: Path) -> Manifest:
        """Read a manifest from its JSON value.

        Args:
            value: the parsed JSON.
            source: the file it was read from, for messages.

        Raises:
            ProxylessError: it is something else, or of another format.
        """
        fields = Fields(value, "", source=f"{source}: not the manifest of a bundle", whole="the manifest")
        if fields.get("format") != BUNDLE:
            raise ProxylessError(f"{source}: of a bundle of another format; write the bundle again and time it again")
        space, candidates, operators = (fields.child(key) for key in ("space", "candidates", "operators"))
        return cls(
            proxyless=fields.text("proxyless"),
            space=space.text("name"),
            arguments=space.mapping("arguments"),
            input_shape=_shape(fields),
            batch=fields.count("batch"),
            precision=fields.text("precision"),
            candidates={name: _signatures(candidates.child(name)) for name in candidates.names},
            operators={key: operators.child(key).text("file") for key in operators.names},
            networks=tuple(Network(item.text("file"), item.texts("choices")) for item in fields.objects("networks")),
        )


def _shape(fields: Fields) -> tuple[int, ...]:
    sizes = fields.values("input_shape")
    if len(sizes) != 3 or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
        raise fields.problem(f"input_shape must be channels, height and width, got {short(sizes)}")
    if math.prod(sizes) * fields.count("batch") > MOST_NUMBERS:
        raise fields.problem(f"an input of batch {fields.count('batch')} and {short(sizes)} is too large")
    return tuple(sizes)


def _signatures(row: Fields) -> dict[str, str | None]:
    return {operation: None if row.get(operation) is None else row.text(operation) for operation in row.names}
