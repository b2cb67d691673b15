"""What this machine is, what its system allows a process, and how ONNX Runtime is opened on it."""
