"""The process that loads models, times them and ends; see :mod:`proxyless.latency.session`. Imports no PyTorch.

It reads ``plan.json`` in the folder it is given, and writes a JSON line for each thing that happens: the model that is
being loaded, a round, a mistake.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from proxyless.errors import ProxylessError
from proxyless.latency.device import Device, Precision
from proxyless.latency.runtimes import Prepared, runtime
from proxyless.latency.timing.interleaved import time_interleaved
from proxyless.latency.timing.pinning import steady
from proxyless.latency.timing.statistics import Effort, Round
from proxyless.machine.stopping import leave_signals_to_parent

PLAN = "plan.json"


def main(folder: str) -> None:
    """Carry out the plan in ``folder``."""
    leave_signals_to_parent()
    # Runtimes print; what the parent reads must not be among it.
    with os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1) as out:
        os.dup2(2, 1)

        def tell(**event: object) -> None:
            out.write(json.dumps(event) + "\n")

        try:
            _carry_out(Path(folder), tell)
        except BrokenPipeError:  # the parent has been killed, and cannot clear up
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(1)


def _carry_out(folder: Path, tell: Callable[..., None]) -> None:
    plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    described = plan["device"]
    device = Device(**described | {"precision": Precision(described["precision"])})
    with steady(device.threads):
        program = runtime(device.runtime)
        loaded: dict[str, Prepared] = {}
        for model in plan["models"]:
            tell(loading=model["name"])
            with np.load(folder / model["inputs"], allow_pickle=False) as arrays:
                inputs: list[Any] = [arrays[name] for name in arrays.files]
            try:
                loaded[model["name"]] = program.load(Path(model["file"]), inputs, device)
            except ProxylessError as error:
                tell(mistake=str(error))
                return

        def on_round(done: Round) -> None:
            tell(bursts=dict(done.bursts), other_cores=done.other_cores, held=asdict(done.held))

        time_interleaved(loaded, Effort(**plan["effort"]), on_round=on_round, advance=lambda share: tell(share=share))
    tell(finished=True)
