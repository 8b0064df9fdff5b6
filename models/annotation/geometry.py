"""Poses, depth maps and dynamic masks of one window, consistent with each other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from core.arrays import BoolArray, Float32Array
from media.clip_frames import ClipFrames
from models.annotation.files import map_size
from models.depth.fusion import fuse_depth, metric_depth
from models.depth.geometric_consistency import filter_depth
from models.depth.mono_depth import FrameDepths
from models.depth.motion_stereo import InverseDepth, MapFunction, estimate_depth
from models.depth.sparse_prior import sparse_inverse_depth
from models.flow.dis import FlowCache
from models.geometry.posed_frames import PosedFrames
from models.segmentation.residual_motion import moving_masks
from models.sfm.classical import estimate_poses
from models.sfm.estimate import Intrinsics, IntrinsicsMode, PoseEstimate, PoseEstimator, PoseRequest
from native import se3

MIN_MAPS_SIDE_PX = 320
"""Longest side at which depth and masks are estimated at least, however small they are stored."""
MIN_SHORT_SIDE_PX = 16
"""Shortest side that optical flow needs; maps that would be smaller have the size of the frames."""
MAX_DEPTH_FACTOR = 50.0
"""Depths beyond this multiple of the scene depth are not valid: their parallax is too small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipGeometry:
    """Poses, depth maps and dynamic masks of the annotated frames of one window.

    Depth and masks have one size, which may be smaller than that of the frames.

    Attributes:
      poses: camera poses and intrinsics, in pixels of the annotated frames.
      scene_depth: median z-depth of the 3D points in view, in the unit of the poses; None without points.
      depth: (n, h, w) float32 z-depth in the unit of the poses, 0 where not valid; None without translation or with
        failed poses.
      depth_sigma: (n, h, w) float32 relative standard deviation of the depth, 0 where not valid; None as `depth`.
      is_depth_valid: (n, h, w) bool; None as `depth`.
      is_moving: (n, h, w) bool, True on moving objects; None with failed poses.
      meters_per_unit: metric scale of poses and depth; None if unknown.
    """

    poses: PoseEstimate
    scene_depth: float | None = None
    depth: Float32Array | None = None
    depth_sigma: Float32Array | None = None
    is_depth_valid: BoolArray | None = None
    is_moving: BoolArray | None = None
    meters_per_unit: float | None = None


def annotate_frames(
    frames: ClipFrames,
    intrinsics: Intrinsics | None,
    mode: IntrinsicsMode,
    num_threads: int = 1,
    *,
    estimate: PoseEstimator = estimate_poses,
    maps_side_px: int = MIN_MAPS_SIDE_PX,
    relative: FrameDepths | None = None,
    metric: FrameDepths | None = None,
) -> ClipGeometry:
    """Estimates poses, then depth from motion, then dynamic masks from the residual motion.

    Args:
      frames: annotated frames.
      intrinsics: known intrinsics in pixels of these frames; None if unknown.
      mode: how known intrinsics are used.
      num_threads: most threads to use.
      estimate: pose estimator.
      maps_side_px: longest side of the maps, if above `MIN_MAPS_SIDE_PX`.
      relative, metric: monocular depth of these frames, at the size of the maps, to fuse with depth from motion; None
        without.
    """
    poses = estimate(
        PoseRequest(
            frames=frames.rgb,
            times_s=frames.time_s,
            intrinsics=intrinsics if mode != "estimate" else None,
            intrinsics_mode=mode if intrinsics is not None else "estimate",
            num_threads=num_threads,
        )
    )
    if not poses.pose_ok:
        return ClipGeometry(poses=poses)
    scene_depth = _scene_depth(poses)
    with _thread_map(num_threads) as map_fn:
        maps, is_moving = _estimate_maps(frames, poses, scene_depth, estimation_size(frames.size, maps_side_px), map_fn)
    meters_per_unit: float | None = None
    if scene_depth is not None:
        fused = fuse_depth(maps, ~is_moving, relative, metric)
        is_valid = fused.maps.is_valid & (fused.maps.inverse_depth > 1 / (MAX_DEPTH_FACTOR * scene_depth))
        if fused.maps is maps:
            is_valid &= ~is_moving
        maps, meters_per_unit = replace(fused.maps, is_valid=is_valid), fused.meters_per_unit
    elif metric is not None and poses.motion_kind != "general":
        maps, meters_per_unit = metric_depth(metric), 1.0
    else:
        return ClipGeometry(poses=poses, is_moving=is_moving)
    depth = np.divide(1, maps.inverse_depth, out=np.zeros_like(maps.inverse_depth), where=maps.is_valid)
    # To first order, depth and inverse depth have the same relative error.
    depth_sigma = np.multiply(maps.sigma, depth, out=np.zeros_like(depth), where=maps.is_valid)
    return ClipGeometry(
        poses=poses,
        scene_depth=scene_depth,
        depth=depth,
        depth_sigma=depth_sigma,
        is_depth_valid=maps.is_valid,
        is_moving=is_moving,
        meters_per_unit=meters_per_unit,
    )


