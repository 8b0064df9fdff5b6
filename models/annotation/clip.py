"""Spatial annotation of a clip, window by window, from a stream of frames.

Windows are aligned to submaps; maps go to files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from core.annotations import AnnotationValues
from core.arrays import BoolArray, Float64Array, Int64Array
from media.clip_frames import ClipFrame, ClipFrames
from models.annotation.files import map_size
from models.annotation.geometry import ClipGeometry, annotate_frames, estimation_size
from models.annotation.map_files import DepthFile, MasksFile, StoredMaps
from models.annotation.quality import consistent_flow_shares
from models.annotation.settings import AnnotationSettings
from models.annotation.slam_geometry import tracked_geometry
from models.annotation.submap import Submap, mean_of
from models.annotation.windows import Window, split_windows
from models.depth.mono_depth_file import MonoDepths
from models.sfm.estimate import Intrinsics, PoseEstimator
from models.slam.tracked_frames import TrackedFrames

Mask = BoolArray | None
"""(h, w) dynamic mask; None if unknown."""

MIN_REGISTERED_SHARE = 0.4
"""Least share of registered frames in a long clip: after one failure anywhere, nearly half of the frames remain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipAnnotation(AnnotationValues):
    """Spatial annotation of a clip: its values, arrays and local files.

    Attributes:
      cam_from_world: (n, 7) in one world, NaN in frames without a pose; see `PoseEstimate`.
      intrinsics_px: (n, 4) fx fy cx cy in pixels of the annotated frames.
      dense_cam_from_world: (m, 7), one for each frame of the clip, NaN outside of the submap; None unless wanted and
        `pose_ok`.
      frame: (n,) index of each annotated frame in the clip.
      time_s: (n,) seconds since the clip's first frame.
      size: (width, height) of the annotated frames.
      depth_path, masks_path: finished files; None without depth or masks.
    """

    cam_from_world: Float64Array
    intrinsics_px: Float64Array
    dense_cam_from_world: Float64Array | None
    frame: Int64Array
    time_s: Float64Array
    size: tuple[int, int]
    depth_path: str | None
    masks_path: str | None


def annotate_clip(
    frames: Iterable[ClipFrame],
    clip_size: tuple[int, int],
    known: Intrinsics | None,
    settings: AnnotationSettings,
    estimate: PoseEstimator,
    folder: str,
    *,
    mono_depths: MonoDepths | None = None,
    tracked: TrackedFrames | None = None,
    num_threads: int = 1,
) -> ClipAnnotation:
    """Annotates a clip of any length in bounded memory.

    Each window of `settings.window_frames` annotated frames is annotated on its own and aligned to the submap before
    it by Sim(3), from the frames that they share. A window with failed poses is split at its tracking breaks, and its
    segments are tried. A window that cannot be aligned begins a new submap. The longest submap gives poses and depth,
    in the unit of its window with the median scale; other frames have none. Masks are those of all windows.

    Args:
      frames: of the clip, in order, with at least one annotated.
      clip_size: (width, height) of the upright clip, in pixels.
      known: known intrinsics in pixels of the clip; None if unknown.
      settings: annotation settings.
      estimate: pose estimator of a window.
      folder: an empty local folder for the files.
      mono_depths: monocular depth of the annotated frames.
      tracked: SLAM's poses and depth, in place of `estimate` and depth from motion.
      num_threads: most threads to use.
    """
    annotator = _ClipAnnotator(clip_size, known, settings, estimate, folder, mono_depths, tracked, num_threads)
    for window in split_windows(frames, settings.window_frames, settings.window_overlap_frames):
        annotator.add(window)
    return annotator.finish()


