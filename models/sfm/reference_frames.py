"""Refinement of keypoints in reference frames, which bundle adjustment takes as exact."""

from __future__ import annotations

import numpy as np

from core.arrays import Float64Array, Int64Array
from models.sfm.reconstruction import MIN_INVERSE_DEPTH, Reconstruction
from models.sfm.triangulation import MIN_DEPTH_RATIO, unproject
from native import se3

ROUNDS = 3
ITERATIONS = 3
DAMPING = 1e-9
"""Keeps unconstrained coordinates: points without other observations, depths without parallax."""


def refine_reference_keypoints(recon: Reconstruction, refine_focal: bool) -> None:
    """Alternates Gauss-Newton steps of points and their reference keypoints with bundle adjustment.

    Bundle adjustment takes a point's keypoint in its reference frame as exact. Its noise would be common to all
    observations of the patch, and bias every pose.

    Args:
      recon: after a bundle adjustment; another one should follow.
      refine_focal: whether the focal length is optimized too.
    """
    points = np.flatnonzero(np.isfinite(recon.inverse_depth))
    recon.keypoints_px = recon.keypoints_px.copy()  # those of the tracks stay as they are
    measured_px = recon.keypoints_px[recon.reference[points], points]
    for index in range(ROUNDS):
        if index:
            recon.bundle_adjust(iterations=ITERATIONS, optimize_focal=refine_focal)
        _step(recon, points, measured_px)


def _step(recon: Reconstruction, points: Int64Array, measured_px: Float64Array) -> None:
    """One Gauss-Newton step of reference keypoints and inverse depths, with fixed poses.

    Args:
      recon: the reconstruction.
      points: (k,) triangulated points.
      measured_px: (k, 2) measured reference keypoints; each weighs as the mean of the point's other observations.
    """
    count = len(points)
    reference, inverse_depth = recon.reference[points], recon.inverse_depth[points]
    keypoints = recon.keypoints_px[reference, points]
    observed = recon.is_observed[:, points] & recon.is_registered[:, None]
    observed[reference, np.arange(count)] = False
    frame, which = np.nonzero(observed)
    weight = recon.weight[frame, points[which]].astype(np.float64)
    own_weight = np.bincount(which, weight, count) / np.maximum(np.bincount(which, minlength=count), 1)
    residual, jacobian = _linearize(recon, points, frame, which)
    weight /= 1 + np.square(residual).sum(axis=1) / recon.loss_scale_px**2
    hessian, gradient = np.zeros((count, 3, 3)), np.zeros((count, 3))
    for i in range(3):
        gradient[:, i] = np.bincount(which, weight * (jacobian[:, :, i] * residual).sum(axis=1), count)
        for k in range(i + 1):
            hessian[:, i, k] = np.bincount(which, weight * (jacobian[:, :, i] * jacobian[:, :, k]).sum(axis=1), count)
            hessian[:, k, i] = hessian[:, i, k]
    gradient[:, :2] += own_weight[:, None] * (measured_px - keypoints)
    hessian[:, [0, 1], [0, 1]] += own_weight[:, None]
    hessian[:, [0, 1, 2], [0, 1, 2]] += DAMPING
    step = _solve(hessian, gradient)
    recon.keypoints_px[reference, points] = keypoints + step[:, :2]
    recon.inverse_depth[points] = np.clip(
        inverse_depth + step[:, 2], np.maximum(inverse_depth / 2, MIN_INVERSE_DEPTH), inverse_depth * 2
    )


def _solve(matrix: Float64Array, right: Float64Array) -> Float64Array:
    """(k, 3) solutions of positive definite systems by Schur complement."""
    factor = matrix[:, :2, 2] / matrix[:, 2:, 2]
    xx, xy, yy = (matrix[:, i, k] - factor[:, i] * matrix[:, k, 2] for i, k in ((0, 0), (0, 1), (1, 1)))
    a, b = (right[:, :2] - factor * right[:, 2:]).T
    x, y = np.array([yy * a - xy * b, xx * b - xy * a]) / (xx * yy - xy**2)
    z = right[:, 2] / matrix[:, 2, 2] - factor[:, 0] * x - factor[:, 1] * y
    return np.stack([x, y, z], axis=1)


def _linearize(
    recon: Reconstruction, points: Int64Array, frame: Int64Array, which: Int64Array
) -> tuple[Float64Array, Float64Array]:
    """(m, 2) residuals and (m, 2, 3) Jacobians of projections."""
    reference = recon.reference[points]
    fx, fy, cx, cy = recon.intrinsics_px
    pose = recon.cam_from_world
    motion = se3.to_matrix(se3.compose(pose[frame], se3.invert(pose)[reference[which]]))
    rotation, translation = motion[:, :3, :3], motion[:, :3, 3]
    rays = unproject(recon.keypoints_px[reference, points], recon.intrinsics_px)
    inverse_depth = recon.inverse_depth[points[which], None]
    x, y, z = (np.einsum("mij,mj->mi", rotation, rays[which]) + inverse_depth * translation).T
    z = np.maximum(z, MIN_DEPTH_RATIO)
    image = np.stack([x / z, y / z], axis=1)
    derivative = np.stack([rotation[:, :, 0] / fx, rotation[:, :, 1] / fy, translation], axis=2)
    jacobian = (derivative[:, :2] - image[:, :, None] * derivative[:, 2:]) * (np.array([[fx], [fy]]) / z[:, None, None])
    return recon.keypoints_px[frame, points[which]] - (image * [fx, fy] + [cx, cy]), jacobian
