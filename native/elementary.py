"""Elementary functions of the C library, which give the same bits on every x86 processor.

NumPy dispatches its own by instruction set: with AVX-512 the last digits differ (except sine, cosine, arctan2 and
square root).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from native import _native

FloatArray = npt.NDArray[np.float64]


def exp(x: npt.ArrayLike) -> FloatArray:
    """Elementwise exponential, float64."""
    return np.asarray(_native.exp(x), np.float64)


def log(x: npt.ArrayLike) -> FloatArray:
    """Elementwise natural logarithm, float64; minus infinity at 0, NaN below."""
    return np.asarray(_native.log(x), np.float64)


def arcsin(x: npt.ArrayLike) -> FloatArray:
    """Elementwise inverse sine in radians, -pi / 2 to pi / 2.

    NaN outside [-1, 1].
    """
    return np.asarray(_native.arcsin(x), np.float64)


def arccos(x: npt.ArrayLike) -> FloatArray:
    """Elementwise inverse cosine in radians, 0 to pi; NaN outside [-1, 1]."""
    return np.asarray(_native.arccos(x), np.float64)