@dataclass(slots=True)
class _ClipAnnotator:
    _clip_size: tuple[int, int]
    _known: Intrinsics | None
    _settings: AnnotationSettings
    _estimate: PoseEstimator
    _folder: str
    _mono_depths: MonoDepths | None
    _tracked: TrackedFrames | None
    _num_threads: int
    _size: tuple[int, int] = (0, 0)
    _frame: list[int] = field(default_factory=list)
    _time_s: list[float] = field(default_factory=list)
    _all_times_s: list[float] = field(default_factory=list)
    _flow_shares: list[Float64Array] = field(default_factory=list)
    _first_failure: str | None = None
    _num_failures: int = 0
    _current: Submap | None = None
    _longest: Submap | None = None
    _num_submaps: int = 0
    _masks_file: MasksFile | None = None
    _overlap_masks: list[Mask] = field(default_factory=list)

    def add(self, window: Window) -> None:
        """Annotates the next window, aligns it to the submap and writes finished maps."""
        frames = ClipFrames.of(window.frames, self._clip_size)
        self._size = frames.size
        self._frame += frames.frame[window.overlap :].tolist()
        self._time_s += frames.time_s[window.overlap :].tolist()
        self._all_times_s += [f.time_s for f in window.frames if f.index >= len(self._all_times_s)]
        # Pairs of frames inside the overlap were measured with the previous window.
        self._flow_shares.append(consistent_flow_shares(frames.rgb[max(0, window.overlap - 1) :]))
        masks: list[Mask] = [None] * len(frames.rgb)
        for part, geometry, maps in self._annotate_parts(window, frames):
            if maps is not None:
                first = part.start - window.start
                masks[first : first + len(maps)] = maps.is_moving
            self._add_to_submap(part, geometry, maps)
        self._write_masks(masks, window)

    def _annotate_parts(
        self, window: Window, frames: ClipFrames
    ) -> Iterator[tuple[Window, ClipGeometry, StoredMaps | None]]:
        """Yields the window, or its registered parts if its poses fail, with stored maps."""
        geometry, maps = self._annotate(window, frames)
        poses = geometry.poses
        if poses.pose_ok:
            yield window, geometry, maps
            return
        self._record_failure(window, poses.reason or "")
        self._close_submap(Submap(self._size, window, geometry, maps))
        for segment in window.segments(poses.breaks):
            if self._current is None or not self._current.contains(segment):
                geometry, maps = self._annotate(segment, ClipFrames.of(segment.frames, self._clip_size))
                if geometry.poses.pose_ok:
                    yield segment, geometry, maps

    def _annotate(self, window: Window, frames: ClipFrames) -> tuple[ClipGeometry, StoredMaps | None]:
        geometry = self._estimate_geometry(frames)
        if geometry.poses.motion_kind != "general" and not window.is_whole_clip:
            # Its depth would be metric, while that of other windows is up to scale.
            geometry = replace(geometry, depth=None, meters_per_unit=None)
        return geometry, StoredMaps.of(geometry, self._map_size)

    def _estimate_geometry(self, frames: ClipFrames) -> ClipGeometry:
        if self._tracked is not None:
            tracked = self._tracked.of_frames(frames.frame, frames.size)
            return tracked_geometry(tracked, self._settings.pose.megasam.min_static)
        mode = self._settings.intrinsics if self._known is not None else "estimate"
        known = None if self._known is None else self._known.resized(self._clip_size, frames.size)
        depths = {}
        if self._mono_depths is not None:
            size = estimation_size(frames.size, self._settings.depth_max_side_px)
            depths = self._mono_depths.of_frames(frames.frame, size)
        return annotate_frames(
            frames,
            known,
            mode,
            self._num_threads,
            estimate=self._estimate,
            maps_side_px=self._settings.depth_max_side_px,
            relative=depths.get("relative"),
            metric=depths.get("metric"),
        )

    def _add_to_submap(self, window: Window, geometry: ClipGeometry, maps: StoredMaps | None) -> None:
        """Appends a window to the current submap, or begins a new one."""
        if self._current is not None:
            if self._current.overlaps(window):
                reason = self._current.append(window, geometry, maps)
                if reason is None:
                    return
                self._record_failure(window, reason)
            self._close_submap(self._current)
        self._num_submaps += 1
        depth_file = DepthFile(self._folder, self._map_size, self._clip_size, f"-{self._num_submaps}")
        refine = self._settings.poses_every_frame
        self._current = Submap(self._size, window, geometry, maps, depth_file, refine_intermediate=refine)

    def _close_submap(self, submap: Submap) -> None:
        """Closes a submap and keeps it if it is the longest one."""
        submap.close()
        other = self._longest
        if other is not None and (other.pose_ok, len(other)) >= (submap.pose_ok, len(submap)):
            other, submap = submap, other
        self._longest = submap
        if other is not None:
            other.discard()

    def _record_failure(self, window: Window, reason: str) -> None:
        self._num_failures += 1
        if self._first_failure is None:
            where = f"in the window of annotated frames from {window.start} on, counted from there: "
            self._first_failure = reason if window.is_whole_clip else where + reason

    def _write_masks(self, masks: Sequence[Mask], window: Window) -> None:
        """Writes masks; overlaps are shared half and half with the earlier window."""
        if self._masks_file is None:
            self._masks_file = MasksFile(self._masks_path, self._map_size)
        half = len(self._overlap_masks) // 2
        pairs = list(zip(self._overlap_masks, masks, strict=False))
        order = pairs[:half] + [(later, earlier) for earlier, later in pairs[half:]]
        merged = [first if first is not None else second for first, second in order] + list(masks[window.overlap :])
        end = len(masks) - window.next_overlap
        self._masks_file.add(merged[:end])
        self._overlap_masks = merged[end:]

    @property
    def _map_size(self) -> tuple[int, int]:
        return map_size(self._size, self._settings.depth_max_side_px)

    @property
    def _masks_path(self) -> str:
        return os.path.join(self._folder, "dyn_masks.npz")

    def finish(self) -> ClipAnnotation:
        """The clip's annotation, after the last window."""
        if self._current is not None:
            self._close_submap(self._current)
        submap = self._longest
        if submap is None or self._masks_file is None:
            raise ValueError("a clip without annotated frames cannot be annotated")
        self._masks_file.add(self._overlap_masks)
        dynamic_ratio = self._masks_file.close()
        frame, time_s = np.array(self._frame, np.int64), np.array(self._time_s, np.float64)
        margins = submap.start, len(frame) - submap.end
        poses = np.pad(submap.cam_from_world, (margins, (0, 0)), constant_values=np.nan)
        is_registered = np.asarray(np.isfinite(poses).all(axis=1))
        pose_ok, reason = self._pose_status(submap, is_registered)
        dense, refined_share, depth_share = None, None, None
        depth_path = os.path.join(self._folder, "depth.npz")
        if pose_ok:
            depth_share = submap.write_depth(depth_path, len(frame))
            if self._settings.poses_every_frame:
                dense, refined_share = submap.dense_poses(frame, time_s, np.array(self._all_times_s))
        no_depth_reason = "the camera does not translate" if pose_ok else reason
        return ClipAnnotation(
            cam_from_world=poses,
            dense_cam_from_world=dense,
            pose_dense_refined_share=refined_share,
            intrinsics_px=np.pad(submap.intrinsics_px, (margins, (0, 0)), mode="edge"),
            frame=frame,
            time_s=time_s,
            size=self._size,
            num_annotated_frames=len(frame),
            pose_ok=pose_ok,
            pose_reason=reason,
            camera_motion_kind=submap.camera_motion_kind,
            pose_registered_share=float(is_registered.mean()),
            pose_reprojection_px=submap.pose_reprojection_px,
            pose_num_points=submap.pose_num_points,
            scene_depth=submap.scene_depth,
            depth_path=None if depth_share is None else depth_path,
            depth_reason=no_depth_reason if depth_share is None else None,
            masks_path=self._masks_path if pose_ok else None,
            masks_reason=None if pose_ok else reason,
            depth_valid_share=depth_share,
            dynamic_ratio=dynamic_ratio if pose_ok else None,
            pose_tracked_share=mean_of(self._flow_shares),
            pose_focal_sigma=submap.pose_focal_sigma,
            pose_error_percent=submap.pose_error_percent,
            depth_reprojection_error=submap.depth_reprojection_error,
            pose_num_windows=submap.pose_num_windows,
            pose_scale_drift=submap.pose_scale_drift,
            pose_join_offset=submap.pose_join_offset,
            meters_per_unit=submap.meters_per_unit,
        )

    def _pose_status(self, submap: Submap, is_registered: BoolArray) -> tuple[bool, str | None]:
        """Whether the poses are fit for use, and the reason for missing poses."""
        count = len(is_registered)
        others = f" (the first of {self._num_failures} failures)" if self._num_failures > 1 else ""
        failure = None if self._first_failure is None else self._first_failure + others
        if failure is None or not submap.pose_ok:
            return failure is None, failure
        if len(submap) == count:
            return True, None
        reason = f"of {count} annotated frames only those from {submap.start} to {submap.end - 1} have poses: {failure}"
        return bool(is_registered.mean() >= MIN_REGISTERED_SHARE), reason
