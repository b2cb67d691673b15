"""The smallest bundle that has everything, and parts of its results."""

from __future__ import annotations

from proxyless import spaces

BATCH, NETWORKS = 2, 6


def smallest_space():
    arguments = {"width": 0.25, "depths": [2, 1, 1, 1, 1, 1], "kernels": [3], "expansions": [1, 2]}
    return spaces.make("mobilenet", arguments | {"classes": 3, "channels": 1, "image_size": 8})


def first_operator(values):
    """Name of the first choice, its first candidate, and that one's signature."""
    name, row = next(iter(values["manifest"]["candidates"].items()))
    return name, *next(iter(row.items()))


def networks_only(values: dict) -> dict:
    return values | {"times": {name: t for name, t in values["times"].items() if name.startswith("network")}}
