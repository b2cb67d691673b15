"""Networks as files for other runtimes: ONNX and LiteRT, in float32 and in int8, each compared with PyTorch."""
