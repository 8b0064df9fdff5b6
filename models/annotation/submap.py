"""A stretch of a clip in one world: windows joined one behind the other, their depth waiting in a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from core.arrays import Float64Array, Int64Array
from models.annotation.geometry import ClipGeometry
from models.annotation.map_files import DepthFile, StoredMaps
from models.annotation.pose_interpolation import Corrections, correct_between
from models.annotation.quality import depth_errors
from models.annotation.sim3_alignment import Join, Overlap, blend_poses, join_windows
from models.annotation.windows import Window
from models.sfm.estimate import MotionKind, resize_intrinsics
from models.sfm.intermediate_poses import interpolate_poses
from native import se3


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedWindow:
    """A window and what was found of it; `maps` as they are stored, None where its poses are not fit for use."""

    window: Window
    geometry: ClipGeometry
    maps: StoredMaps | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _WindowFacts:
    """What is remembered of a window; its unit is `scale` long in that of the first one, and `meters` in meters."""

    scale: float
    motion_kind: MotionKind
    scene_depth: float | None
    reprojection_px: float | None
    num_points: int
    focal_sigma: float | None
    meters: float | None


class Stretch:
    """Windows in the world of the first of them.

    The unit of length is that of the median window: poses and depth are in it once the last window is there.

    Args:
      first: its first window.
      size: (width, height) of the annotated frames.
      depth_file: takes its depth; None for a window whose poses are not fit for use, which is never extended.
      corrects_between: whether poses between annotated frames are looked for.
    """

    def __init__(
        self,
        first: AnnotatedWindow,
        size: tuple[int, int],
        depth_file: DepthFile | None = None,
        *,
        corrects_between: bool = False,
    ) -> None:
        self.start = self.end = first.window.start
        self._size = size
        self._depth_file = depth_file
        self._corrects_between = corrects_between
        self._poses: list[Float64Array] = []
        self._intrinsics: list[Float64Array] = []
        self._windows: list[_WindowFacts] = []
        self._joins: list[Join] = []
        self._depth_errors: list[Float64Array] = []
        self._corrections: list[tuple[Corrections, float]] = []
        self._shared: StoredMaps | None = None
        self._take(first, None)

    def __len__(self) -> int:
        """Annotated frames."""
        return self.end - self.start

    @property
    def is_fit(self) -> bool:
        """Whether its poses are fit for use."""
        return self._depth_file is not None

    def reaches(self, window: Window) -> bool:
        """Whether it has the first frames of a window."""
        return self.start <= window.start < self.end

    def holds(self, window: Window) -> bool:
        """Whether it has all frames of a window."""
        return self.start <= window.start and window.end <= self.end

    def extend(self, found: AnnotatedWindow) -> str | None:
        """Joins the next window, whose first frames it has; or says why that cannot be done, and stays as it is."""
        common = self.end - found.window.start
        now = found.geometry.poses
        join = join_windows(
            Overlap(
                before=self._poses[-1][-common:],
                now=now.cam_from_world[:common],
                depth_before=None if self._shared is None else self._shared.depth[-common:],
                depth_now=None if found.maps is None else found.maps.depth[:common],
            ),
            needs_scale=now.motion_kind == "general" and any(w.motion_kind == "general" for w in self._windows),
        )
        if isinstance(join, str):
            return join
        self._take(found, join)
        return None

    def _take(self, found: AnnotatedWindow, join: Join | None) -> None:
        window, geometry = found.window, found.geometry
        poses = geometry.poses
        common = self.end - window.start
        scale, in_world = 1.0, poses.cam_from_world
        if join is not None:
            scale, in_world = join.scale, join.apply(in_world)
            self._joins.append(join)
            self._poses[-1][-common:] = blend_poses(self._poses[-1][-common:], in_world[:common])
        count = len(in_world)
        intrinsics = np.broadcast_to(poses.intrinsics_px, (count, 4))
        self._poses.append(in_world[common:].copy())
        self._intrinsics.append(intrinsics[common:].copy())
        self.end += count - common
        self._windows.append(
            _WindowFacts(
                scale=scale,
                motion_kind=poses.motion_kind,
                scene_depth=None if geometry.scene_depth is None else geometry.scene_depth * scale,
                reprojection_px=poses.reprojection_px,
                num_points=len(poses.points_world),
                focal_sigma=poses.focal_sigma,
                meters=geometry.meters_per_unit,
            )
        )
        if found.maps is None:
            return
        size = found.maps.depth.shape[2], found.maps.depth.shape[1]
        of_maps = resize_intrinsics(intrinsics, self._size, size)
        self._depth_errors.append(depth_errors(found.maps, poses.cam_from_world, of_maps))
        if self._corrects_between:
            # Of frames that two windows share the earlier one decides the first half; see `_keep_depth`.
            last = count - (window.following_overlap - window.following_overlap // 2)
            self._corrections.append((correct_between(window, geometry, common // 2, last), scale))
        scaled = replace(found.maps, depth=found.maps.depth * np.float32(scale))
        self._keep_depth(scaled, poses.motion_kind, common, window.following_overlap)

    def _keep_depth(self, maps: StoredMaps, kind: MotionKind, common: int, following: int) -> None:
        """Hands on the depth of frames that no later window changes, and remembers that of those that one may."""
        if self._depth_file is None:
            return
        shared = self._shared
        if shared is not None:
            if kind == "static":
                # From where the camera stands, what does not move is as far as it was before.
                still = ~maps.moving & (shared.depth[-1] > 0)
                depth, sigma = (np.where(still, of[-1], 0) for of in (shared.depth, shared.sigma))
                maps = replace(maps, depth=depth, sigma=sigma)
            self._depth_file.add(shared.rows(slice(len(shared) - common + common // 2)))
        self._depth_file.add(maps.rows(slice(common // 2, len(maps) - following)))
        self._shared = maps.rows(slice(len(maps) - following, None))

    def close(self) -> None:
        """Ends the stretch: no window follows."""
        if self._depth_file is not None:
            if self._shared is not None:
                self._depth_file.add(self._shared)
            self._shared = None
            self._depth_file.close()

    def discard(self) -> None:
        """Gives up the depth."""
        if self._depth_file is not None:
            self._depth_file.discard()

    @property
    def cam_from_world(self) -> Float64Array:
        """(n, 7), NaN where a frame has none; the world is the camera of the first one that has."""
        poses = np.concatenate(self._poses)
        known = np.flatnonzero(np.isfinite(poses).all(axis=1))
        if self.start and len(known):
            # Cameras that were tracked through the whole clip are in the world of its first frame.
            poses = np.asarray(se3.compose(poses, se3.invert(poses[known[0]])))
        poses[:, :3] /= self.unit
        return poses

    @property
    def intrinsics_px(self) -> Float64Array:
        """(n, 4) fx fy cx cy in pixels of the annotated frames."""
        return np.concatenate(self._intrinsics)

    def dense_poses(
        self, frame: Int64Array, time_s: Float64Array, every_time_s: Float64Array
    ) -> tuple[Float64Array, float | None]:
        """Poses of the clip's frames from the stretch's first annotated one to its last one, or to the clip's end.

        Args:
          frame, time_s: (n,) index in the clip and time of all its annotated frames.
          every_time_s: (m,) times of all its frames.

        Returns:
          (m, 7) cam_from_world, NaN outside, and the share of those between annotated frames that points confirm.
        """
        poses, own = self.cam_from_world, slice(self.start, self.end)
        first = frame[self.start]
        end = len(every_time_s) if self.end == len(frame) else frame[self.end - 1] + 1
        dense = np.full((len(every_time_s), 7), np.nan)
        dense[first:end] = interpolate_poses(poses, time_s[own], every_time_s[first:end])
        for corrections, scale in self._corrections:
            corrections.apply(dense, scale / self.unit)
        known = np.isfinite(poses).all(axis=1)
        dense[frame[own][known]] = poses[known]
        num_between = int(end - first) - len(self)
        num_refined = sum(len(corrections.frame) for corrections, _ in self._corrections)
        return dense, num_refined / num_between if num_between else None

    def write_depth(self, path: str, num_frames: int) -> float | None:
        """Writes the depth of a clip of so many annotated frames; returns the share of pixels that have one.

        None, and no file, where there is none, since the camera does not translate.
        """
        no_depth = self.motion_kind != "general" and self._windows[0].meters is None
        if self._depth_file is None or no_depth:
            return None
        return self._depth_file.write(path, self.unit, self.start, num_frames - self.end)

    @property
    def unit(self) -> float:
        """Length of the unit of the median window, in that of the first."""
        scales = [w.scale for w in self._windows if w.motion_kind == "general"]
        return float(np.median(scales)) if scales else 1.0

    @property
    def motion_kind(self) -> MotionKind:
        """That of the window that moves most."""
        kinds = {w.motion_kind for w in self._windows}
        return "general" if "general" in kinds else "rotation" if "rotation" in kinds else "static"

    @property
    def num_windows(self) -> int:
        return len(self._windows)

    @property
    def num_points(self) -> int:
        return sum(w.num_points for w in self._windows)

    @property
    def scene_depth(self) -> float | None:
        return _median(w.scene_depth / self.unit for w in self._windows if w.scene_depth is not None)

    @property
    def meters_per_unit(self) -> float | None:
        return _median(w.meters / w.scale * self.unit for w in self._windows if w.meters is not None)

    @property
    def focal_sigma(self) -> float | None:
        return _median(w.focal_sigma for w in self._windows if w.focal_sigma is not None)

    @property
    def depth_error(self) -> float | None:
        return mean_of(self._depth_errors)

    @property
    def scale_drift(self) -> float | None:
        return max((j.scale_drift for j in self._joins if j.scale_drift is not None), default=None)

    @property
    def join_offset(self) -> float | None:
        """In typical depths."""
        typical = self.scene_depth
        return max(j.offset for j in self._joins) / self.unit / typical if self._joins and typical else None

    @property
    def reprojection_px(self) -> float | None:
        """Root mean square over the points of all windows."""
        found = [(w.reprojection_px, w.num_points) for w in self._windows if w.reprojection_px is not None]
        if len(found) < 2:
            return found[0][0] if found else None
        errors, counts = np.array(found).T
        return float(np.sqrt(np.sum(errors**2 * counts) / counts.sum())) if counts.any() else float(errors.max())


def mean_of(parts: Iterable[Float64Array]) -> float | None:
    """Mean of the values of all arrays; None without any."""
    values = np.concatenate([np.zeros(0), *parts])
    return float(values.mean()) if len(values) else None


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return float(np.median(known)) if known else None
