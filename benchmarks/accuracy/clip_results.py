"""Runs pose estimators on a clip's file and measures them against the truth.

Estimators run as the user's command does.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from benchmarks.accuracy.depths import compare_depths
from benchmarks.accuracy.sequences import MILLIMETERS_PER_METER, TUM_UNITS_PER_METER, read_tum
from benchmarks.accuracy.trajectories import MIN_LENGTH, compare_trajectories, invert, path_length
from core.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from core.failures import ItemError
from media.clip_frames import ClipFrames, read_clip_frames
from media.probe import probe_video
from models.annotation import AnnotationSettings, annotate_clip
from models.sfm.classical import estimate_poses
from models.sfm.colmap import ColmapEstimator, ColmapSettings
from models.sfm.estimate import PoseRequest, without_poses

Estimator = Literal["ours", "COLMAP global", "COLMAP incremental"]
CRASHED = "crashed"
GOOD_ATE_PERCENT = 2.0
GOOD_ATE_OF_DEPTH_PERCENT = 1.0
GOOD_SCALE_CHANGE_PERCENT = 5.0
# Shorter steps than this share of the mean say nothing about scale, and such short thirds neither.
LEAST_STEP = 0.2
LEAST_THIRD = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipResult:
    """One estimator on one clip; a row of the CSV.

    Attributes:
      clip, scene, motion: names; a real sequence has motion "real" and no scene.
      moving_percent: true moving pixels, NaN if unknown.
      estimator: what estimated the poses.
      frames: how many were annotated.
      registered: share of the frames with a pose.
      ate_percent: see `TrajectoryError`, of the path; infinite without poses.
      ate_of_depth_percent: the same in % of the median true depth; NaN if that is unknown.
      scale_change_percent: largest ratio of the scale between thirds of the clip, less one; infinite without poses,
        NaN where the camera hardly moves.
      pose_ok, motion_kind, reason: what the estimator says; of one that raises, `CRASHED` and the error.
      is_good: whether the poses are right by the limits above.
      depth_abs_rel_percent, depth_share: see `DepthError`; NaN without depth.
      cpu_s: of decoding and estimating.
    """

    clip: str
    scene: str
    motion: str
    moving_percent: float
    estimator: Estimator
    frames: int
    registered: float
    ate_percent: float
    ate_of_depth_percent: float
    scale_change_percent: float
    pose_ok: bool
    motion_kind: str
    reason: str
    is_good: bool
    depth_abs_rel_percent: float
    depth_share: float
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    frame: Int64Array
    cam_from_world: Float64Array
    pose_ok: bool
    motion_kind: str
    reason: str | None
    depth: Float32Array | None


def measure_clip(folder: Path, estimator: Estimator) -> ClipResult:
    """Runs one estimator on a clip's folder (see `benchmarks.testbed.files`), with one thread."""
    start = time.process_time()
    try:
        found = _annotate(folder) if estimator == "ours" else _map(folder, estimator)
    except Exception as raised:
        found = _crashed(folder, raised)
    cpu_s = time.process_time() - start
    world_from_cam = read_tum(folder / "poses.tum")[1]
    # Truth may end before the video does.
    known = found.frame < len(world_from_cam)
    truth, poses = invert(world_from_cam[found.frame[known]]), found.cam_from_world[known]
    registered = np.asarray(np.isfinite(poses).all(1), np.bool_)
    error = compare_trajectories(poses, registered, truth)
    depths, moving = _true_maps(folder, found.frame)
    typical = float(np.nanmedian([np.nanmedian(d) for d in depths.values()])) if depths else np.nan
    ate_of_depth = error.ate_percent * path_length(truth) / typical
    change = scale_change_percent(poses, truth, registered)
    is_short = ate_of_depth <= GOOD_ATE_OF_DEPTH_PERCENT
    is_good = (error.ate_percent <= GOOD_ATE_PERCENT or is_short) and not change > GOOD_SCALE_CHANGE_PERCENT
    depth_abs_rel, depth_share = _depth_error(found, depths)
    plan = json.loads(path.read_text()) if (path := folder / "plan.json").exists() else {}
    return ClipResult(
        clip=folder.name,
        scene=plan.get("scene", ""),
        motion=plan.get("motion", "real"),
        moving_percent=moving,
        estimator=estimator,
        frames=len(found.frame),
        registered=error.registered_share,
        ate_percent=error.ate_percent,
        ate_of_depth_percent=ate_of_depth,
        scale_change_percent=change,
        pose_ok=found.pose_ok,
        motion_kind=found.motion_kind,
        reason=found.reason or "",
        is_good=is_good,
        depth_abs_rel_percent=depth_abs_rel,
        depth_share=depth_share,
        cpu_s=cpu_s,
    )


