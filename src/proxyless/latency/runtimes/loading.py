"""Model files loaded by one of the runtimes in a worker process, which has no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from proxyless.latency.device import Device
from proxyless.latency.runtimes import Prepared, Runtime


@dataclass(frozen=True)
class RuntimeLoader:
    """Loads model files by a runtime; see :class:`proxyless.latency.timing.worker.Loader`.

    Args:
        kind: class of the runtime, which must be importable in another process.
        device: what the files are timed on.
    """

    kind: type[Runtime]
    device: Device

    @cached_property
    def _runtime(self) -> Runtime:
        return self.kind()

    def __call__(self, file: Path, inputs: Mapping[str, NDArray[Any]]) -> Prepared:
        """Load ``file`` and run it once.

        Raises:
            ProxylessError: it cannot be loaded or run.
        """
        return self._runtime.load(file, list(inputs.values()), self.device)
