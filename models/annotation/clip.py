"""A whole clip's annotation from a stream of its frames: window by window, joined, maps going to files at once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from media.clip_frames import ClipFrame, ClipFrames
from models.annotation.between import Corrections, correct_between
from models.annotation.files import map_size
from models.annotation.geometry import ClipGeometry, annotate_frames, working_size
from models.annotation.joining import Join, Overlap, blend_poses, join_windows
from models.annotation.map_files import DepthFile, MasksFile, StoredMaps
from models.annotation.quality import depth_errors, tracked_shares
from models.annotation.settings import AnnotationSettings
from models.annotation.tracked import tracked_geometry
from models.annotation.windows import Window, split_windows
from models.depth.seen import SeenDepths
from models.poses.dense import interpolate_poses
from models.poses.estimate import Intrinsics, MotionKind, PoseEstimator, resize_intrinsics
from models.tracking.tracked import TrackedFrames

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipAnnotation:
    """Spatial annotation of a clip.

    Attributes:
      cam_from_world: (n, 7), NaN in frames without a pose; see `PoseEstimate`.
      intrinsics_px: (n, 4) fx fy cx cy in pixels of the annotated frames.
      dense_cam_from_world: (m, 7), one for each frame of the clip; None unless wanted and fit for use.
      dense_refined_share: share of the frames between annotated ones whose pose points confirm; None without such.
      frame: (n,) index of each annotated frame in the clip.
      time_s: (n,) seconds since the clip's first frame.
      size: (width, height) of the annotated frames.
      pose_ok, reason, motion_kind: see `PoseEstimate`; all windows must be fit for use and joined.
      reprojection_px, num_points: over all windows.
      typical_depth: median z-depth of the scene's points in view (of windows: the median), in the poses' unit.
      depth_path, masks_path: finished files; None where there is no such thing.
      depth_valid_share, moving_share: of their pixels.
      tracked_share: mean share of pixels that flow finds again in the next annotated frame.
      focal_sigma: standard deviation of the focal length as a share of it; the median of windows.
      depth_error: relative error of depth from an annotated frame to the next, the mean over frames.
      num_windows: how many windows the clip was annotated in.
      scale_drift: the largest relative change of scale between two windows over the frames that they share.
      join_offset: the largest distance of two windows' camera centres there (root mean square), in typical depths.
      metres_per_unit: the poses' unit in metres (of windows: the median); None where nothing says.
    """

    cam_from_world: FloatArray
    intrinsics_px: FloatArray
    dense_cam_from_world: FloatArray | None
    dense_refined_share: float | None
    frame: npt.NDArray[np.int64]
    time_s: FloatArray
    size: tuple[int, int]
    pose_ok: bool
    reason: str | None
    motion_kind: MotionKind
    reprojection_px: float | None
    num_points: int
    typical_depth: float | None
    depth_path: str | None
    masks_path: str | None
    depth_valid_share: float | None
    moving_share: float | None
    tracked_share: float | None
    focal_sigma: float | None
    depth_error: float | None
    num_windows: int
    scale_drift: float | None
    join_offset: float | None
    metres_per_unit: float | None


def annotate_clip(
    frames: Iterable[ClipFrame],
    clip_size: tuple[int, int],
    known: Intrinsics | None,
    settings: AnnotationSettings,
    estimate: PoseEstimator,
    folder: str,
    *,
    seen: SeenDepths | None = None,
    tracked: TrackedFrames | None = None,
    num_threads: int = 1,
) -> ClipAnnotation:
    """Annotates a clip of any length in bounded memory.

    The clip is cut into windows of `settings.window_frames` annotated frames; each is annotated on its own and joined
    to those before it by the frames that they share. Where one cannot be, or its poses are not fit for use, the clip's
    are not, and the frames from there on have none. The unit of length is that of the median window.

    Args:
      frames: of the clip, in order, with at least one annotated.
      clip_size: (width, height) of the clip's upright picture, in pixels.
      known: the camera, in pixels of the clip.
      settings: how clips are annotated.
      estimate: what finds the poses of a window.
      folder: an empty local folder for the files.
      seen: depth that networks see in the annotated frames.
      tracked: cameras and depth that a network tracked, instead of `estimate` and depth from motion.
      num_threads: most threads to use.
    """
    annotator = _ClipAnnotator(clip_size, known, settings, estimate, folder, seen, tracked, num_threads)
    for window in split_windows(frames, settings.window_frames, settings.window_overlap_frames):
        annotator.add(window)
    return annotator.finish()


@dataclass(frozen=True, slots=True, kw_only=True)
class _WindowFacts:
    """What is remembered of a window; its unit is `scale` long in that of the first one, and `metres` in metres."""

    scale: float
    motion_kind: MotionKind
    typical_depth: float | None
    reprojection_px: float | None
    num_points: int
    focal_sigma: float | None
    metres: float | None


class _ClipAnnotator:
    def __init__(
        self,
        clip_size: tuple[int, int],
        known: Intrinsics | None,
        settings: AnnotationSettings,
        estimate: PoseEstimator,
        folder: str,
        seen: SeenDepths | None,
        tracked: TrackedFrames | None,
        num_threads: int,
    ) -> None:
        self._clip_size = clip_size
        self._known = known
        self._settings = settings
        self._estimate = estimate
        self._folder = folder
        self._seen = seen
        self._tracked_frames = tracked
        self._num_threads = num_threads
        self._size = (0, 0)
        self._frame: list[int] = []
        self._time_s: list[float] = []
        self._every_time_s: list[float] = []
        self._poses: list[FloatArray] = []
        self._corrections: list[tuple[Corrections, float]] = []
        self._intrinsics: list[FloatArray] = []
        self._reason: str | None = None
        self._windows: list[_WindowFacts] = []
        self._joins: list[Join] = []
        self._shared: StoredMaps | None = None
        self._tracked: list[FloatArray] = []
        self._depth_errors: list[FloatArray] = []
        self._depth_file: DepthFile | None = None
        self._masks_file: MasksFile | None = None

    def add(self, window: Window) -> None:
        """Annotates the next window, joins it to those before and writes the maps that no later window changes."""
        frames = ClipFrames.of(window.frames, self._clip_size)
        self._size = frames.size
        self._frame += frames.frame[window.overlap :].tolist()
        self._time_s += frames.time_s[window.overlap :].tolist()
        self._every_time_s += [f.time_s for f in window.frames if f.index >= len(self._every_time_s)]
        # Of pairs of neighbouring frames, those among shared frames have been looked at.
        self._tracked.append(tracked_shares(frames.rgb[max(0, window.overlap - 1) :]))
        if self._reason is not None:
            return
        geometry = self._annotate(frames)
        if geometry.poses.motion_kind != "general" and (window.start or window.following_overlap):
            # Its depth would be in metres, while other windows have another unit.
            geometry = replace(geometry, depth=None, metres_per_unit=None)
        self._take(window, geometry)

    def _annotate(self, frames: ClipFrames) -> ClipGeometry:
        if self._tracked_frames is not None:
            tracked = self._tracked_frames.of_frames(frames.frame, frames.size)
            return tracked_geometry(tracked, self._settings.pose.megasam.min_static)
        mode = self._settings.intrinsics if self._known is not None else "estimate"
        known = None if self._known is None else self._known.resized(self._clip_size, frames.size)
        seen = {}
        if self._seen is not None:
            size = working_size(frames.size, self._settings.depth_max_side_px)
            seen = self._seen.of_frames(frames.frame, size)
        return annotate_frames(
            frames,
            known,
            mode,
            self._num_threads,
            estimate=self._estimate,
            maps_side_px=self._settings.depth_max_side_px,
            relative=seen.get("relative"),
            metric=seen.get("metric"),
        )

    def _take(self, window: Window, geometry: ClipGeometry) -> None:
        poses = geometry.poses
        maps = StoredMaps.of(geometry, map_size(self._size, self._settings.depth_max_side_px))
        join: Join | str | None = None
        if window.start and poses.pose_ok and maps is not None:
            join = self._join(window, geometry, maps)
        if isinstance(join, str) or not poses.pose_ok:
            self._reason = poses.reason if not poses.pose_ok else str(join)
            if window.start:
                self._reason = f"in the window of annotated frames from {window.start} on: {self._reason}"
        if window.start and (self._reason is not None):
            return
        scale = join.scale if isinstance(join, Join) else 1.0
        in_clip = join.apply(poses.cam_from_world) if isinstance(join, Join) else poses.cam_from_world
        if isinstance(join, Join):
            self._joins.append(join)
        first = window.overlap
        if first:
            self._poses[-1][-first:] = blend_poses(self._poses[-1][-first:], in_clip[:first])
        self._poses.append(in_clip[first:].copy())
        count = len(in_clip)
        self._intrinsics.append(np.broadcast_to(poses.intrinsics_px, (count, 4))[first:].copy())
        self._windows.append(
            _WindowFacts(
                scale=scale,
                motion_kind=poses.motion_kind,
                typical_depth=None if geometry.typical_depth is None else geometry.typical_depth * scale,
                reprojection_px=poses.reprojection_px,
                num_points=len(poses.points_world),
                focal_sigma=poses.focal_sigma,
                metres=geometry.metres_per_unit,
            )
        )
        if maps is not None:
            size = maps.depth.shape[2], maps.depth.shape[1]
            intrinsics = resize_intrinsics(np.broadcast_to(poses.intrinsics_px, (count, 4)), self._size, size)
            self._depth_errors.append(depth_errors(maps, poses.cam_from_world, intrinsics))
        if self._settings.poses_every_frame and self._reason is None:
            self._corrections.append((correct_between(window, geometry, *window.decided), scale))
        if maps is not None and self._reason is None:
            self._keep(window, replace(maps, depth=maps.depth * np.float32(scale)), poses.motion_kind)

    def _join(self, window: Window, geometry: ClipGeometry, maps: StoredMaps) -> Join | str:
        count = window.overlap
        moves_before = any(w.motion_kind == "general" for w in self._windows)
        shared = self._shared
        return join_windows(
            Overlap(
                before=self._poses[-1][-count:],
                now=geometry.poses.cam_from_world[:count],
                depth_before=None if shared is None else shared.depth,
                depth_now=maps.depth[:count],
            ),
            needs_scale=moves_before and geometry.poses.motion_kind == "general",
        )

    def _keep(self, window: Window, maps: StoredMaps, kind: MotionKind) -> None:
        """Writes the maps of the frames that this window decides, and remembers those that the next one shares."""
        shared = self._shared
        if kind == "static" and shared is not None:
            # From where the camera stands, what does not move is as far as it was before.
            still = ~maps.moving & (shared.depth[-1] > 0)
            maps = replace(maps, depth=np.where(still, shared.depth[-1], 0), sigma=np.where(still, shared.sigma[-1], 0))
        count = len(maps.depth)
        if self._depth_file is None or self._masks_file is None:
            size = map_size(self._size, self._settings.depth_max_side_px)
            self._depth_file = DepthFile(self._folder, size, self._clip_size)
            self._masks_file = MasksFile(os.path.join(self._folder, "dyn_masks.npz"), size)
        decided = _rows(maps, slice(*window.decided))
        self._depth_file.add(decided)
        self._masks_file.add(decided)
        self._shared = _rows(maps, slice(count - window.following_overlap, count))

    def finish(self) -> ClipAnnotation:
        """The clip's annotation. Call after the last window."""
        count = len(self._frame)
        poses, intrinsics = np.full((count, 7), np.nan), np.full((count, 4), np.nan)
        known = np.concatenate(self._poses) if self._poses else np.zeros((0, 7))
        poses[: len(known)] = known
        intrinsics[: len(known)] = np.concatenate(self._intrinsics)
        intrinsics[len(known) :] = intrinsics[max(0, len(known) - 1)]
        unit = self._unit()
        poses[:, :3] /= unit
        kinds = {w.motion_kind for w in self._windows}
        kind: MotionKind = "general" if "general" in kinds else "rotation" if "rotation" in kinds else "static"
        pose_ok = self._reason is None
        sigmas = [w.focal_sigma for w in self._windows if w.focal_sigma is not None]
        depth_path, masks_path, depth_share, moving_share = self._finish_maps(kind, unit)
        typical = self._typical_depth(unit)
        dense = self._dense_poses(poses, unit) if pose_ok and self._settings.poses_every_frame else None
        num_refined = sum(len(corrections.frame) for corrections, _ in self._corrections)
        return ClipAnnotation(
            cam_from_world=poses,
            dense_cam_from_world=dense,
            dense_refined_share=None if dense is None or len(dense) == count else num_refined / (len(dense) - count),
            intrinsics_px=intrinsics,
            frame=np.array(self._frame, np.int64),
            time_s=np.array(self._time_s, np.float64),
            size=self._size,
            pose_ok=pose_ok,
            reason=self._reason,
            motion_kind=kind,
            reprojection_px=self._reprojection_px(),
            num_points=sum(w.num_points for w in self._windows),
            typical_depth=typical,
            depth_path=depth_path,
            masks_path=masks_path,
            depth_valid_share=depth_share,
            moving_share=moving_share,
            tracked_share=_mean(self._tracked),
            focal_sigma=float(np.median(sigmas)) if sigmas else None,
            depth_error=_mean(self._depth_errors),
            num_windows=len(self._windows),
            scale_drift=max((j.scale_drift for j in self._joins if j.scale_drift is not None), default=None),
            join_offset=max(j.offset for j in self._joins) / unit / typical if self._joins and typical else None,
            metres_per_unit=self._metres_per_unit(unit),
        )

    def _dense_poses(self, poses: FloatArray, unit: float) -> FloatArray:
        dense = interpolate_poses(poses, self._time_s, self._every_time_s)
        for corrections, scale in self._corrections:
            corrections.apply(dense, scale / unit)
        known = np.isfinite(poses).all(axis=1)
        dense[np.array(self._frame)[known]] = poses[known]
        return dense

    def _finish_maps(self, kind: MotionKind, unit: float) -> tuple[str | None, str | None, float | None, float | None]:
        if self._depth_file is None or self._masks_file is None:
            return None, None, None, None
        moving_share = self._masks_file.close()
        self._depth_file.close()
        if self._reason is not None:
            return None, None, None, None
        masks_path = os.path.join(self._folder, "dyn_masks.npz")
        if kind != "general" and self._windows[0].metres is None:
            return None, masks_path, None, moving_share
        depth_path = os.path.join(self._folder, "depth.npz")
        return depth_path, masks_path, self._depth_file.write(depth_path, unit), moving_share

    def _unit(self) -> float:
        """Length of the unit of the median window, in that of the first."""
        scales = [w.scale for w in self._windows if w.motion_kind == "general"]
        return float(np.median(scales)) if scales else 1.0

    def _metres_per_unit(self, unit: float) -> float | None:
        metres = [w.metres / w.scale * unit for w in self._windows if w.metres is not None]
        return float(np.median(metres)) if metres else None

    def _typical_depth(self, unit: float) -> float | None:
        depths = [w.typical_depth / unit for w in self._windows if w.typical_depth is not None]
        return float(np.median(depths)) if depths else None

    def _reprojection_px(self) -> float | None:
        """Root mean square over the points of all windows."""
        found = [(w.reprojection_px, w.num_points) for w in self._windows if w.reprojection_px is not None]
        if len(found) < 2:
            return found[0][0] if found else None
        errors, counts = np.array(found).T
        return float(np.sqrt(np.sum(errors**2 * counts) / counts.sum())) if counts.any() else float(errors.max())


def _mean(parts: list[FloatArray]) -> float | None:
    values = np.concatenate(parts) if parts else np.zeros(0)
    return float(values.mean()) if len(values) else None


def _rows(maps: StoredMaps, which: slice) -> StoredMaps:
    return StoredMaps(depth=maps.depth[which], sigma=maps.sigma[which], moving=maps.moving[which])
