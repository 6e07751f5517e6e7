"""Models for other runtimes: ONNX files, TorchScript, Triton repositories."""
