"""LiteRT models run on the CPU. No PyTorch here, so that what only runs them starts quickly."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyless.errors import ProxylessError, first_line
from proxyless.export.silence import silence

SIGNATURE = "serving_default"  # what the converter calls the one function of a model; its inputs are args_0, args_1...


class Session:
    """A loaded LiteRT model, float32 in and out also where the model itself computes in int8.

    Args:
        model: what stands in the file.
        threads: threads of one inference.
        keep_all: whether the tensors between the operators can be read after an inference.

    Raises:
        ProxylessError: LiteRT is not installed, or cannot load the model.
    """

    def __init__(self, model: bytes, *, threads: int = 1, keep_all: bool = False) -> None:
        program = imported("ai_edge_litert.interpreter")
        try:
            with silence():
                self.interpreter: Any = program.Interpreter(
                    model_content=model, num_threads=threads, experimental_preserve_all_tensors=keep_all
                )
                self.interpreter.allocate_tensors()
                self.inputs: dict[str, Any] = self.interpreter.get_signature_runner(SIGNATURE).get_input_details()
        except (ValueError, RuntimeError) as error:
            raise ProxylessError(f"LiteRT cannot load the model: {first_line(error)}") from None

    def set_inputs(self, arrays: Sequence[NDArray[np.float32]]) -> None:
        """Set what the next inferences read: one array for each input of the converted module, images channels last."""
        for number, array in enumerate(arrays):
            detail = self.inputs.get(f"args_{number}")
            if detail is None:
                continue  # the module does not read this input
            if detail["dtype"] == np.int8:
                scale, zero = detail["quantization"]
                array = np.clip(np.round(array / scale + zero), -128, 127).astype(np.int8)
            self.interpreter.set_tensor(detail["index"], array)

    def invoke(self) -> None:
        """Run one inference."""
        self.interpreter.invoke()

    def outputs(self) -> list[NDArray[np.float32]]:
        """The outputs of the last inference, images channels last."""
        return [self._value(detail) for detail in self.interpreter.get_output_details()]

    def tensors(self, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The float32 tensors called ``names`` after the last inference, without those that it does not compute."""
        found = {}
        for detail in self.interpreter.get_tensor_details():
            if detail["name"] in names and detail["dtype"] == np.float32:
                with suppress(ValueError):  # the program has joined it with another
                    found[detail["name"]] = self.interpreter.get_tensor(detail["index"])
        return found

    def _value(self, detail: dict[str, Any]) -> NDArray[np.float32]:
        value: NDArray[Any] = self.interpreter.get_tensor(detail["index"])
        if value.dtype != np.int8:
            return value
        scale, zero = detail["quantization"]
        return (value.astype(np.float32) - zero) * np.float32(scale)


def run(session: Session, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run any number of normalised images (number, channels, height, width) and return the outputs.

    The batch size of the model is fixed: images are run in groups of that many, the last one filled up with zeros.
    """
    group = int(session.inputs["args_0"]["shape"][0])
    found = []
    for part in np.split(images.transpose(0, 2, 3, 1), range(group, len(images), group)):
        filled = np.concatenate([part, np.zeros((group - len(part), *part.shape[1:]), part.dtype)])
        session.set_inputs([np.ascontiguousarray(filled)])
        session.invoke()
        found.append(session.outputs()[0][: len(part)])
    return np.concatenate(found)


def imported(module: str) -> Any:
    """Import a module of LiteRT's packages, which write to the terminal while they are imported."""
    try:
        with silence():
            return import_module(module)
    except ImportError as error:
        raise missing(error) from None


def missing(error: ImportError) -> ProxylessError:
    """The error that LiteRT is not installed."""
    return ProxylessError(f"LiteRT cannot be imported ({first_line(error)}): pip install 'proxyless[litert]'")