def scale_change_percent(poses: Float64Array, truth: Float64Array, registered: BoolArray) -> float:
    """Returns the largest ratio of scales between thirds of a clip, less one, in %.

    The scale of a third is the median ratio of estimated to true distance between successive registered frames.
    """
    if registered.sum() < 4:
        return float("inf")
    steps = [np.linalg.norm(np.diff(invert(p[registered])[:, :3], axis=0), axis=1) for p in (poses, truth)]
    length = steps[1].sum()
    if length < MIN_LENGTH:
        return float("nan")
    scales = []
    for third in np.array_split(np.arange(len(steps[1])), 3):
        found, true = steps[0][third], steps[1][third]
        usable = true > LEAST_STEP * length / len(steps[1])
        if usable.any() and true.sum() > LEAST_THIRD * length:
            scales.append(float(np.median(found[usable] / true[usable])))
    if len(scales) < 2:
        return float("nan")
    return 100 * (max(scales) / min(scales) - 1) if min(scales) > 0 else float("inf")


def _annotate(folder: Path) -> _Found:
    """The job's own path with its default settings."""
    path, settings = str(folder / "video.mp4"), AnnotationSettings()
    info = probe_video(path)
    frames = read_clip_frames(path, info, float(settings.fps), settings.max_side_px)
    with tempfile.TemporaryDirectory(prefix="spatialbeam-bench-") as temporary:
        size = info.display_width, info.display_height
        found = annotate_clip(frames, size, None, settings, estimate_poses, temporary, num_threads=1)
        depth = None
        if found.depth_path is not None:
            with np.load(found.depth_path) as file:
                depth = np.where(file["valid"], file["depth"], np.nan).astype(np.float32)
    return _Found(
        frame=found.frame,
        cam_from_world=found.cam_from_world,
        pose_ok=found.pose_ok,
        motion_kind=found.camera_motion_kind,
        reason=found.pose_reason,
        depth=depth,
    )


def _map(folder: Path, estimator: Estimator) -> _Found:
    """COLMAP on the frames that the job annotates."""
    frames = _decode(folder)
    request = PoseRequest(frames=frames.rgb, times_s=frames.time_s)
    mapper: Literal["global", "incremental"] = "global" if estimator == "COLMAP global" else "incremental"
    try:
        found = ColmapEstimator(ColmapSettings(mapper=mapper))(request)
    except ItemError as error:
        found = without_poses(request, str(error))
    return _Found(
        frame=frames.frame,
        cam_from_world=found.cam_from_world,
        pose_ok=found.pose_ok,
        motion_kind=found.motion_kind,
        reason=found.reason,
        depth=None,
    )


def _crashed(folder: Path, error: Exception) -> _Found:
    """Result of an estimator that raises: no poses."""
    frame = _decode(folder).frame
    return _Found(
        frame=frame,
        cam_from_world=np.full((len(frame), 7), np.nan),
        pose_ok=False,
        motion_kind=CRASHED,
        reason=f"{type(error).__name__}: {error}",
        depth=None,
    )


def _decode(folder: Path) -> ClipFrames:
    path, settings = str(folder / "video.mp4"), AnnotationSettings()
    info = probe_video(path)
    decoded = list(read_clip_frames(path, info, float(settings.fps), settings.max_side_px))
    return ClipFrames.of(decoded, (info.display_width, info.display_height))


def _true_maps(folder: Path, frames: Int64Array) -> tuple[dict[int, Float32Array], float]:
    """Returns true depth in meters (NaN where unknown) and the % of moving pixels."""
    units = TUM_UNITS_PER_METER if folder.name.startswith("tum_") else MILLIMETERS_PER_METER
    depths, shares = {}, []
    for k, frame in enumerate(frames.tolist()):
        stored, mask = (cv2.imread(str(folder / name / f"{frame:05d}.png"), -1) for name in ("depth", "mask"))
        if stored is not None:
            depths[k] = np.where(stored > 0, stored / units, np.nan).astype(np.float32)
        if mask is not None:
            shares.append(100 * float((mask > 0).mean()))
    return depths, float(np.mean(shares)) if shares else float("nan")


def _depth_error(found: _Found, depths: dict[int, Float32Array]) -> tuple[float, float]:
    """Mean relative depth error in %, and the share of pixels with depth."""
    if found.depth is None or not depths:
        return float("nan"), float("nan")
    height, width = found.depth.shape[1:]
    small = [cv2.resize(depths[k], (width, height), interpolation=cv2.INTER_NEAREST_EXACT) for k in sorted(depths)]
    error = compare_depths(found.depth[sorted(depths)], np.stack(small))
    return 100 * error.abs_rel, error.valid_share
