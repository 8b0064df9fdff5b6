from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from native import se3

ANGLES = st.one_of(
    st.floats(0, np.pi),
    st.sampled_from([0.0, 1e-12, 1e-8, 1e-5, 1e-3, 0.2499999, 0.25, 0.2500001, 3.0, np.pi - 1e-9, np.pi]),
)


@st.composite
def tangents(draw):
    axis = np.random.default_rng(draw(st.integers(0, 10_000))).normal(size=3)
    tau = np.array([draw(st.floats(-5, 5)) for _ in range(3)])
    return np.concatenate([tau, axis / np.linalg.norm(axis) * draw(ANGLES)])


def motions():
    return tangents().map(se3.exp)


def hat(xi):
    """The 4 x 4 matrix of a tangent."""
    matrix = np.zeros((4, 4))
    matrix[:3, :3] = [[0, -xi[5], xi[4]], [xi[5], 0, -xi[3]], [-xi[4], xi[3], 0]]
    matrix[:3, 3] = xi[:3]
    return matrix


def matrix_exponential(matrix):
    """By its series on a matrix made small, squared back."""
    small = matrix / 256
    term = total = np.eye(len(matrix))
    for i in range(1, 20):
        term = term @ small / i
        total = total + term
    for _ in range(8):
        total = total @ total
    return total


@given(tangents())
def test_exp_is_the_matrix_exponential(xi):
    np.testing.assert_allclose(se3.to_matrix(se3.exp(xi)), matrix_exponential(hat(xi)), atol=1e-12)
    np.testing.assert_allclose(se3.to_matrix(se3.exp(xi[3:])), cv2.Rodrigues(xi[3:])[0], atol=1e-12)
    np.testing.assert_array_equal(se3.exp(xi[3:]), se3.exp(xi)[3:])


@given(tangents())
@example(np.array([1.0, 2, 3, 0, 0, 0]))
def test_log_inverts_exp(xi):
    np.testing.assert_allclose(se3.to_matrix(se3.exp(se3.log(se3.exp(xi)))), se3.to_matrix(se3.exp(xi)), atol=1e-12)
    if np.linalg.norm(xi[3:]) < np.pi - 1e-6:
        np.testing.assert_allclose(se3.log(se3.exp(xi)), xi, atol=1e-12)
        np.testing.assert_allclose(se3.log(se3.exp(xi[3:])), xi[3:], atol=1e-12)


@pytest.mark.parametrize("angle", [1e-300, 1e-30, 1e-12, 1e-9, 1e-6, 1e-4])
def test_log_and_exp_keep_all_digits_near_zero(angle):
    phi = np.array([0.6, -0.0, 0.8]) * angle
    np.testing.assert_allclose(se3.log(se3.exp(phi)), phi, rtol=1e-14, atol=0)
    xi = np.array([1e-9, 2e-9, -3e-9, *phi])
    np.testing.assert_allclose(se3.log(se3.exp(xi)), xi, rtol=1e-13, atol=1e-30)


@pytest.mark.parametrize("away", [0.0, 1e-15, 1e-12, 1e-9, 1e-6, 1e-3])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 0, 1), (0.6, 0, 0.8), (-0.48, 0.6, 0.64)])
def test_log_is_right_near_pi(axis, away):
    phi = np.array(axis) * (np.pi - away)
    np.testing.assert_allclose(se3.log(se3.exp(phi)), phi, atol=1e-9)
    by_matrix = se3.log(se3.from_matrix(cv2.Rodrigues(phi)[0]))
    sign = np.sign(by_matrix @ phi) if away < 1e-7 else 1.0
    np.testing.assert_allclose(sign * by_matrix, phi, atol=1e-9)


def test_log_of_a_half_turn_has_the_canonical_sign():
    for axis in np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0], [-0.6, 0, 0.8]]):
        for sign in (1, -1):
            np.testing.assert_allclose(se3.log([*(sign * axis), 0.0]), np.pi * axis, atol=1e-15)


