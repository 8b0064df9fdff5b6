"""Optional CUDA kernels in one shared library without Python or torch.

Without it callers use PyTorch.
"""
