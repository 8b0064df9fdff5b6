"""A whole clip's annotation from a stream of its frames: window by window, joined, maps going to files at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.arrays import BoolArray, Float64Array, Int64Array
from media.clip_frames import ClipFrame, ClipFrames
from models.annotation.files import map_size
from models.annotation.geometry import ClipGeometry, annotate_frames, working_size
from models.annotation.map_files import DepthFile, MasksFile, StoredMaps
from models.annotation.quality import tracked_shares
from models.annotation.settings import AnnotationSettings
from models.annotation.slam_geometry import tracked_geometry
from models.annotation.submap import AnnotatedWindow, Stretch, mean_of
from models.annotation.windows import Window, split_windows
from models.depth.mono_depth_file import MonoDepths
from models.sfm.estimate import Intrinsics, MotionKind, PoseEstimator
from models.slam.tracked_frames import TrackedFrames

Mask = BoolArray | None
"""(h, w); None where nothing is known."""

MIN_POSED_SHARE = 0.4
"""Of a long clip's annotated frames, that have a pose: one bad moment, wherever it is, leaves nearly half of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipAnnotation:
    """Spatial annotation of a clip.

    `core.annotations.SpatialAnnotation` declares the other fields. Values of windows are over all of them.

    Attributes:
      cam_from_world: (n, 7), NaN in frames without a pose; see `PoseEstimate`. All are in one world.
      intrinsics_px: (n, 4) fx fy cx cy in pixels of the annotated frames.
      dense_cam_from_world: (m, 7), one for each frame of the clip, NaN before the first and behind the last pose; None
        unless wanted and fit for use.
      frame: (n,) index of each annotated frame in the clip.
      time_s: (n,) seconds since the clip's first frame.
      size: (width, height) of the annotated frames.
      depth_path, masks_path: finished files; None where there is no such thing.
    """

    cam_from_world: Float64Array
    intrinsics_px: Float64Array
    dense_cam_from_world: Float64Array | None
    pose_dense_refined_share: float | None
    frame: Int64Array
    time_s: Float64Array
    size: tuple[int, int]
    pose_ok: bool
    pose_reason: str | None
    camera_motion_kind: MotionKind
    pose_reprojection_px: float | None
    pose_num_points: int
    scene_depth: float | None
    depth_path: str | None
    masks_path: str | None
    depth_valid_share: float | None
    dynamic_ratio: float | None
    pose_tracked_share: float | None
    pose_focal_sigma: float | None
    depth_reprojection_error: float | None
    pose_num_windows: int
    pose_scale_drift: float | None
    pose_join_offset: float | None
    meters_per_unit: float | None


