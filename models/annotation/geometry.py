"""From a clip's frames to poses, depth maps and masks that agree with each other."""

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
"""Longest side at which depth and masks are worked out at least, however small they are stored."""
MIN_SHORT_SIDE_PX = 16
"""Of narrower pictures flow cannot be found: their maps are as large as the frames."""
FAR_FACTOR = 50.0
"""Depths beyond so many times the scene's typical one are as good as infinite: they are not valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipGeometry:
    """Spatial annotation of a clip's annotated frames.

    Depth and masks have one size, which may be smaller than the frames'.

    Attributes:
      poses: camera poses and intrinsics, in pixels of the annotated frames.
      scene_depth: median z-depth of the scene's points in view, in the poses' unit; None without points.
      depth: (n, h, w) float32 z-depth in the poses' unit, 0 where not valid; None where the camera does not
        translate, or the poses are not fit for use.
      depth_sigma: (n, h, w) float32, standard deviation of the depth as a share of it; 0 where not valid. None as
        `depth`.
      is_depth_valid: (n, h, w) bool; None as `depth`.
      is_moving: (n, h, w) bool; None where the poses are not fit for use.
      meters_per_unit: the poses' and the depth's unit in meters; None where nothing says.
    """

    poses: PoseEstimate
    scene_depth: float | None
    depth: Float32Array | None
    depth_sigma: Float32Array | None
    is_depth_valid: BoolArray | None
    is_moving: BoolArray | None
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
    """Poses first; then depth from the camera's motion, then masks from what neither explains.

    Args:
      frames: annotated frames, at their working size.
      intrinsics: known ones, in pixels of these frames.
      mode: what is done with them.
      num_threads: most threads to use.
      estimate: what finds the poses.
      maps_side_px: longest side of the maps, if above `MIN_MAPS_SIDE_PX`.
      relative, metric: depth that networks see in these frames, at the maps' size, which fills the depth from motion;
        None without.
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
        return _without_depth(poses, None)
    typical = _typical_depth(poses)
    with _threads(num_threads) as map_fn:
        maps, is_moving = _maps(frames, poses, typical, working_size(frames.size, maps_side_px), map_fn)
    meters: float | None = None
    if typical is not None:
        fused = fuse_depth(maps, ~is_moving, relative, metric)
        is_valid = fused.maps.is_valid & (fused.maps.inverse_depth > 1 / (FAR_FACTOR * typical))
        if fused.maps is maps:
            is_valid &= ~is_moving
        maps, meters = replace(fused.maps, is_valid=is_valid), fused.meters_per_unit
    elif metric is not None and poses.motion_kind != "general":
        maps, meters = metric_depth(metric), 1.0
    else:
        return _without_depth(poses, is_moving)
    depth = np.divide(1, maps.inverse_depth, out=np.zeros_like(maps.inverse_depth), where=maps.is_valid)
    # To first order, depth and inverse depth have the same relative error.
    relative_sigma = np.multiply(maps.sigma, depth, out=np.zeros_like(depth), where=maps.is_valid)
    return ClipGeometry(
        poses=poses,
        scene_depth=typical,
        depth=depth,
        depth_sigma=relative_sigma,
        is_depth_valid=maps.is_valid,
        is_moving=is_moving,
        meters_per_unit=meters,
    )


def working_size(size: tuple[int, int], max_side_px: int) -> tuple[int, int]:
    """(width, height) at which depth and masks of frames of one size are worked out."""
    small = map_size(size, max(MIN_MAPS_SIDE_PX, max_side_px))
    return small if min(small) >= MIN_SHORT_SIDE_PX else size


def _maps(
    frames: ClipFrames, poses: PoseEstimate, typical: float | None, size: tuple[int, int], map_fn: MapFunction
) -> tuple[InverseDepth, BoolArray]:
    """Depth from motion, nothing valid without a typical depth, and moving pixels."""
    posed = PosedFrames.downscaled(frames.rgb, poses.cam_from_world, poses.intrinsics_px, size)
    if typical is None:
        flows = FlowCache(posed.gray, lambda source, target: posed.rigid_flow(source, target, np.float32(0)))
        return _unknown_depth(posed.shape), moving_masks(posed, flows, None, map_fn)
    guess = sparse_inverse_depth(posed, poses.points_world)
    flows = FlowCache(posed.gray, lambda source, target: posed.rigid_flow(source, target, guess[source]))
    maps = filter_depth(posed, estimate_depth(posed, flows, 1 / typical, map_fn), map_fn)
    maps = replace(maps, is_valid=maps.is_valid & (maps.inverse_depth > 1 / (FAR_FACTOR * typical)))
    return maps, moving_masks(posed, flows, maps, map_fn)


@contextmanager
def _threads(count: int) -> Iterator[MapFunction]:
    """What goes over frames with so many threads; the order of what it yields is that of the frames."""
    if count == 1:
        yield map
        return
    with ThreadPoolExecutor(count, thread_name_prefix="maps") as pool:
        yield pool.map


def _unknown_depth(shape: tuple[int, int, int]) -> InverseDepth:
    return InverseDepth(
        inverse_depth=np.zeros(shape, np.float32), sigma=np.zeros(shape, np.float32), is_valid=np.zeros(shape, bool)
    )


def _without_depth(poses: PoseEstimate, is_moving: BoolArray | None) -> ClipGeometry:
    return ClipGeometry(
        poses=poses, scene_depth=None, depth=None, depth_sigma=None, is_depth_valid=None, is_moving=is_moving
    )


def _typical_depth(poses: PoseEstimate) -> float | None:
    """Median over registered frames of the median depth of the points that lie in the picture."""
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
