"""ONNX networks with int8 weights and activations, quantised after training from the ranges seen on samples."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from proxyless import files
from proxyless.errors import ProxylessError, first_line
from proxyless.export.calibration import Method, Range, ranges
from proxyless.export.equalize import equalized
from proxyless.export.onnx_session import input_names
from proxyless.export.onnx_versions import OPSET, with_lowest_versions, with_version
from proxyless.export.silence import silent_loggers
from proxyless.export.subnormals import without_subnormals
from proxyless.machine.onnx_runtime import import_onnxruntime


@dataclass(frozen=True)
class Recipe:
    """How a model is quantised.

    Args:
        ranges: how the ranges of activations follow from the samples.
        equalize: whether channels are brought to one level before.
    """

    ranges: Method = Method.MINMAX
    equalize: bool = False

    @property
    def name(self) -> str:
        """The recipe in words."""
        return f"{self.ranges}, equalised" if self.equalize else str(self.ranges)


RECIPES = (
    Recipe(Method.MSE, equalize=True),
    Recipe(Method.PERCENTILE, equalize=True),
    Recipe(equalize=True),
    Recipe(Method.MSE),
    Recipe(),
)
"""Recipes to try one after the other until one is good enough; ``benchmarks/quantize.py`` gave their order."""


def quantized(model: bytes, samples: Sequence[Sequence[NDArray[Any]]], recipe: Recipe = Recipe()) -> bytes:
    """Quantise an ONNX model to 8-bit weights and activations.

    Weights have a scale for each output channel; activations have one for each tensor, from its values on the samples.
    Inputs and outputs stay float32, and metadata is kept. A model with nothing to quantise, such as a pooling, comes
    back in float32.

    Args:
        model: what :func:`proxyless.export.onnx.to_onnx` returned.
        samples: inputs of inferences like those to come; of one inference, an array for each input that the module
            was exported with. Some hundred real images for accuracy; one random sample is enough for a time.
        recipe: how the model is quantised.

    Raises:
        ProxylessError: ONNX Runtime cannot quantise the model.
    """
    if not samples:
        raise ProxylessError("int8: no samples to take the ranges of the activations from")
    with silent_loggers():  # ONNX Runtime's quantisation writes to the root logger
        try:
            simple = simplified(model)
            used = {value.name for value in simple.graph.input}
            if not used:
                return model
            names = input_names(len(samples[0]))
            feeds = [{n: a for n, a in zip(names, sample, strict=True) if n in used} for sample in samples]
            if recipe.equalize:
                simple = equalized(simple, feeds)
            result = with_integers(simple, ranges(simple, feeds, recipe.ranges))
            without_subnormals(result)
            with_lowest_versions(result)
            content: bytes = result.SerializeToString()
            return content
        except ProxylessError:
            raise
        except Exception as error:  # ONNX Runtime's quantisation raises errors of many kinds
            raise ProxylessError(f"ONNX Runtime cannot quantise the model to int8: {first_line(error)}") from error


def with_integers(model: Any, found: Mapping[str, Range]) -> Any:
    """Make the weights of a simplified model integers, and round its activations to 8 bits over their ranges.

    Args:
        model: see :func:`simplified`.
        found: the range of each activation by name.

    Returns:
        another model; ``model`` is not changed.
    """
    import onnx

    quantization = import_onnxruntime("onnxruntime.quantization")
    calibrate = import_onnxruntime("onnxruntime.quantization.calibrate")
    registry = import_onnxruntime("onnxruntime.quantization.registry")
    copy = onnx.shape_inference.infer_shapes(model)
    for key in ("onnx.quant.pre_process", "onnx.infer"):  # what ONNX Runtime's own preparation writes
        copy.metadata_props.add(key=key, value="onnxruntime.quant")
    data = {name: calibrate.TensorData(lowest=low, highest=high) for name, (low, high) in found.items()}
    kinds = quantization.QuantType
    quantizer = import_onnxruntime("onnxruntime.quantization.qdq_quantizer").QDQQuantizer(
        copy,
        per_channel=True,
        # Instructions older than VNNI add pairs of products in 16 bits, where 8-bit weights would overflow.
        reduce_range=not (_arm() or _adds_in_32_bits()),
        weight_qType=kinds.QInt8,
        activation_qType=kinds.QInt8 if _arm() else kinds.QUInt8,
        tensors_range=calibrate.TensorsData(quantization.CalibrationMethod.MinMax, data),
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=sorted({*registry.QLinearOpsRegistry, *registry.QDQRegistry}),
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    return _without_notes(quantizer.model.model)


def simplified(model: bytes) -> Any:
    """Fold the constants of a model and fuse its nodes, all still standard ONNX.

    The exporter writes equal biases once and copies them by Identity; a bias that is no constant is not quantised, and
    its convolution would then stay in float32.
    """
    import onnx

    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    with files.scratch() as folder:
        path = folder / "simplified.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)
        simple = onnx.load(path)
    with_version(simple, OPSET)
    return simple


def _without_notes(model: Any) -> Any:
    """Remove the metadata that the quantisation keeps for itself, and return ``model``."""
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
