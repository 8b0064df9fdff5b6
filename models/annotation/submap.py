"""Submap: consecutive windows in the world of the first one, with depth in a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from core.arrays import Float64Array, Int64Array
from models.annotation.geometry import ClipGeometry
from models.annotation.map_files import DepthFile, StoredMaps
from models.annotation.pose_interpolation import PoseCorrections, refine_window_poses
from models.annotation.quality import depth_reprojection_errors
from models.annotation.sim3_alignment import Overlap, Sim3Alignment, align_window, blend_overlap
from models.annotation.windows import Window
from models.sfm.estimate import MotionKind, resize_intrinsics
from models.sfm.intermediate_poses import interpolate_poses
from native import se3


class Submap:
    """Overlapping windows in one world.

    Properties named like a column are described there.

    The final unit of poses and depth is that of the window with the median scale.

    Args:
      size: (width, height) of the annotated frames.
      window, geometry, maps: the first window, what was estimated, and its maps as stored.
      depth_file: file for the depth; None with failed poses, and then no window is appended.
      refine_intermediate: whether poses of frames between annotated ones are refined.
    """

    def __init__(
        self,
        size: tuple[int, int],
        window: Window,
        geometry: ClipGeometry,
        maps: StoredMaps | None,
        depth_file: DepthFile | None = None,
        *,
        refine_intermediate: bool = False,
    ) -> None:
        self.start = self.end = window.start
        self._size = size
        self._depth_file = depth_file
        self._refine_intermediate = refine_intermediate
        self._poses: list[Float64Array] = []
        self._intrinsics: list[Float64Array] = []
        self._windows: list[tuple[ClipGeometry, float]] = []
        """Estimates without maps, and the scale to the first window's unit."""
        self._alignments: list[Sim3Alignment] = []
        self._depth_errors: list[Float64Array] = []
        self._corrections: list[tuple[PoseCorrections, float]] = []
        self._overlap_maps: StoredMaps | None = None
        self._add(window, geometry, maps, None)

    def __len__(self) -> int:
        """Number of annotated frames."""
        return self.end - self.start

    @property
    def pose_ok(self) -> bool:
        return self._depth_file is not None

    def overlaps(self, window: Window) -> bool:
        """Whether the first frame of a window is in the submap."""
        return self.start <= window.start < self.end

    def contains(self, window: Window) -> bool:
        """Whether all frames of a window are in the submap."""
        return self.start <= window.start and window.end <= self.end

    def append(self, window: Window, geometry: ClipGeometry, maps: StoredMaps | None) -> str | None:
        """Aligns and adds an overlapping window; returns the reason if alignment fails.

        Then the submap is unchanged.
        """
        common = self.end - window.start
        alignment = align_window(
            Overlap(
                cam_from_target=self._poses[-1][-common:],
                cam_from_source=geometry.poses.cam_from_world[:common],
                target_depth=None if self._overlap_maps is None else self._overlap_maps.depth[-common:],
                source_depth=None if maps is None else maps.depth[:common],
            ),
            estimate_scale=self.camera_motion_kind == geometry.poses.motion_kind == "general",
        )
        if isinstance(alignment, str):
            return alignment
        self._add(window, geometry, maps, alignment)
        return None

    def _add(
        self, window: Window, geometry: ClipGeometry, maps: StoredMaps | None, alignment: Sim3Alignment | None
    ) -> None:
        poses = geometry.poses
        common = self.end - window.start
        scale, cam_from_world = 1.0, poses.cam_from_world
        if alignment is not None:
            scale, cam_from_world = alignment.scale, alignment.transform_poses(cam_from_world)
            self._alignments.append(alignment)
            self._poses[-1][-common:] = blend_overlap(self._poses[-1][-common:], cam_from_world[:common])
        count = len(cam_from_world)
        intrinsics = np.broadcast_to(poses.intrinsics_px, (count, 4))
        self._poses.append(cam_from_world[common:].copy())
        self._intrinsics.append(intrinsics[common:].copy())
        self.end += count - common
        without_maps = replace(geometry, depth=None, depth_sigma=None, is_depth_valid=None, is_moving=None)
        self._windows.append((without_maps, scale))
        if maps is None:
            return
        map_intrinsics = resize_intrinsics(intrinsics, self._size, (maps.depth.shape[2], maps.depth.shape[1]))
        self._depth_errors.append(depth_reprojection_errors(maps, poses.cam_from_world, map_intrinsics))
        if self._refine_intermediate:
            # The first half of an overlap is taken from the earlier window; see `_store_depth`.
            last = count - (window.next_overlap - window.next_overlap // 2)
            self._corrections.append((refine_window_poses(window, geometry, common // 2, last), scale))
        scaled = replace(maps, depth=maps.depth * np.float32(scale))
        self._store_depth(scaled, poses.motion_kind, common, window.next_overlap)

    def _store_depth(self, maps: StoredMaps, kind: MotionKind, common: int, next_overlap: int) -> None:
        """Writes depth of frames that no later window shares."""
        if self._depth_file is None:
            return
        previous = self._overlap_maps
        if previous is not None:
            if kind == "static":
                # A static camera keeps the depth of static pixels.
                is_known = ~maps.is_moving & (previous.depth[-1] > 0)
                depth, sigma = (np.where(is_known, of[-1], 0) for of in (previous.depth, previous.depth_sigma))
                maps = replace(maps, depth=depth, depth_sigma=sigma)
            self._depth_file.add(previous[: len(previous) - common + common // 2])
        self._depth_file.add(maps[common // 2 : len(maps) - next_overlap])
        self._overlap_maps = maps[len(maps) - next_overlap :]

    def close(self) -> None:
        """Writes the remaining depth after the last window."""
        if self._depth_file is not None:
            if self._overlap_maps is not None:
                self._depth_file.add(self._overlap_maps)
            self._overlap_maps = None
            self._depth_file.close()

    def discard(self) -> None:
        """Deletes the temporary files of the depth."""
        if self._depth_file is not None:
            self._depth_file.discard()

    @property
    def cam_from_world(self) -> Float64Array:
        """(n, 7), NaN in frames without a pose; the world is the first registered camera."""
        poses = np.concatenate(self._poses)
        registered = np.flatnonzero(np.isfinite(poses).all(axis=1))
        if self.start and len(registered):
            # SLAM poses have the world of the clip's first frame.
            poses = np.asarray(se3.compose(poses, se3.invert(poses[registered[0]])))
        poses[:, :3] /= self._median_scale
        return poses

    @property
    def intrinsics_px(self) -> Float64Array:
        """(n, 4) fx fy cx cy in pixels of the annotated frames."""
        return np.concatenate(self._intrinsics)

    def dense_poses(
        self, frame: Int64Array, time_s: Float64Array, all_times_s: Float64Array
    ) -> tuple[Float64Array, float | None]:
        """Poses of all frames from the first annotated frame to the last.

        They go to the end of the clip, if the submap does.

        Args:
          frame, time_s: (n,) index in the clip and time of all annotated frames of the clip.
          all_times_s: (m,) times of all frames of the clip.

        Returns:
          (m, 7) cam_from_world, NaN outside, and the share of intermediate frames whose poses were refined.
        """
        poses, own = self.cam_from_world, slice(self.start, self.end)
        first = frame[self.start]
        end = len(all_times_s) if self.end == len(frame) else frame[self.end - 1] + 1
        dense = np.full((len(all_times_s), 7), np.nan)
        dense[first:end] = interpolate_poses(poses, time_s[own], all_times_s[first:end])
        for corrections, scale in self._corrections:
            corrections.apply(dense, scale / self._median_scale)
        registered = np.isfinite(poses).all(axis=1)
        dense[frame[own][registered]] = poses[registered]
        num_intermediate = int(end - first) - len(self)
        num_refined = sum(len(corrections.frame) for corrections, _ in self._corrections)
        return dense, num_refined / num_intermediate if num_intermediate else None

    def write_depth(self, path: str, num_frames: int) -> float | None:
        """Writes depth for `num_frames` annotated frames of the clip; returns the share of valid pixels.

        None, and no file, without depth, since the camera does not translate.
        """
        no_depth = self.camera_motion_kind != "general" and self._windows[0][0].meters_per_unit is None
        if self._depth_file is None or no_depth:
            return None
        return self._depth_file.write(path, self._median_scale, self.start, num_frames - self.end)

    @property
    def _median_scale(self) -> float:
        """Median length of the windows' units in that of the first."""
        scales = [scale for window, scale in self._windows if window.poses.motion_kind == "general"]
        return float(np.median(scales)) if scales else 1.0

    @property
    def camera_motion_kind(self) -> MotionKind:
        kinds = {window.poses.motion_kind for window, _ in self._windows}
        return "general" if "general" in kinds else "rotation" if "rotation" in kinds else "static"

    @property
    def pose_num_windows(self) -> int:
        return len(self._windows)

    @property
    def pose_num_points(self) -> int:
        return sum(len(window.poses.points_world) for window, _ in self._windows)

    @property
    def scene_depth(self) -> float | None:
        """Median over windows, in the final unit."""
        unit = self._median_scale
        return _median(w.scene_depth * scale / unit for w, scale in self._windows if w.scene_depth is not None)

    @property
    def meters_per_unit(self) -> float | None:
        """Median over windows, of the final unit."""
        unit = self._median_scale
        known = [(w.meters_per_unit, scale) for w, scale in self._windows if w.meters_per_unit is not None]
        return _median(meters / scale * unit for meters, scale in known)

    @property
    def pose_focal_sigma(self) -> float | None:
        """Median over windows."""
        return _median(w.poses.focal_sigma for w, _ in self._windows if w.poses.focal_sigma is not None)

    @property
    def pose_error_percent(self) -> float | None:
        """The largest of all windows."""
        known = [w.poses.error_percent for w, _ in self._windows]
        return max((error for error in known if error is not None), default=None)

    @property
    def depth_reprojection_error(self) -> float | None:
        return mean_of(self._depth_errors)

    @property
    def pose_scale_drift(self) -> float | None:
        return max((a.scale_drift for a in self._alignments if a.scale_drift is not None), default=None)

    @property
    def pose_join_offset(self) -> float | None:
        scene_depth = self.scene_depth
        if not self._alignments or not scene_depth:
            return None
        return max(a.center_rmse for a in self._alignments) / self._median_scale / scene_depth

    @property
    def pose_reprojection_px(self) -> float | None:
        """Root mean square over the 3D points of all windows."""
        known = [w.poses for w, _ in self._windows if w.poses.reprojection_px is not None]
        if len(known) < 2:
            return known[0].reprojection_px if known else None
        errors = np.array([poses.reprojection_px for poses in known])
        counts = np.array([float(len(poses.points_world)) for poses in known])
        return float(np.sqrt(np.sum(errors**2 * counts) / counts.sum())) if counts.any() else float(errors.max())


def mean_of(parts: Iterable[Float64Array]) -> float | None:
    """Mean of the values of all arrays; None without any."""
    values = np.concatenate([np.zeros(0), *parts])
    return float(values.mean()) if len(values) else None


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return float(np.median(known)) if known else None
