"""The runtimes of this package and their devices, described without importing what they need."""

from __future__ import annotations

from proxyless.latency.device import Device, Precision
from proxyless.latency.runtimes import Format, Program, register

_HERE = "proxyless.latency.runtimes"


def _float16(name: str, runtime: str) -> tuple[Device, Device]:
    """A device, and the same in float16."""
    return Device(name, runtime), Device(f"{name}-fp16", runtime, precision=Precision.FLOAT16)


def _int8(name: str, runtime: str) -> tuple[Device, Device]:
    """A device, and the same in int8."""
    return Device(name, runtime), Device(f"{name}-int8", runtime, precision=Precision.INT8)


PROGRAMS = {
    "onnxruntime": Program(
        title="ONNX Runtime",
        implementation=f"{_HERE}.onnxruntime_cpu:OnnxRuntimeCpu",
        packages=("onnxruntime",),
        install="onnxruntime",
        format=Format.ONNX,
        devices=_int8("cpu", "onnxruntime"),
    ),
    "torch": Program(
        title="PyTorch",
        implementation=f"{_HERE}.torch_cpu:TorchCpu",
        packages=("torch",),
        install="torch",
        devices=(Device("cpu-torch", "torch"),),
    ),
    "torch-compile": Program(
        title="torch.compile",
        implementation=f"{_HERE}.torch_cpu:TorchCompiled",
        packages=("torch",),
        install="torch",
        devices=(Device("cpu-torch-compile", "torch-compile"),),
    ),
    "openvino": Program(
        title="OpenVINO",
        implementation=f"{_HERE}.openvino_cpu:OpenVinoCpu",
        packages=("openvino",),
        install="'proxyless[openvino]'",
        format=Format.ONNX,
        devices=(Device("cpu-openvino", "openvino"),),
    ),
    "litert": Program(
        title="LiteRT",
        implementation=f"{_HERE}.litert_cpu:LiteRTCpu",
        packages=("ai_edge_litert", "litert_torch"),
        install="'proxyless[litert]'",
        format=Format.TFLITE,
        devices=_int8("cpu-litert", "litert"),
    ),
    "onnxruntime-cuda": Program(
        title="ONNX Runtime CUDA",
        implementation=f"{_HERE}.onnxruntime_cuda:OnnxRuntimeCuda",
        packages=("onnxruntime",),
        install="'proxyless[gpu]'",
        gpu=True,
        format=Format.ONNX,
        devices=_float16("cuda", "onnxruntime-cuda"),
    ),
    "onnxruntime-tensorrt": Program(
        title="ONNX Runtime TensorRT",
        implementation=f"{_HERE}.onnxruntime_cuda:OnnxRuntimeTensorRT",
        packages=("onnxruntime",),
        install="'proxyless[gpu]'",
        gpu=True,
        format=Format.ONNX,
        devices=_float16("cuda-tensorrt", "onnxruntime-tensorrt"),
    ),
    "torch-cuda": Program(
        title="PyTorch CUDA",
        implementation=f"{_HERE}.torch_cuda:TorchCuda",
        packages=("torch",),
        install="torch",
        gpu=True,
        devices=_float16("cuda-torch", "torch-cuda"),
    ),
    "torch-cuda-graph": Program(
        title="PyTorch CUDA graph",
        implementation=f"{_HERE}.torch_cuda:TorchCudaGraph",
        packages=("torch",),
        install="torch",
        gpu=True,
        devices=_float16("cuda-torch-graph", "torch-cuda-graph"),
    ),
}

for _name, _program in PROGRAMS.items():
    register(_name, _program, module=__name__)
