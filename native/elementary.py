"""Elementary functions by the C library.

NumPy's own choose their code by the processor: with AVX-512 their last digits are others. (Of those that this project
needs its sine, cosine, arctan2 and square root do not.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from native import _native

FloatArray = npt.NDArray[np.float64]


def exp(x: npt.ArrayLike) -> FloatArray:
    """Exponentials of the numbers of an array, in double precision."""
    return np.asarray(_native.exp(x), np.float64)


def log(x: npt.ArrayLike) -> FloatArray:
    """Natural logarithms; minus infinity at 0, NaN below."""
    return np.asarray(_native.log(x), np.float64)


def arcsin(x: npt.ArrayLike) -> FloatArray:
    """Radians from -pi / 2 to pi / 2; NaN beyond -1 and 1."""
    return np.asarray(_native.arcsin(x), np.float64)


def arccos(x: npt.ArrayLike) -> FloatArray:
    """Radians from 0 to pi; NaN beyond -1 and 1."""
    return np.asarray(_native.arccos(x), np.float64)