@given(motions(), motions(), motions())
def test_group_laws(a, b, c):
    np.testing.assert_allclose(se3.to_matrix(se3.compose(a, b)), se3.to_matrix(a) @ se3.to_matrix(b), atol=1e-12)
    left, right = se3.compose(se3.compose(a, b), c), se3.compose(a, se3.compose(b, c))
    np.testing.assert_allclose(se3.to_matrix(left), se3.to_matrix(right), atol=1e-12)
    np.testing.assert_allclose(se3.to_matrix(se3.compose(a, se3.invert(a))), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(se3.compose(se3.IDENTITY, a), a, atol=1e-15)
    np.testing.assert_allclose(se3.compose(a, b)[3:], se3.compose(a[3:], b[3:]), atol=1e-15)
    np.testing.assert_allclose(se3.invert(a)[3:], se3.invert(a[3:]), atol=1e-15)


@given(motions(), motions(), tangents())
def test_adjoint_transports_tangents(a, b, xi):
    small = 1e-1 * xi
    across = se3.compose(se3.exp(se3.adjoint(a) @ small), a)
    np.testing.assert_allclose(se3.to_matrix(se3.compose(a, se3.exp(small))), se3.to_matrix(across), atol=1e-11)
    np.testing.assert_allclose(se3.adjoint(se3.compose(a, b)), se3.adjoint(a) @ se3.adjoint(b), atol=1e-10)
    np.testing.assert_allclose(se3.adjoint(a[3:]), se3.to_matrix(a)[:3, :3], atol=1e-15)


@given(motions(), st.integers(0, 1000))
def test_act_equals_the_matrix_product(g, seed):
    points = np.random.default_rng(seed).normal(size=(5, 4))
    expected = points @ se3.to_matrix(g).T
    np.testing.assert_allclose(se3.act(g, points), expected, atol=1e-12)
    finite = points[:, :3]
    np.testing.assert_allclose(se3.act(g, finite), finite @ se3.to_matrix(g)[:3, :3].T + g[:3], atol=1e-12)
    np.testing.assert_allclose(se3.act(g[3:], finite), finite @ se3.to_matrix(g)[:3, :3].T, atol=1e-12)
    np.testing.assert_allclose(se3.act(g[3:], points)[:, 3], points[:, 3])


@given(motions())
def test_matrices_round_trip(g):
    if g[6] > 1e-7:  # else rounding may choose the other quaternion
        np.testing.assert_allclose(se3.from_matrix(se3.to_matrix(g)), g, atol=1e-9)
    np.testing.assert_allclose(se3.to_matrix(se3.from_matrix(se3.to_matrix(g))), se3.to_matrix(g), atol=1e-14)
    np.testing.assert_allclose(se3.from_matrix(se3.to_matrix(g[3:])), se3.from_matrix(se3.to_matrix(g))[3:])


@given(motions(), motions(), st.floats(0, 1))
def test_interpolation_has_constant_velocity_and_meets_both_ends(a, b, alpha):
    np.testing.assert_allclose(se3.interpolate(a, b, 0.0), a, atol=1e-12)
    np.testing.assert_allclose(se3.to_matrix(se3.interpolate(a, b, 1.0)), se3.to_matrix(b), atol=1e-11)
    velocity = se3.log(se3.compose(b, se3.invert(a)))
    between = se3.compose(se3.interpolate(a, b, alpha), se3.invert(a))
    if np.linalg.norm(velocity[3:]) < np.pi - 1e-6:
        np.testing.assert_allclose(se3.log(between), alpha * velocity, atol=1e-8)


def test_normalize_gives_unit_quaternions_with_the_canonical_sign():
    np.testing.assert_allclose(se3.normalize([1.0, 2, 3, 0, 0, 0, -2]), [1, 2, 3, 0, 0, 0, 1])
    np.testing.assert_allclose(se3.normalize([3.0, 0, 0, 4]), [0.6, 0, 0, 0.8])
    np.testing.assert_allclose(se3.normalize([[0.0, -2, 0, 0]]), [[0, 1, 0, 0]])


def test_leading_dimensions_broadcast():
    rng = np.random.default_rng(0)
    a, b = se3.exp(rng.normal(size=(3, 1, 6))), se3.exp(rng.normal(size=(4, 6)))
    product = se3.compose(a, b)
    assert product.shape == (3, 4, 7)
    for i in range(3):
        for j in range(4):
            np.testing.assert_array_equal(product[i, j], se3.compose(a[i, 0], b[j]))
    assert se3.act(a, rng.normal(size=(5, 3))).shape == (3, 5, 3)
    assert se3.act(a[..., 3:], rng.normal(size=(5, 4))).shape == (3, 5, 4)
    assert se3.act(a[0, 0], np.zeros((2, 6, 4))).shape == (2, 6, 4)
    assert se3.adjoint(a).shape == (3, 1, 6, 6)
    assert se3.interpolate(a, b, rng.uniform(size=(2, 1, 1))).shape == (2, 3, 4, 7)
    assert se3.exp(np.zeros((0, 6))).shape == (0, 7)
    assert se3.compose(b[0], np.zeros((0, 7))).shape == (0, 7)
    assert se3.act(np.zeros((0, 7)), np.zeros(3)).shape == (0, 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: se3.exp(np.zeros(5)),
        lambda: se3.log(np.zeros((2, 6))),
        lambda: se3.log(1.0),
        lambda: se3.compose(np.zeros(7), np.zeros(4)),
        lambda: se3.compose(np.zeros((2, 7)), np.zeros((3, 7))),
        lambda: se3.act(np.zeros(7), np.zeros(2)),
        lambda: se3.act(np.zeros(6), np.zeros(3)),
        lambda: se3.from_matrix(np.zeros((3, 4))),
        lambda: se3.from_matrix(np.zeros(16)),
        lambda: se3.adjoint(np.zeros(3)),
    ],
)
def test_wrong_shapes_are_refused(call):
    with pytest.raises(ValueError):
        call()
