"""Geometry of annotated frames from what tracking found of their clip."""

from __future__ import annotations

import numpy as np

from core.arrays import Float32Array
from models.annotation.geometry import ClipGeometry
from models.sfm.estimate import MotionKind, PoseEstimate
from models.slam.tracked_frames import TrackedFrames
from native import se3

MIN_SHIFT_SHARE = 0.005
"""A camera whose way from its first place is a smaller share of the scene's depth does not travel."""
MIN_TURN_RAD = np.radians(0.5)
RELATIVE_SIGMA = 0.1
"""Of depth that no other frame confirms, as for depth of networks alone."""
MIN_RELATIVE_SIGMA = 0.02
SIGMA_OF_DISAGREEMENT = np.float32(np.sqrt(np.pi) / 2)
"""Of one depth, from the mean difference of two, for normal errors."""
MAX_RESIDUAL_PX = 3.0
"""Flow is right to about a pixel; poses that put pixels farther off are not those of the video."""
MIN_CONFIRMED_SHARE = 0.5
MIN_INVERSE_DEPTH = 2e-3


def tracked_geometry(tracked: TrackedFrames, min_static: float) -> ClipGeometry:
    """Poses, depth and moving pixels.

    Args:
      tracked: of the frames, maps at their size.
      min_static: pixels less likely to stand still are moving.
    """
    is_valid = tracked.inverse_depth > MIN_INVERSE_DEPTH
    depth = np.divide(1, tracked.inverse_depth, out=np.zeros_like(tracked.inverse_depth), where=is_valid)
    typical = float(np.median(depth[is_valid])) if is_valid.any() else None
    kind = _motion_kind(tracked, typical)
    poses = tracked.cam_from_world.copy()
    if kind != "general":
        poses[:, :3] = 0
    reason = _why_unfit(tracked, typical)
    pose_ok = reason is None
    known = tracked.residual_px[np.isfinite(tracked.residual_px)]
    estimate = PoseEstimate(
        cam_from_world=poses,
        registered=np.full(len(poses), pose_ok),
        intrinsics_px=tracked.intrinsics_px,
        motion_kind=kind,
        pose_ok=pose_ok,
        reason=reason,
        points_world=np.zeros((0, 3)),
        reprojection_px=float(np.median(known)) if len(known) else None,
    )
    return ClipGeometry(
        poses=estimate,
        scene_depth=typical if kind == "general" else None,
        depth=depth if pose_ok else None,
        depth_sigma=np.where(is_valid, _relative_sigma(tracked.disagreement), 0) if pose_ok else None,
        is_depth_valid=is_valid if pose_ok else None,
        is_moving=tracked.static < min_static if pose_ok else None,
        meters_per_unit=tracked.meters_per_unit,
    )


def _why_unfit(tracked: TrackedFrames, typical: float | None) -> str | None:
    if not np.isfinite(tracked.cam_from_world).all() or typical is None:
        return "tracking gave no finite poses or no depth"
    known = tracked.residual_px[np.isfinite(tracked.residual_px)]
    if not len(known):
        return "no part of the scene stands still and is seen again, so nothing confirms the poses"
    if (known <= MAX_RESIDUAL_PX).mean() < MIN_CONFIRMED_SHARE:
        return (
            f"depth and poses put what stands still {np.median(known):.1f} px from where the flow sees it "
            f"(median; at most {MAX_RESIDUAL_PX:g} in half of the frames)"
        )
    return None


def _relative_sigma(disagreement: Float32Array) -> Float32Array:
    sigma = np.maximum(SIGMA_OF_DISAGREEMENT * disagreement, np.float32(MIN_RELATIVE_SIGMA))
    return np.where(np.isnan(sigma), np.float32(RELATIVE_SIGMA), sigma)


def _motion_kind(tracked: TrackedFrames, scene_depth: float | None) -> MotionKind:
    centers = se3.invert(tracked.cam_from_world)[:, :3]
    shift = np.linalg.norm(centers - centers[0], axis=1).max()
    if scene_depth is None or shift > MIN_SHIFT_SHARE * scene_depth:
        return "general"
    turns = se3.log(se3.compose(tracked.cam_from_world, se3.invert(tracked.cam_from_world[0])))[:, 3:]
    return "rotation" if np.linalg.norm(turns, axis=1).max() > MIN_TURN_RAD else "static"