def estimation_size(size: tuple[int, int], max_side_px: int) -> tuple[int, int]:
    """(width, height) at which depth and masks of frames of a size are estimated."""
    small = map_size(size, max(MIN_MAPS_SIDE_PX, max_side_px))
    return small if min(small) >= MIN_SHORT_SIDE_PX else size


def _estimate_maps(
    frames: ClipFrames, poses: PoseEstimate, scene_depth: float | None, size: tuple[int, int], map_fn: MapFunction
) -> tuple[InverseDepth, BoolArray]:
    """Depth from motion, nowhere valid without a scene depth, and dynamic masks."""
    posed = PosedFrames.downscaled(frames.rgb, poses.cam_from_world, poses.intrinsics_px, size)
    if scene_depth is None:
        flows = FlowCache(posed.gray, lambda source, target: posed.rigid_flow(source, target, np.float32(0)))
        return _invalid_depth(posed.shape), moving_masks(posed, flows, None, map_fn)
    prior = sparse_inverse_depth(posed, poses.points_world)
    flows = FlowCache(posed.gray, lambda source, target: posed.rigid_flow(source, target, prior[source]))
    maps = filter_depth(posed, estimate_depth(posed, flows, 1 / scene_depth, map_fn), map_fn)
    maps = replace(maps, is_valid=maps.is_valid & (maps.inverse_depth > 1 / (MAX_DEPTH_FACTOR * scene_depth)))
    return maps, moving_masks(posed, flows, maps, map_fn)


@contextmanager
def _thread_map(count: int) -> Iterator[MapFunction]:
    """A `map` over frames with a number of threads, in the order of the frames."""
    if count == 1:
        yield map
        return
    with ThreadPoolExecutor(count, thread_name_prefix="maps") as pool:
        yield pool.map


def _invalid_depth(shape: tuple[int, int, int]) -> InverseDepth:
    return InverseDepth(
        inverse_depth=np.zeros(shape, np.float32), sigma=np.zeros(shape, np.float32), is_valid=np.zeros(shape, bool)
    )


def _scene_depth(poses: PoseEstimate) -> float | None:
    """Median over registered frames of the median z-depth of the 3D points inside the image."""
    if poses.motion_kind != "general" or not len(poses.points_world):
        return None
    medians = []
    fx, fy, cx, cy = poses.intrinsics_px
    for pose in poses.cam_from_world[poses.registered]:
        x, y, z = se3.act(pose, poses.points_world).T
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = (z > 0) & (np.abs(fx * x / z) <= cx + 1) & (np.abs(fy * y / z) <= cy + 1)
        if inside.any():
            medians.append(float(np.median(z[inside])))
    return float(np.median(medians)) if medians else None
