"""The command line in a real process, and the settings of a job that takes seconds."""

from __future__ import annotations

import os
import subprocess
import sys

TINY = """
data: digits
latency: 100.0
space: {width: 0.25, depths: [2, 1, 1, 1, 1, 1], kernels: [3, 5], expansions: [2]}
measure: {rounds: 3, loadings: 1, burst_ms: 0.5, limit_s: 0, networks: 6, cache: null}
search: {warmup_epochs: 1, epochs: 3, architecture_every: 2}
training: {epochs: 4}
"""


def proxyless(*arguments, cwd=None, check=0):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "proxyless", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
    )
    assert done.returncode == check, done.stderr
    assert check == 0 or "Traceback" not in done.stderr
    return done