def annotate_clip(
    frames: Iterable[ClipFrame],
    clip_size: tuple[int, int],
    known: Intrinsics | None,
    settings: AnnotationSettings,
    estimate: PoseEstimator,
    folder: str,
    *,
    seen: MonoDepths | None = None,
    tracked: TrackedFrames | None = None,
    num_threads: int = 1,
) -> ClipAnnotation:
    """Annotates a clip of any length in bounded memory.

    The clip is cut into windows of `settings.window_frames` annotated frames; each is annotated on its own and joined
    to those before it by the frames that they share. A window whose poses are not fit for use is tried again in parts,
    between frames that have nothing in common. Where one cannot be joined, or has no poses, the next one that has
    starts a stretch in a world of its own. The longest stretch gives the clip's poses and depth, the other frames have
    none; masks are those of all windows. The unit of length is that of the stretch's median window.

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


class _ClipAnnotator:
    def __init__(
        self,
        clip_size: tuple[int, int],
        known: Intrinsics | None,
        settings: AnnotationSettings,
        estimate: PoseEstimator,
        folder: str,
        seen: MonoDepths | None,
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
        self._tracked: list[Float64Array] = []
        self._first_failure: str | None = None
        self._num_failures = 0
        self._now: Stretch | None = None
        self._best: Stretch | None = None
        self._num_stretches = 0
        self._masks_file: MasksFile | None = None
        self._shared_masks: list[Mask] = []

    def add(self, window: Window) -> None:
        """Annotates the next window, joins it to those before and writes the maps that no later window changes."""
        frames = ClipFrames.of(window.frames, self._clip_size)
        self._size = frames.size
        self._frame += frames.frame[window.overlap :].tolist()
        self._time_s += frames.time_s[window.overlap :].tolist()
        self._every_time_s += [f.time_s for f in window.frames if f.index >= len(self._every_time_s)]
        # Of pairs of neighboring frames, those among shared frames have been looked at.
        self._tracked.append(tracked_shares(frames.rgb[max(0, window.overlap - 1) :]))
        masks: list[Mask] = [None] * len(frames.rgb)
        for found in self._fit_parts(window, frames):
            if found.maps is not None:
                first = found.window.start - window.start
                masks[first : first + len(found.maps)] = found.maps.moving
            self._place(found)
        self._keep_masks(masks, window)

    def _fit_parts(self, window: Window, frames: ClipFrames) -> Iterator[AnnotatedWindow]:
        """The window, if its poses are fit for use, else the parts of it whose poses are."""
        found = self._annotate(window, frames)
        poses = found.geometry.poses
        if poses.pose_ok:
            yield found
            return
        self._fail(window, poses.reason or "")
        self._end(Stretch(found, self._size))
        for part in () if window.is_whole_clip else window.parts(poses.breaks):
            if self._now is None or not self._now.holds(part):
                found = self._annotate(part, ClipFrames.of(part.frames, self._clip_size))
                if found.geometry.poses.pose_ok:
                    yield found

    def _annotate(self, window: Window, frames: ClipFrames) -> AnnotatedWindow:
        geometry = self._geometry_of(frames)
        if geometry.poses.motion_kind != "general" and not window.is_whole_clip:
            # Its depth would be in meters, while other windows have another unit.
            geometry = replace(geometry, depth=None, meters_per_unit=None)
        maps = StoredMaps.of(geometry, self._map_size)
        return AnnotatedWindow(window=window, geometry=geometry, maps=maps)

    def _geometry_of(self, frames: ClipFrames) -> ClipGeometry:
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

    def _place(self, found: AnnotatedWindow) -> None:
        """Joins a window to the stretch before it, or begins another."""
        if self._now is not None:
            if self._now.reaches(found.window):
                reason = self._now.extend(found)
                if reason is None:
                    return
                self._fail(found.window, reason)
            self._end(self._now)
        self._num_stretches += 1
        depth_file = DepthFile(self._folder, self._map_size, self._clip_size, f"-{self._num_stretches}")
        self._now = Stretch(found, self._size, depth_file, corrects_between=self._settings.poses_every_frame)

    def _end(self, stretch: Stretch) -> None:
        """Keeps a finished stretch if it is better than those before it."""
        stretch.close()
        worse = self._best
        if worse is not None and (worse.is_fit, len(worse)) >= (stretch.is_fit, len(stretch)):
            worse, stretch = stretch, worse
        self._best = stretch
        if worse is not None:
            worse.discard()

    def _fail(self, window: Window, reason: str) -> None:
        self._num_failures += 1
        if self._first_failure is None:
            where = f"in the window of annotated frames from {window.start} on, counted from there: "
            self._first_failure = reason if window.is_whole_clip else where + reason

    def _keep_masks(self, masks: Sequence[Mask], window: Window) -> None:
        """Writes masks; of frames that two windows share the earlier one decides the first half, where it can."""
        if self._masks_file is None:
            self._masks_file = MasksFile(self._masks_path, self._map_size)
        half = len(self._shared_masks) // 2
        pairs = list(zip(self._shared_masks, masks, strict=False))
        order = pairs[:half] + [(now, before) for before, now in pairs[half:]]
        settled = [first if first is not None else second for first, second in order] + list(masks[window.overlap :])
        end = len(masks) - window.following_overlap
        self._masks_file.add(settled[:end])
        self._shared_masks = settled[end:]

    @property
    def _map_size(self) -> tuple[int, int]:
        return map_size(self._size, self._settings.depth_max_side_px)

    @property
    def _masks_path(self) -> str:
        return os.path.join(self._folder, "dyn_masks.npz")

    def finish(self) -> ClipAnnotation:
        """The clip's annotation. Call after the last window."""
        if self._now is not None:
            self._end(self._now)
        kept = self._best
        if kept is None or self._masks_file is None:
            raise ValueError("a clip without annotated frames cannot be annotated")
        self._masks_file.add(self._shared_masks)
        frame, time_s = np.array(self._frame, np.int64), np.array(self._time_s, np.float64)
        margins = kept.start, len(frame) - kept.end
        poses = np.pad(kept.cam_from_world, (margins, (0, 0)), constant_values=np.nan)
        pose_ok, reason = self._verdict(kept, np.asarray(np.isfinite(poses).all(axis=1)))
        dense, refined_share, depth_share = None, None, None
        moving_share = self._masks_file.close()
        depth_path = os.path.join(self._folder, "depth.npz")
        if pose_ok:
            depth_share = kept.write_depth(depth_path, len(frame))
            if self._settings.poses_every_frame:
                dense, refined_share = kept.dense_poses(frame, time_s, np.array(self._every_time_s))
        return ClipAnnotation(
            cam_from_world=poses,
            dense_cam_from_world=dense,
            pose_dense_refined_share=refined_share,
            intrinsics_px=np.pad(kept.intrinsics_px, (margins, (0, 0)), mode="edge"),
            frame=frame,
            time_s=time_s,
            size=self._size,
            pose_ok=pose_ok,
            pose_reason=reason,
            camera_motion_kind=kept.motion_kind,
            pose_reprojection_px=kept.reprojection_px,
            pose_num_points=kept.num_points,
            scene_depth=kept.scene_depth,
            depth_path=None if depth_share is None else depth_path,
            masks_path=self._masks_path if pose_ok else None,
            depth_valid_share=depth_share,
            dynamic_ratio=moving_share if pose_ok else None,
            pose_tracked_share=mean_of(self._tracked),
            pose_focal_sigma=kept.focal_sigma,
            depth_reprojection_error=kept.depth_error,
            pose_num_windows=kept.num_windows,
            pose_scale_drift=kept.scale_drift,
            pose_join_offset=kept.join_offset,
            meters_per_unit=kept.meters_per_unit,
        )

    def _verdict(self, kept: Stretch, has_pose: BoolArray) -> tuple[bool, str | None]:
        """Whether the poses are fit for use, and why they or some of them are not."""
        count = len(has_pose)
        others = f" (the first of {self._num_failures} failures)" if self._num_failures > 1 else ""
        why = None if self._first_failure is None else self._first_failure + others
        if why is None or not kept.is_fit:
            return why is None, why
        if len(kept) == count:
            return True, None
        reason = f"of {count} annotated frames only those from {kept.start} to {kept.end - 1} have poses: {why}"
        return bool(has_pose.mean() >= MIN_POSED_SHARE), reason
