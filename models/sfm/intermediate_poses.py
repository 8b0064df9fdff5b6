"""Poses of intermediate frames: interpolated, then refined on keypoints tracked from annotated frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from core.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from models.flow.dis import track_points_lk
from models.sfm.triangulation import MIN_DEPTH_RATIO
from native import se3
from native.bundle_adjustment import BundleOptions, BundleProblem, bundle_adjust

MAX_POINTS = 200
MIN_POINTS = 20
CORNER_QUALITY = 0.005
MIN_DISTANCE_SHARE = 1 / 50
LK_LEVELS = 1
MAX_MEDIAN_PX = 1.0
LOSS_SCALE_PX = 1.0
ITERATIONS = 8


def interpolate_poses(cam_from_world: npt.ArrayLike, times_s: npt.ArrayLike, at_s: npt.ArrayLike) -> Float64Array:
    """Poses at any time, by cubic Hermite splines of camera centers and unit quaternions.

    Tangents are those of the parabola through each pose and its neighbors, so the error falls with the fourth power of
    the step. Quaternions are normalized again, which is exact enough for rotations of up to 20 degrees a step. The
    result does not depend on the world frame. Beyond the ends extrapolation is linear.

    Args:
      cam_from_world: (n, 7), NaN in frames without a pose, which are skipped.
      times_s: (n,) increasing.
      at_s: (m,) any times.

    Returns:
      (m, 7); NaN if no pose is known.
    """
    poses, times, at = (np.asarray(a, np.float64) for a in (cam_from_world, times_s, at_s))
    known = np.isfinite(poses).all(axis=1)
    poses, times = np.asarray(se3.invert(poses[known])), times[known]
    if len(poses) < 2:
        return np.tile(se3.invert(poses[0]) if len(poses) else np.full(7, np.nan), (len(at), 1))
    flips = np.where((poses[1:, 3:] * poses[:-1, 3:]).sum(axis=1) < 0, -1.0, 1.0)
    poses[1:, 3:] *= np.cumprod(flips)[:, None]
    tangents = _tangents(poses, times)
    left = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
    step = (times[left + 1] - times[left])[:, None]
    u = np.clip((at - times[left])[:, None] / step, 0, 1)
    curve = (
        (1 + 2 * u) * (1 - u) ** 2 * poses[left]
        + u * (1 - u) ** 2 * step * tangents[left]
        + u**2 * (3 - 2 * u) * poses[left + 1]
        - u**2 * (1 - u) * step * tangents[left + 1]
    )
    before, behind = np.minimum(at - times[0], 0)[:, None], np.maximum(at - times[-1], 0)[:, None]
    curve += before * tangents[0] + behind * tangents[-1]
    return np.asarray(se3.invert(se3.normalize(curve)))


def _tangents(values: Float64Array, times: Float64Array) -> Float64Array:
    steps = np.diff(times)[:, None]
    rates = np.diff(values, axis=0) / steps
    if len(rates) == 1:
        return np.concatenate([rates, rates])
    inner = (rates[:-1] * steps[1:] + rates[1:] * steps[:-1]) / (steps[1:] + steps[:-1])
    # At the ends, the tangents of the same parabolas.
    return np.concatenate([2 * rates[:1] - inner[:1], inner, 2 * rates[-1:] - inner[-1:]])


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceFrame:
    """An annotated frame that keypoints are tracked from.

    Attributes:
      gray: (h, w) uint8.
      cam_from_world: (7,).
      intrinsics_px: (4,) fx fy cx cy.
      inverse_depth: (h, w) float32, 1 / z; all 0 for pure rotation.
      is_usable: (h, w) bool: static pixels with a depth.
    """

    gray: UInt8Array
    cam_from_world: Float64Array
    intrinsics_px: Float64Array
    inverse_depth: Float32Array
    is_usable: BoolArray


def refine_intermediate_poses(
    references: Sequence[ReferenceFrame], gray: Sequence[UInt8Array], initial: Float64Array
) -> Float64Array:
    """Poses of frames between annotated ones by motion-only bundle adjustment.

    Also of frames after the last annotated one.

    Corners with a depth are projected by the initial pose and tracked by Lucas-Kanade, forward and backward; the pose
    of each frame is then optimized with a Cauchy loss. About 10 ms of CPU a frame at 640 x 360.

    Args:
      references: one or two annotated frames.
      gray: (h, w) uint8 frames.
      initial: (m, 7) cam_from_world of them.

    Returns:
      (m, 7); NaN with too few tracked keypoints, or large residuals.
    """
    count, first = len(gray), len(references)
    corners = [_detect_corners(reference) for reference in references]
    width = max((len(c) for c in corners), default=0)
    if not count or width < MIN_POINTS:
        return np.full((count, 7), np.nan)
    frames = first + count
    pixels = np.zeros((frames, width, 2), np.float32)
    inverse_depth = np.zeros((frames, width))
    target_px = np.zeros((first * count, width, 2), np.float32)
    weight = np.zeros((first * count, width), np.float32)
    for a, (reference, at) in enumerate(zip(references, corners, strict=True)):
        pixels[a, : len(at)] = at
        rows, columns = np.rint(at[:, 1]).astype(int), np.rint(at[:, 0]).astype(int)
        inverse_depth[a, : len(at)] = reference.inverse_depth[rows, columns]
        for k, target_gray in enumerate(gray):
            predicted = _project(reference, at, inverse_depth[a, : len(at)], initial[k])
            found, ok = _track(reference.gray, target_gray, at, predicted)
            target_px[a * count + k, : len(at)], weight[a * count + k, : len(at)] = found, ok
    target = np.tile(np.arange(first, frames, dtype=np.int32), first)
    result = bundle_adjust(
        BundleProblem(
            cam_from_world=np.concatenate([[reference.cam_from_world for reference in references], initial]),
            inverse_depth=inverse_depth,
            pixels=pixels,
            intrinsics=references[0].intrinsics_px,
            source=np.repeat(np.arange(first, dtype=np.int32), count),
            target=target,
            target_px=target_px,
            weight=weight,
            fixed=np.arange(frames) < first,
        ),
        BundleOptions(
            iterations=ITERATIONS, optimize_points=False, robust_kernel="cauchy", robust_scale_px=LOSS_SCALE_PX
        ),
    )
    refined = np.array(result.cam_from_world[first:])
    residual = np.where(weight > 0, np.asarray(result.residual_px, np.float64), np.nan)
    for k in range(count):
        errors = residual[target == first + k]
        errors = errors[np.isfinite(errors)]
        if len(errors) < MIN_POINTS or np.median(errors) > MAX_MEDIAN_PX:
            refined[k] = np.nan
    return refined


def _detect_corners(reference: ReferenceFrame) -> Float32Array:
    """(k, 2) corners (Shi & Tomasi 1994) of usable pixels."""
    distance = max(4.0, max(reference.gray.shape) * MIN_DISTANCE_SHARE)
    # Next to unusable pixels depth is less certain, and windows around corners contain them.
    mask = np.asarray(cv2.erode(reference.is_usable.astype(np.uint8), np.ones((3, 3), np.uint8)), np.uint8)
    found = cv2.goodFeaturesToTrack(reference.gray, MAX_POINTS, CORNER_QUALITY, distance, mask=mask, blockSize=5)
    return np.zeros((0, 2), np.float32) if found is None else np.asarray(found, np.float32).reshape(-1, 2)


def _project(
    reference: ReferenceFrame, at: Float32Array, inverse_depth: Float64Array, cam_from_world: Float64Array
) -> Float32Array:
    """(k, 2) projections of a reference frame's points for a pose."""
    fx, fy, cx, cy = reference.intrinsics_px
    rays = np.stack([(at[:, 0] - cx) / fx, (at[:, 1] - cy) / fy, np.ones(len(at)), inverse_depth], axis=1)
    motion = se3.compose(cam_from_world, se3.invert(reference.cam_from_world))
    x, y, z = np.asarray(se3.act(motion, rays))[:, :3].T
    z = np.maximum(z, MIN_DEPTH_RATIO)
    return np.stack([fx * x / z + cx, fy * y / z + cy], axis=1).astype(np.float32)


def _track(
    before: UInt8Array, now: UInt8Array, at: Float32Array, predicted: Float32Array
) -> tuple[Float32Array, BoolArray]:
    """(k, 2) keypoints in the next frame, and (k,) whether they were found inside it."""
    if not len(at):
        return at, np.zeros(0, bool)
    found, ok = track_points_lk(before, now, at, predicted, LK_LEVELS)
    height, width = now.shape
    inside = (found > 2).all(axis=1) & (found[:, 0] < width - 3) & (found[:, 1] < height - 3)
    return found, ok & inside
