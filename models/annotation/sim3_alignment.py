"""Sim(3) alignment of a window with the submap, from their shared frames."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.arrays import Float32Array, Float64Array
from native import elementary, se3

MIN_COMMON_FRAMES = 3
MIN_COMMON_PIXELS = 100
DEPTH_LOG_SIGMA = 0.01
"""Least standard deviation of the log scale from depths: depth errors of neighboring frames are correlated."""
MAX_LOG_SIGMA = 0.3
"""Scale estimates with a larger standard deviation of their logarithm are not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Poses and depth of shared frames, in the submap (target) and the window (source).

    Attributes:
      cam_from_target, cam_from_source: (m, 7) poses, each in its own world and scale; NaN in frames without a pose.
      target_depth, source_depth: (m, h, w) z-depth in the same scales, 0 where not valid; None without depth.
    """

    cam_from_target: Float64Array
    cam_from_source: Float64Array
    target_depth: Float32Array | None
    source_depth: Float32Array | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sim3Alignment:
    """Similarity transform X_target = scale * R X_source + t.

    Attributes:
      target_from_source: (7,) [tx ty tz qx qy qz qw] of t and R.
      scale: length of the source's unit in the target's.
      scale_drift: standard deviation of the log ratio of depths over the shared frames; None without depths.
      center_rmse: root mean square distance of the aligned camera centers, in the target's unit.
    """

    target_from_source: Float64Array
    scale: float
    scale_drift: float | None
    center_rmse: float

    def transform_poses(self, cam_from_source: Float64Array) -> Float64Array:
        """(n, 7) poses of the source in the world and scale of the target."""
        scaled = cam_from_source.copy()
        scaled[:, :3] *= self.scale
        return np.asarray(se3.compose(scaled, se3.invert(self.target_from_source)))


def align_window(overlap: Overlap, *, estimate_scale: bool) -> Sim3Alignment | str:
    """Least-squares Sim(3) alignment of shared frames, or the reason why there is none.

    Scale and translation are those of Umeyama 1991 for camera centers, but the rotation is the mean of the relative
    camera rotations, which straight trajectories determine too. Depth ratios give a second estimate of the scale; the
    two are averaged with inverse-variance weights.

    Args:
      overlap: the shared frames.
      estimate_scale: whether both sides have a scale of their own; otherwise the scale is 1 (SE(3) alignment).
    """
    common = np.flatnonzero(
        np.isfinite(overlap.cam_from_target).all(axis=1) & np.isfinite(overlap.cam_from_source).all(axis=1)
    )
    if len(common) < MIN_COMMON_FRAMES:
        return f"only {len(common)} of {len(overlap.cam_from_source)} shared frames have a pose on both sides"
    target, source = overlap.cam_from_target[common], overlap.cam_from_source[common]
    rotation = _mean_rotation(se3.compose(se3.invert(target)[:, 3:], source[:, 3:]))
    target_centers = se3.invert(target)[:, :3]
    rotated_centers = np.asarray(se3.act(rotation, se3.invert(source)[:, :3]))
    log_ratios = _depth_log_ratios(overlap, common)
    scale = 1.0
    if estimate_scale:
        estimates = [
            estimate
            for estimate in (_scale_from_centers(rotated_centers, target_centers), _scale_from_depths(log_ratios))
            if estimate is not None
        ]
        if not estimates:
            return "the camera hardly moves in the shared frames and no depth is known in them: scale is lost"
        logs, sigmas = np.array(estimates).T
        scale = math.exp(np.sum(logs / sigmas**2) / np.sum(1 / sigmas**2))
    translation = target_centers.mean(axis=0) - scale * rotated_centers.mean(axis=0)
    distances = np.linalg.norm(scale * rotated_centers + translation - target_centers, axis=1)
    return Sim3Alignment(
        target_from_source=np.concatenate([translation, rotation]),
        scale=scale,
        scale_drift=float(np.std(log_ratios)) if len(log_ratios) > 1 else None,
        center_rmse=float(np.sqrt(np.mean(distances**2))),
    )


def blend_overlap(first: Float64Array, second: Float64Array) -> Float64Array:
    """(m, 7) poses interpolated from one window to the next.

    Where one has no pose, the other's is used.
    """
    weight = np.arange(1, len(second) + 1) / (len(second) + 1)
    blended = np.asarray(se3.interpolate(first, second, weight))
    first_missing, second_missing = (~np.isfinite(poses).all(axis=1) for poses in (first, second))
    blended[first_missing], blended[second_missing] = second[first_missing], first[second_missing]
    return blended


def _mean_rotation(rotations: Float64Array) -> Float64Array:
    """(4,) mean of (m, 4) unit quaternions (Markley et al. 2007, Averaging Quaternions)."""
    _, vectors = np.linalg.eigh(rotations.T @ rotations)
    return np.asarray(se3.normalize(vectors[:, -1]))


def _scale_from_centers(source: Float64Array, target: Float64Array) -> tuple[float, float] | None:
    """Log of the least-squares scale between (m, 3) camera centers, and its standard deviation."""
    source, target = source - source.mean(axis=0), target - target.mean(axis=0)
    square = float((source**2).sum())
    product = float((source * target).sum())
    if square <= 0 or product <= 0:
        return None
    scale = product / square
    error = np.sqrt(((scale * source - target) ** 2).sum() / max(1, len(source) - 2))
    # Pose errors of neighboring frames are correlated: sigma does not shrink with the number of frames.
    sigma = max(float(error / np.sqrt((target**2).sum() / len(target)) if (target**2).sum() > 0 else np.inf), 1e-6)
    return (math.log(scale), sigma) if sigma < MAX_LOG_SIGMA else None


def _scale_from_depths(log_ratios: Float64Array) -> tuple[float, float] | None:
    """Median log ratio of depths and its standard deviation."""
    if len(log_ratios) < MIN_COMMON_FRAMES:
        return None
    sigma = float(np.hypot(np.std(log_ratios), DEPTH_LOG_SIGMA))
    return (float(np.median(log_ratios)), sigma) if sigma < MAX_LOG_SIGMA else None


def _depth_log_ratios(overlap: Overlap, frames: npt.NDArray[np.intp]) -> Float64Array:
    """Median log ratio of target to source depth for each shared frame."""
    if overlap.target_depth is None or overlap.source_depth is None:
        return np.zeros(0)
    ratios = []
    for frame in frames:
        target, source = overlap.target_depth[frame], overlap.source_depth[frame]
        common = (target > 0) & (source > 0)
        if np.count_nonzero(common) >= MIN_COMMON_PIXELS:
            ratios.append(float(np.median(elementary.log(target[common]) - elementary.log(source[common]))))
    return np.array(ratios)
