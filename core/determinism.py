"""Same bytes on all processors: set-up of OpenCV and NumPy before they compute."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

KERNELS = "Haswell"
"""OpenBLAS's kernels for processors with AVX2; by itself it chooses by processor, and with the kernels the order of
sums."""


def enable() -> None:
    """Sets the environment of this process and its children. Must come before NumPy is imported.

    The launcher and the workers call it. Intel's primitives in OpenCV round by processor and by the alignment of
    arrays; OpenCV's own code does neither, and reads the variable at its first use. OpenBLAS shares out its sums by
    the number of its threads, which wait in a busy loop: each worker process gets one.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["OPENCV_IPP"] = "disabled"
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    if has_avx2():
        os.environ["OPENBLAS_CORETYPE"] = KERNELS


@cache
def has_avx2() -> bool:
    """Whether the first processor has AVX2, according to Linux."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            return " avx2 " in file.read(8192)
    except OSError:
        return False


def is_enabled() -> bool:
    """Whether NumPy was imported after `enable`, or not yet, as in every worker.

    Where NumPy brings no OpenBLAS of its own, nothing can be asked, and this process counts as any other.
    """
    if not has_avx2() or "numpy" not in sys.modules:
        return True
    name = _openblas_kernels()
    return name is None or name == KERNELS


def _openblas_kernels() -> str | None:
    """Name of the kernels that NumPy's OpenBLAS has chosen; None where it cannot be asked."""
    folder = Path(str(sys.modules["numpy"].__file__)).parent.parent / "numpy.libs"
    for path in folder.glob("*openblas*"):
        ask = getattr(ctypes.CDLL(str(path)), "scipy_openblas_get_corename64_", None)
        if ask is not None:
            ask.restype = ctypes.c_char_p
            return str(ask().decode())
    return None
