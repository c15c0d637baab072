"""A policy without JAX: its file, its arithmetic in NumPy, its way to ONNX. `numpy_policy` imports NumPy alone."""
