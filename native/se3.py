"""Batched Lie group operations of SO(3) and SE(3), double precision, native code.

A rigid transform is [tx ty tz qx qy qz qw] and maps X to R X + t; a rotation is a unit quaternion [qx qy qz qw]
(Hamilton product). Each function takes both, distinguished by the last dimension; leading dimensions broadcast as in
NumPy. Tangent vectors are [tau phi] for SE(3) and phi for SO(3), in the units of t and in radians; perturbations act
from the left: exp(xi) G. Results are float64 with unit quaternions; of q and -q the one whose last nonzero component is
positive.

Exponential and logarithm in closed form (Sola, Deray, Atchuthan, "A micro Lie theory", 2018, appendices B and D;
Barfoot, "State Estimation for Robotics"), by Taylor series below 0.25 rad, exact to rounding near 0; the logarithm uses
atan2 and is accurate up to pi.

All functions raise ValueError for an unexpected last dimension, or leading dimensions that do not broadcast. Non-finite
input gives non-finite output.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from native import _native

FloatArray = npt.NDArray[np.float64]
_Unary = Callable[[FloatArray], FloatArray]
_Binary = Callable[[FloatArray, FloatArray], FloatArray]

IDENTITY: FloatArray = np.array([0.0, 0, 0, 0, 0, 0, 1])
IDENTITY.setflags(write=False)


def exp(tangent: npt.ArrayLike) -> FloatArray:
    """Exponential map, se(3) to SE(3), or so(3) to SO(3).

    (..., 6) to (..., 7), or (..., 3) to (..., 4).
    """
    return _map({6: (_native.se3_exp, (7,)), 3: (_native.so3_exp, (4,))}, tangent)


def log(transform: npt.ArrayLike) -> FloatArray:
    """Logarithm map, SE(3) to se(3), or SO(3) to so(3).

    (..., 7) to (..., 6), or (..., 4) to (..., 3); the angle is at most pi.

    At exactly pi, where both signs of the axis are valid, its last nonzero component is positive.
    """
    return _map({7: (_native.se3_log, (6,)), 4: (_native.so3_log, (3,))}, transform)


def compose(a: npt.ArrayLike, b: npt.ArrayLike) -> FloatArray:
    """Composition a b: maps X to a(b(X))."""
    return _map_pair({(7, 7): (_native.se3_compose, 7), (4, 4): (_native.so3_compose, 4)}, a, b)


def invert(transform: npt.ArrayLike) -> FloatArray:
    """Inverses of transforms."""
    return normalize(_map({7: (_native.se3_invert, (7,)), 4: (_native.so3_invert, (4,))}, transform))


def act(transform: npt.ArrayLike, points: npt.ArrayLike) -> FloatArray:
    """Transforms points (..., 3) or homogeneous points (..., 4); leading dimensions broadcast.

    A homogeneous point (X, w) is mapped to (R X + t w, w). With inverse depth w this transforms the ray [x, y, 1, w] of
    a pixel; w = 0 is a point at infinity.
    """
    points = np.asarray(points, np.float64)
    if points.shape[-1:] == (4,) and np.shape(transform)[-1:] == (7,):
        return _map_pair({(7, 4): (_native.se3_act, 4)}, transform, points)
    if points.shape[-1:] == (4,):
        moved = _map_pair({(4, 3): (_native.so3_act, 3)}, transform, points[..., :3])
        weights = np.broadcast_to(points[..., 3:], (*moved.shape[:-1], 1))
        return np.concatenate([moved, weights], axis=-1)
    if np.shape(transform)[-1:] == (4,):
        return _map_pair({(4, 3): (_native.so3_act, 3)}, transform, points)
    finite = np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1)
    return _map_pair({(7, 4): (_native.se3_act, 4)}, transform, finite)[..., :3]


def adjoint(transform: npt.ArrayLike) -> FloatArray:
    """Adjoint matrices, G exp(xi) = exp(Ad xi) G.

    (..., 6, 6) [[R, [t] R], [0, R]], or (..., 3, 3) R.
    """
    return _map({7: (_native.se3_adjoint, (6, 6)), 4: (_native.so3_to_matrix, (3, 3))}, transform)


def to_matrix(transform: npt.ArrayLike) -> FloatArray:
    """Transforms to matrices (..., 4, 4), rotations to (..., 3, 3)."""
    return _map({7: (_native.se3_to_matrix, (4, 4)), 4: (_native.so3_to_matrix, (3, 3))}, transform)


def from_matrix(matrix: npt.ArrayLike) -> FloatArray:
    """Matrices (..., 4, 4) to transforms, (..., 3, 3) to rotations; orthonormal up to rounding."""
    matrix = np.asarray(matrix, np.float64)
    if matrix.ndim < 2 or matrix.shape[-2:] not in ((4, 4), (3, 3)):
        raise ValueError(f"expected matrices (..., 4, 4) or (..., 3, 3), got {matrix.shape}")
    flat = matrix.reshape(*matrix.shape[:-2], matrix.shape[-1] ** 2)
    return _map({16: (_native.se3_from_matrix, (7,)), 9: (_native.so3_from_matrix, (4,))}, flat)


def normalize(transform: npt.ArrayLike) -> FloatArray:
    """Normalizes quaternions to unit norm and the canonical sign."""
    return _map({7: (_native.se3_normalize, (7,)), 4: (_native.so3_normalize, (4,))}, transform)


def interpolate(a: npt.ArrayLike, b: npt.ArrayLike, alpha: npt.ArrayLike) -> FloatArray:
    """Interpolates on the geodesic exp(alpha log(b a^-1)) a.

    `a` at alpha 0, `b` at 1; alpha broadcasts.

    Values outside [0, 1] extrapolate at constant velocity.
    """
    velocity = log(compose(b, invert(a)))
    return compose(exp(np.asarray(alpha, np.float64)[..., None] * velocity), a)


def _map(functions: dict[int, tuple[_Unary, tuple[int, ...]]], array: npt.ArrayLike) -> FloatArray:
    array = np.asarray(array, np.float64)
    width = array.shape[-1] if array.ndim else 0
    if width not in functions:
        raise ValueError(f"expected a last dimension of {' or '.join(map(str, functions))}, got shape {array.shape}")
    function, shape = functions[width]
    return function(array.reshape(-1, width)).reshape(*array.shape[:-1], *shape)


def _map_pair(functions: dict[tuple[int, int], tuple[_Binary, int]], a: npt.ArrayLike, b: npt.ArrayLike) -> FloatArray:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    widths = (a.shape[-1] if a.ndim else 0, b.shape[-1] if b.ndim else 0)
    if widths not in functions:
        expected = " or ".join(f"(..., {x}) and (..., {y})" for x, y in functions)
        raise ValueError(f"expected {expected}, got shapes {a.shape} and {b.shape}")
    leading = np.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    function, width = functions[widths]
    return function(_rows(a, leading), _rows(b, leading)).reshape(*leading, width)


def _rows(array: FloatArray, leading: tuple[int, ...]) -> FloatArray:
    # Native code broadcasts a single row without copies.
    if array.size == array.shape[-1] and 0 not in leading:
        return array.reshape(1, -1)
    return np.broadcast_to(array, (*leading, array.shape[-1])).reshape(-1, array.shape[-1])
