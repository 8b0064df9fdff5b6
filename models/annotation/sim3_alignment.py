"""Joining windows of a clip: the similarity that takes one window's world to that of the windows before it."""

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
"""What the scale from depths is not better known than: neighboring frames err alike."""
MAX_LOG_SIGMA = 0.3
"""Beyond such an error of its logarithm a scale is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Frames that two windows share, as each sees them.

    Attributes:
      before, now: (m, 7) cam_from_world in the world and scale of the earlier windows and of the new one; NaN in
        frames without a pose.
      depth_before, depth_now: (m, h, w) z-depth in either scale, 0 where not valid; None if there is none.
    """

    before: Float64Array
    now: Float64Array
    depth_before: Float32Array | None
    depth_now: Float32Array | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """A similarity: X in the new window's world is scale * R X + t in that of the windows before.

    Attributes:
      motion: (7,) [tx ty tz qx qy qz qw] of t and R.
      scale: length there of one unit of the new window.
      scale_drift: how much the ratio of depths changes over the shared frames, as a standard deviation relative to
        it; None without depths.
      offset: root mean square distance of the camera centers of both, in the unit of the windows before.
    """

    motion: Float64Array
    scale: float
    scale_drift: float | None
    offset: float

    def apply(self, cam_from_world: Float64Array) -> Float64Array:
        """(n, 7) poses of the new window in the world and scale of the windows before it."""
        scaled = cam_from_world.copy()
        scaled[:, :3] *= self.scale
        return np.asarray(se3.compose(scaled, se3.invert(self.motion)))


def join_windows(overlap: Overlap, *, needs_scale: bool) -> Join | str:
    """Aligns a window with those before it by the frames that they share; or says why that cannot be done.

    The rotation is the mean over the frames. The scale is told by the paths of the camera and by the ratio of depths,
    each weighted by what its scatter says of it.

    Args:
      overlap: the shared frames.
      needs_scale: whether both have a scale of their own; else the new one's is kept.
    """
    common = np.flatnonzero(np.isfinite(overlap.before).all(axis=1) & np.isfinite(overlap.now).all(axis=1))
    if len(common) < MIN_COMMON_FRAMES:
        return f"only {len(common)} of {len(overlap.now)} shared frames have a pose on both sides"
    before, now = overlap.before[common], overlap.now[common]
    rotation = _mean_rotation(se3.compose(se3.invert(before)[:, 3:], now[:, 3:]))
    there = se3.invert(before)[:, :3]
    here = np.asarray(se3.act(rotation, se3.invert(now)[:, :3]))
    ratios = _depth_log_ratios(overlap, common)
    scale = 1.0
    if needs_scale:
        estimates = [e for e in (_scale_of_paths(here, there), _scale_of_depths(ratios)) if e is not None]
        if not estimates:
            return "the camera hardly moves in the shared frames and no depth is known in them: scale is lost"
        logs, sigmas = np.array(estimates).T
        scale = math.exp(np.sum(logs / sigmas**2) / np.sum(1 / sigmas**2))
    shift = there.mean(axis=0) - scale * here.mean(axis=0)
    offset = np.linalg.norm(scale * here + shift - there, axis=1)
    return Join(
        motion=np.concatenate([shift, rotation]),
        scale=scale,
        scale_drift=float(np.std(ratios)) if len(ratios) > 1 else None,
        offset=float(np.sqrt(np.mean(offset**2))),
    )


def blend_poses(before: Float64Array, now: Float64Array) -> Float64Array:
    """(m, 7) poses that go over from one window's to the next one's; where one has none, the other's."""
    weight = np.arange(1, len(now) + 1) / (len(now) + 1)
    blended = np.asarray(se3.interpolate(before, now, weight))
    lacks_before, lacks_now = (~np.isfinite(p).all(axis=1) for p in (before, now))
    blended[lacks_before], blended[lacks_now] = now[lacks_before], before[lacks_now]
    return blended


def _mean_rotation(rotations: Float64Array) -> Float64Array:
    """(4,) mean of (m, 4) unit quaternions: the largest eigenvector of the sum of their outer products."""
    _, vectors = np.linalg.eigh(rotations.T @ rotations)
    return np.asarray(se3.normalize(vectors[:, -1]))


def _scale_of_paths(here: Float64Array, there: Float64Array) -> tuple[float, float] | None:
    """Logarithm of the ratio of two paths that should be alike, and its standard deviation."""
    here, there = here - here.mean(axis=0), there - there.mean(axis=0)
    square = float((here**2).sum())
    product = float((here * there).sum())
    if square <= 0 or product <= 0:
        return None
    scale = product / square
    error = np.sqrt(((scale * here - there) ** 2).sum() / max(1, len(here) - 2))
    # Errors of neighboring poses are alike: a path counts as a few places only.
    sigma = max(float(error / np.sqrt((there**2).sum() / len(there)) if (there**2).sum() > 0 else np.inf), 1e-6)
    return (math.log(scale), sigma) if sigma < MAX_LOG_SIGMA else None


def _scale_of_depths(log_ratios: Float64Array) -> tuple[float, float] | None:
    if len(log_ratios) < MIN_COMMON_FRAMES:
        return None
    sigma = float(np.hypot(np.std(log_ratios), DEPTH_LOG_SIGMA))
    return (float(np.median(log_ratios)), sigma) if sigma < MAX_LOG_SIGMA else None


def _depth_log_ratios(overlap: Overlap, frames: npt.NDArray[np.intp]) -> Float64Array:
    """Median logarithm of the ratio of depths in each shared frame with enough depths in common."""
    if overlap.depth_before is None or overlap.depth_now is None:
        return np.zeros(0)
    ratios = []
    for frame in frames:
        before, now = overlap.depth_before[frame], overlap.depth_now[frame]
        common = (before > 0) & (now > 0)
        if np.count_nonzero(common) >= MIN_COMMON_PIXELS:
            ratios.append(float(np.median(elementary.log(before[common]) - elementary.log(now[common]))))
    return np.array(ratios)
