"""ONNX files loaded by ONNX Runtime to be timed, from host memory and back to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyless.latency.timing.clock import wall_clock_ms
from proxyless.machine.onnx_runtime import CPU, open_session


class OnnxModel:
    """A loaded ONNX model that runs on the same inputs every time.

    Args:
        session: the model in ONNX Runtime.
        inputs: an array for each input by name; an input that the module did not read is missing from the model.
    """

    def __init__(self, session: Any, inputs: Mapping[str, NDArray[Any]]) -> None:
        self.session = session
        read = {value.name for value in session.get_inputs()}
        self.feed = {name: array for name, array in inputs.items() if name in read}
        self.outputs()

    def times_ms(self, count: int) -> NDArray[np.float64]:
        """Time ``count`` inferences one after the other, copies to and from an accelerator included: (count,) in ms."""
        return wall_clock_ms(lambda: self.session.run(None, self.feed), count)

    def outputs(self) -> list[NDArray[Any]]:
        """Run one inference and return what it computes."""
        found: list[NDArray[Any]] = self.session.run(None, self.feed)
        return found


@dataclass(frozen=True)
class OnnxLoader:
    """Loads ONNX files as they are; see :class:`proxyless.latency.timing.worker.Loader`.

    Args:
        threads: threads of one inference.
        providers: full names of ONNX Runtime's execution providers by preference.
    """

    threads: int = 1
    providers: tuple[str, ...] = (CPU,)

    def __call__(self, file: Path, inputs: Mapping[str, NDArray[Any]]) -> OnnxModel:
        """Load ``file`` and run it once.

        Raises:
            ProxylessError: ONNX Runtime or the provider cannot load or run it.
        """
        return OnnxModel(open_session(file.read_bytes(), threads=self.threads, providers=self.providers), inputs)
