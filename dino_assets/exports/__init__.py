"""Export of models for other runtimes: ONNX, TorchScript, Triton repositories."""
