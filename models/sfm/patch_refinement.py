"""Patch-based refinement of observations: keypoints without drift, and longer tracks.

Frame-to-frame tracking drifts, and ends for good at occlusions and image borders. Once poses and depths are known,
each point's patch in its reference frame is warped by the local plane and aligned with all frames it projects into.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from core.arrays import Float32Array, Float64Array, Int64Array, UInt8Array
from models.sfm.patch_slopes import inverse_depth_slopes
from models.sfm.reconstruction import Reconstruction
from models.sfm.triangulation import MIN_DEPTH_RATIO, transform_rays, unproject
from native.patch_alignment import align_patches

RADIUS_PX = 4
MIN_CORRELATION = 0.85
MAX_SHIFT_PX = 3.0
MAX_SCALE = 2.5
NEAR_FRAMES = 12
FAR_FRAMES = 40
"""Patches are aligned in the frames near the reference and in about so many others: cost is linear in frames."""
MIN_FRAMES = 3
"""Points with fewer observations are removed: they constrain little, at equal cost."""

IMAGE_NOISE = 6.0
"""Noise of compressed video in gray levels: patches of low contrast are aligned less exactly."""
MISMATCH_PX2 = 0.2
"""Variance per unit of missing correlation, as where a patch is not planar or partly occluded."""
MIN_SIGMA_PX = 0.1


class _Prediction(NamedTuple):
    """Predicted observations of a frame."""

    point: Int64Array
    keypoint_px: Float64Array
    warp: Float64Array


def refine_observations(recon: Reconstruction, gray: Sequence[UInt8Array], num_threads: int = 1) -> None:
    """Replaces the observations of all triangulated points by alignment of their patches in registered frames.

    Args:
      recon: changed in place; its points get the median frame that observes them as reference frame.
      gray: (h, w) uint8 frames.
      num_threads: most threads to use.
    """
    num_frames = (recon.is_observed & recon.is_registered[:, None]).sum(axis=0)
    recon.inverse_depth[num_frames < MIN_FRAMES] = np.nan
    recon.set_median_reference_frames()
    points = np.flatnonzero(np.isfinite(recon.inverse_depth))
    if not len(points):
        return
    images = np.stack(gray)
    reference = recon.reference[points]
    slope = inverse_depth_slopes(recon, points)
    frames = np.flatnonzero(recon.is_registered)
    predictions = [_predict(recon, points, slope, frame, images.shape[1:]) for frame in frames.tolist()]
    frame = np.repeat(frames, [len(p.point) for p in predictions])
    which = np.concatenate([p.point for p in predictions])
    predicted_px = np.concatenate([p.keypoint_px for p in predictions])
    found_px, correlation, sigma_px = align_patches(
        images,
        reference[which],
        frame,
        recon.keypoints_px[reference, points][which],
        predicted_px,
        np.concatenate([p.warp for p in predictions]),
        radius_px=RADIUS_PX,
        num_threads=num_threads,
    )
    with np.errstate(invalid="ignore"):
        is_inlier = (correlation > MIN_CORRELATION) & (np.linalg.norm(found_px - predicted_px, axis=1) < MAX_SHIFT_PX)
    recon.keypoints_px = recon.keypoints_px.copy()  # those of the tracks stay as they are
    recon.is_observed[:, points] = False
    recon.is_observed[reference, points] = True
    observations = frame[is_inlier], points[which[is_inlier]]
    recon.keypoints_px[observations] = found_px[is_inlier]
    recon.is_observed[observations] = True
    recon.weight = np.ones(recon.is_observed.shape, np.float32)
    recon.weight[observations] = _weights(correlation[is_inlier], sigma_px[is_inlier])


def _weights(correlation: Float32Array, sigma_px: Float32Array) -> Float32Array:
    """(k,) inverse variances of keypoints, over their median."""
    variance = (IMAGE_NOISE * sigma_px) ** 2 + MISMATCH_PX2 * (1 - correlation) + MIN_SIGMA_PX**2
    return np.asarray(np.median(variance) / variance if len(variance) else variance, np.float32)


def _predict(
    recon: Reconstruction, points: Int64Array, slope: Float64Array, frame: int, size: tuple[int, ...]
) -> _Prediction:
    """Points that project well inside a frame, at a similar scale."""
    distance = np.abs(recon.reference[points] - frame)
    stride = -(-len(recon.is_registered) // FAR_FRAMES)
    which = np.flatnonzero((distance > 0) & ((distance <= NEAR_FRAMES) | (distance % stride == 0)))
    keypoint, depth_ratio = _project(recon, points[which], slope[which], (0.0, 0.0), frame)
    margin = RADIUS_PX + 1
    is_inside = ((keypoint >= margin) & (keypoint < np.array(size[::-1]) - 1 - margin)).all(axis=1)
    is_visible = is_inside & (depth_ratio > MIN_DEPTH_RATIO)
    which, keypoint = which[is_visible], keypoint[is_visible]
    right, _ = _project(recon, points[which], slope[which], (1.0, 0.0), frame)
    below, _ = _project(recon, points[which], slope[which], (0.0, 1.0), frame)
    target_from_source = np.stack([right - keypoint, below - keypoint], axis=2)
    scale = np.sqrt(np.maximum(np.linalg.det(target_from_source), 0.0))
    is_similar = (scale < MAX_SCALE) & (scale > 1 / MAX_SCALE)
    warp = np.asarray(np.linalg.inv(target_from_source[is_similar]), np.float64)
    return _Prediction(which[is_similar], keypoint[is_similar], warp)


def _project(
    recon: Reconstruction, points: Int64Array, slope: Float64Array, offset_px: tuple[float, float], frame: int
) -> tuple[Float64Array, Float64Array]:
    """(k, 2) projections of points, offset in their reference frames, and (k,) depth ratios."""
    reference = recon.reference[points]
    rays = unproject(recon.keypoints_px[reference, points] + offset_px, recon.intrinsics_px)
    frames, order = np.full(len(points), frame), np.arange(len(points))
    direction, center = transform_rays(recon.cam_from_world, reference, rays, frames, order)
    inverse_depth = recon.inverse_depth[points] + slope @ np.array(offset_px)
    x, y, z = (direction + inverse_depth[:, None] * center).T
    fx, fy, cx, cy = recon.intrinsics_px
    depth_ratio = np.maximum(z, MIN_DEPTH_RATIO)
    return np.stack([fx * x / depth_ratio + cx, fy * y / depth_ratio + cy], axis=1), z
