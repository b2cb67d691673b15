"""A bundle, and made-up times of it."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from small_bundle import BATCH, NETWORKS, smallest_space

from proxyless.bundle.writing import write_bundle

FIXED_MS = 0.03


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A bundle, its manifest as written, and the shares that were told while it was written."""
    out, shares = tmp_path_factory.mktemp("bundles") / "bundle", []
    write_bundle(smallest_space(), out, batch=BATCH, networks=NETWORKS, advance=shares.append)
    return out, json.loads((out / "manifest.json").read_text()), shares


@pytest.fixture
def timed(written, tmp_path):
    """A results.json of the bundle with made-up times: a network takes what its candidates take, and a fixed part."""
    out = written[0]
    manifest = json.loads((out / "manifest.json").read_text())
    rng = np.random.default_rng(0)
    times = {key: rng.uniform(0.1, 1.0) for key in manifest["operators"]}
    for number, network in enumerate(manifest["networks"]):
        keys = [manifest["candidates"][name][op] for name, op in network["choices"].items()]
        times[f"network-{number:03}"] = FIXED_MS + sum(times[key] for key in keys if key)
    values = {
        "format": "proxyless results 1",
        "bundle": hashlib.sha256((out / "manifest.json").read_bytes()).hexdigest(),
        "device": {
            "name": "board",
            "runtime": "onnxruntime",
            "runtime_version": "1.2.3",
            "providers": ["CPUExecutionProvider"],
            "threads": 2,
            "machine": "a board, 4 cores",
        },
        "conditions": {
            "rounds": 9,
            "disturbed": 0,
            "other_cores": None,
            "seconds": 1.0,
            "wide": 0,
            "busy": False,
        },
        "times": {name: {"ms": ms, "low_ms": 0.9 * ms, "high_ms": 1.2 * ms} for name, ms in times.items()},
        "manifest": manifest,
    }
    path = tmp_path / "results.json"
    path.write_text(json.dumps(values))
    return path, values
