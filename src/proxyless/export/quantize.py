"""ONNX networks with int8 weights and activations, quantised after training from the ranges seen on samples."""

from __future__ import annotations

import logging
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from proxyless.errors import ProxylessError, first_line
from proxyless.export.onnx_session import imported, input_names
from proxyless.export.plain import OPSET, with_lowest_versions, with_version, without_subnormals


def quantized(model: bytes, samples: Sequence[Sequence[NDArray[Any]]]) -> bytes:
    """The serialised ``model`` of :func:`proxyless.export.onnx.to_onnx` with 8-bit weights and activations.

    Weights have a scale for each output channel; activations have one for each tensor, from its minimum and maximum
    over the samples. Inputs and outputs stay float32, and metadata is kept. A model with nothing to quantise, such as
    a pooling, comes back in float32.

    Args:
        samples: inputs of inferences like those to come; of one inference, an array for each input that the module
            was exported with. Some hundred real images for accuracy; one random sample is enough for a time.

    Raises:
        ProxylessError: ONNX Runtime cannot quantise the model.
    """
    import onnx

    quantization = imported("onnxruntime.quantization")
    if not samples:
        raise ProxylessError("int8: no samples to take the ranges of the activations from")
    with tempfile.TemporaryDirectory(prefix="proxyless-") as name, _quiet():
        folder = Path(name)
        try:
            simple = onnx.load_from_string(_simplified(model, folder / "simplified.onnx"))
            with_version(simple, OPSET)
            used = {value.name for value in simple.graph.input}
            if not used:
                return model
            names = input_names(len(samples[0]))
            feeds = [{n: a for n, a in zip(names, sample, strict=True) if n in used} for sample in samples]
            # What ONNX Runtime's own preparation writes: without it, it advises to run it.
            simple.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
            quantization.quantize_static(
                simple,
                folder / "quantized.onnx",
                _Reader(feeds),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QInt8 if _arm() else quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                # Instructions older than VNNI add pairs of products in 16 bits, where 8-bit weights would overflow.
                reduce_range=not (_arm() or _adds_in_32_bits()),
            )
            found = _without_notes(onnx.load(folder / "quantized.onnx"))
            without_subnormals(found)
            with_lowest_versions(found)
            return found.SerializeToString()
        except Exception as error:  # ONNX Runtime's quantisation raises errors of many kinds
            raise ProxylessError(f"ONNX Runtime cannot quantise the model to int8: {first_line(error)}") from error


class _Reader:
    """The samples one by one, as ONNX Runtime's calibration reads them."""

    def __init__(self, feeds: Sequence[dict[str, NDArray[Any]]]) -> None:
        self.feeds: Iterator[dict[str, NDArray[Any]]] = iter(feeds)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self.feeds, None)


def _simplified(model: bytes, path: Path) -> bytes:
    """``model`` with constants folded and nodes fused, all still standard ONNX.

    The exporter writes equal biases once and copies them by Identity; a bias that is no constant is not quantised, and
    its convolution would then stay in float32.
    """
    onnxruntime = imported()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return path.read_bytes()


def _without_notes(model: Any) -> Any:
    """``model`` without the metadata that the quantisation keeps for itself."""
    kept = [item for item in model.metadata_props if not item.key.startswith("onnx.")]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    return model


def _arm() -> bool:
    return platform.machine().lower() in ("arm64", "aarch64")


def _adds_in_32_bits() -> bool:
    """Whether an x86 processor has VNNI; unknown without ``/proc/cpuinfo``, where most that are in use have it."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.exists() else "vnni"
    return "vnni" in flags


@contextmanager
def _quiet() -> Iterator[None]:
    """No messages of Python's loggers: ONNX Runtime's quantisation writes to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
