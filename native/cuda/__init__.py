"""CUDA kernels, one shared library without Python or torch inside; optional: callers fall back to PyTorch."""
