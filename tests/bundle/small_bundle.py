"""The smallest bundle that has everything, and parts of its results."""

from __future__ import annotations

SMALLEST = {
    "space.width": 0.25,
    "space.depths": [2, 1, 1, 1, 1, 1],
    "space.kernels": [3],
    "space.expansions": [1, 2],
    "measure.networks": 6,
    "measure.batch": 2,
}


def first_operator(values):
    """Name of the first choice, its first candidate, and that one's signature."""
    name, row = next(iter(values["manifest"]["candidates"].items()))
    return name, *next(iter(row.items()))


def networks_only(values: dict) -> dict:
    return values | {"times": {name: t for name, t in values["times"].items() if name.startswith("network")}}
