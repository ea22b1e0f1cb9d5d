"""ONNX graphs of functions of JAX."""
