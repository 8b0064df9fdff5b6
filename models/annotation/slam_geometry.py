"""Geometry of annotated frames from the poses and depth of SLAM."""

from __future__ import annotations

import numpy as np

from core.arrays import Float32Array
from models.annotation.geometry import ClipGeometry
from models.sfm.estimate import MotionKind, PoseEstimate
from models.slam.tracked_frames import TrackedFrames
from native import se3

MIN_BASELINE_SHARE = 0.005
"""Least displacement of the camera, over the scene depth, that counts as translation."""
MIN_ROTATION_RAD = np.radians(0.5)
UNCONFIRMED_SIGMA = 0.1
"""Relative sigma of depth without a consistency check by another frame, as of monocular depth alone."""
MIN_RELATIVE_SIGMA = 0.02
SIGMA_OF_DISAGREEMENT = np.float32(np.sqrt(np.pi) / 2)
"""Sigma of one depth over the mean absolute difference of two, for normal errors."""
MAX_RESIDUAL_PX = 3.0
"""Largest reprojection residual of a frame whose pose agrees with optical flow, which errs by about 1 px."""
MIN_CONFIRMED_SHARE = 0.5
MIN_INVERSE_DEPTH = 2e-3


def tracked_geometry(tracked: TrackedFrames, min_static: float) -> ClipGeometry:
    """Poses, depth maps and dynamic masks from tracked cameras and depth.

    Args:
      tracked: frames of one window, with maps at the size of the frames.
      min_static: pixels with a lower static probability are moving.
    """
    is_valid = tracked.inverse_depth > MIN_INVERSE_DEPTH
    depth = np.divide(1, tracked.inverse_depth, out=np.zeros_like(tracked.inverse_depth), where=is_valid)
    scene_depth = float(np.median(depth[is_valid])) if is_valid.any() else None
    motion_kind = _motion_kind(tracked, scene_depth)
    poses = tracked.cam_from_world.copy()
    if motion_kind != "general":
        poses[:, :3] = 0
    reason = _failure_reason(tracked, scene_depth)
    pose_ok = reason is None
    residuals_px = tracked.residual_px[np.isfinite(tracked.residual_px)]
    estimate = PoseEstimate(
        cam_from_world=poses,
        registered=np.full(len(poses), pose_ok),
        intrinsics_px=tracked.intrinsics_px,
        motion_kind=motion_kind,
        pose_ok=pose_ok,
        reason=reason,
        points_world=np.zeros((0, 3)),
        reprojection_px=float(np.median(residuals_px)) if len(residuals_px) else None,
    )
    return ClipGeometry(
        poses=estimate,
        scene_depth=scene_depth if motion_kind == "general" else None,
        depth=depth if pose_ok else None,
        depth_sigma=np.where(is_valid, _relative_sigma(tracked.disagreement), 0) if pose_ok else None,
        is_depth_valid=is_valid if pose_ok else None,
        is_moving=tracked.static < min_static if pose_ok else None,
        meters_per_unit=tracked.meters_per_unit,
    )


def _failure_reason(tracked: TrackedFrames, scene_depth: float | None) -> str | None:
    """Failure reason if the poses disagree with optical flow, else None."""
    if not np.isfinite(tracked.cam_from_world).all() or scene_depth is None:
        return "tracking gave no finite poses or no depth"
    residuals_px = tracked.residual_px[np.isfinite(tracked.residual_px)]
    if not len(residuals_px):
        return "no static part of the scene is visible in several frames, so nothing confirms the poses"
    if (residuals_px <= MAX_RESIDUAL_PX).mean() < MIN_CONFIRMED_SHARE:
        return (
            f"depth and poses put what stands still {np.median(residuals_px):.1f} px from where the flow sees it "
            f"(median; at most {MAX_RESIDUAL_PX:g} in half of the frames)"
        )
    return None


def _relative_sigma(disagreement: Float32Array) -> Float32Array:
    """(n, h, w) relative standard deviation of depth from its disagreement with neighboring frames."""
    sigma = np.maximum(SIGMA_OF_DISAGREEMENT * disagreement, np.float32(MIN_RELATIVE_SIGMA))
    return np.where(np.isnan(sigma), np.float32(UNCONFIRMED_SIGMA), sigma)


def _motion_kind(tracked: TrackedFrames, scene_depth: float | None) -> MotionKind:
    centers = se3.invert(tracked.cam_from_world)[:, :3]
    baseline = np.linalg.norm(centers - centers[0], axis=1).max()
    if scene_depth is None or baseline > MIN_BASELINE_SHARE * scene_depth:
        return "general"
    rotations = se3.log(se3.compose(tracked.cam_from_world, se3.invert(tracked.cam_from_world[0])))[:, 3:]
    return "rotation" if np.linalg.norm(rotations, axis=1).max() > MIN_ROTATION_RAD else "static"
