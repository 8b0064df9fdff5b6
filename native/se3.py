"""Rotations SO(3) and rigid motions SE(3), in batches, double precision, native code.

A motion is [tx ty tz qx qy qz qw] and maps X to R X + t; a rotation is its quaternion [qx qy qz qw], Hamilton
product, unit norm. Each function takes either kind and tells them by the last dimension; leading dimensions
broadcast as in NumPy. Tangents are [tau phi] for motions and phi for rotations, in the units of t and in radians;
a perturbation acts from the left: exp(xi) G. Results are float64, have unit quaternions, and of a rotation's two
quaternions (q and -q) the one whose last component other than zero is positive.

Formulas: closed forms of the exponential map (Sola, Deray, Atchuthan, "A micro Lie theory", 2018, appendices B and D;
lietorch), by series below 0.25 rad, so that all digits hold near 0; logarithms go through atan2, so that they hold
up to pi.

All functions raise ValueError for a last dimension that is none of theirs or leading ones that do not broadcast.
Numbers that are not finite give numbers that are not finite.
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
    """Tangents (..., 6) to motions (..., 7), or (..., 3) to rotations (..., 4)."""
    return _map({6: (_native.se3_exp, (7,)), 3: (_native.so3_exp, (4,))}, tangent)


def log(transform: npt.ArrayLike) -> FloatArray:
    """Motions to tangents (..., 6), rotations to (..., 3); the angle is at most pi.

    At an angle of exactly pi both signs of the axis serve: its last component other than zero is positive.
    """
    return _map({7: (_native.se3_log, (6,)), 4: (_native.so3_log, (3,))}, transform)


def compose(a: npt.ArrayLike, b: npt.ArrayLike) -> FloatArray:
    """`a` after `b`: maps X to a(b(X))."""
    return _map_pair({(7, 7): (_native.se3_compose, 7), (4, 4): (_native.so3_compose, 4)}, a, b)


def invert(transform: npt.ArrayLike) -> FloatArray:
    """The inverse motions or rotations."""
    return normalize(_map({7: (_native.se3_invert, (7,)), 4: (_native.so3_invert, (4,))}, transform))


def act(transform: npt.ArrayLike, points: npt.ArrayLike) -> FloatArray:
    """Moves points (..., 3) or homogeneous ones (..., 4); leading dimensions broadcast against the transforms'.

    A homogeneous point (X, w) goes to (R X + t w, w): with w the inverse depth that is how a pixel's ray
    [x, y, 1, w] moves, and w = 0 is a point at infinity.
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
    """Matrices Ad with G exp(xi) = exp(Ad xi) G: (..., 6, 6) = [[R, [t] R], [0, R]], or (..., 3, 3) = R."""
    return _map({7: (_native.se3_adjoint, (6, 6)), 4: (_native.so3_to_matrix, (3, 3))}, transform)


def to_matrix(transform: npt.ArrayLike) -> FloatArray:
    """Motions to matrices (..., 4, 4), rotations to (..., 3, 3)."""
    return _map({7: (_native.se3_to_matrix, (4, 4)), 4: (_native.so3_to_matrix, (3, 3))}, transform)


def from_matrix(matrix: npt.ArrayLike) -> FloatArray:
    """Matrices (..., 4, 4) to motions, (..., 3, 3) to rotations; the rotation part must be one, up to rounding."""
    matrix = np.asarray(matrix, np.float64)
    if matrix.ndim < 2 or matrix.shape[-2:] not in ((4, 4), (3, 3)):
        raise ValueError(f"expected matrices (..., 4, 4) or (..., 3, 3), got {matrix.shape}")
    flat = matrix.reshape(*matrix.shape[:-2], matrix.shape[-1] ** 2)
    return _map({16: (_native.se3_from_matrix, (7,)), 9: (_native.so3_from_matrix, (4,))}, flat)


def normalize(transform: npt.ArrayLike) -> FloatArray:
    """Gives quaternions unit norm and the canonical sign."""
    return _map({7: (_native.se3_normalize, (7,)), 4: (_native.so3_normalize, (4,))}, transform)


def interpolate(a: npt.ArrayLike, b: npt.ArrayLike, alpha: npt.ArrayLike) -> FloatArray:
    """Motions or rotations on the geodesic exp(alpha log(b a^-1)) a: `a` at alpha 0, `b` at 1; alpha broadcasts.

    Beyond 0 to 1 the motion goes on at the same velocity.
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
    # A single row serves all others in native code, without copies.
    if array.size == array.shape[-1] and 0 not in leading:
        return array.reshape(1, -1)
    return np.broadcast_to(array, (*leading, array.shape[-1])).reshape(-1, array.shape[-1])
