"""Camera poses and sparse inverse depths of a clip, frame by frame, from tracked points."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from models.sfm.ba_problem import PackedPoints, pack_points
from models.sfm.tracks import Tracks
from models.sfm.triangulation import into_frames, rays_of, solve_depths
from native import se3
from native.bundle_adjustment import BundleOptions, BundleProblem, bundle_adjust

MAX_ERROR_PX = 4.0
ROBUST_SCALE_PX = 1.0
MIN_ROBUST_SCALE_PX = 0.1
KERNEL_MEDIANS = 1.5
"""Scale of the robust kernel once places are exact, in medians of their errors."""
MIN_PARALLAX_SIGMAS = 6.0
MIN_DEPTH_RATIO = 0.05
TOLERANCE = 1e-5
USUAL_FOCAL = 0.85
"""Focal length in picture widths that is taken where the motion does not tell it: a field of view of 61 degrees."""
FOCAL_PULL = 0.002
FAR = 1e-6
"""Inverse depth of a point without parallax."""


class Reconstruction:
    """Poses of frames and inverse depths of points in the frame that first sees each ("anchor").

    Args:
      tracks: where points are seen.
      intrinsics_px: (4,) fx, fy, cx, cy.
      num_threads: of the bundle adjuster.
    """

    def __init__(self, tracks: Tracks, intrinsics_px: Float64Array, num_threads: int = 1) -> None:
        self.position = tracks.position
        self.is_used = tracks.is_seen.copy()
        self.weight = np.ones(self.is_used.shape, np.float32)
        self.intrinsics_px = np.array(intrinsics_px, np.float64)
        count, points = self.is_used.shape
        self.cam_from_world = np.tile(np.array([0, 0, 0, 0, 0, 0, 1.0]), (count, 1))
        self.is_registered = np.zeros(count, bool)
        self.anchor = np.full(points, -1, np.int64)
        self.inverse_depth = np.full(points, np.nan)
        self.depth_sigma = np.full(points, np.nan)
        self.robust_scale_px = ROBUST_SCALE_PX
        self.focal_sigma: float | None = None
        self._packed: PackedPoints | None = None
        self._residual: Float32Array | None = None
        self._num_threads = num_threads

    def triangulate(self, frame: int | None = None) -> None:
        """Gives an inverse depth to every point without one that two posed frames see; of one frame only, if given."""
        wanted = np.isnan(self.inverse_depth)
        todo = np.flatnonzero(wanted if frame is None else wanted & self.is_used[frame])
        seen = self.is_used[:, todo] & self.is_registered[:, None]
        is_seen_twice = seen.sum(axis=0) >= 2
        todo, seen = todo[is_seen_twice], seen[:, is_seen_twice]
        if not len(todo):
            return
        anchor = seen.argmax(axis=0)
        self.anchor[todo] = anchor
        found = solve_depths(self.position[:, todo], seen, anchor, self.cam_from_world, self.intrinsics_px)
        ok = (found.worst_px < 2 * MAX_ERROR_PX) & ~found.is_behind
        self.inverse_depth[todo] = np.where(ok, np.maximum(found.inverse_depth, FAR), np.nan)
        self.depth_sigma[todo] = found.sigma

    def is_near(self) -> BoolArray:
        """(m,): whether a point's depth is known well enough to place a camera by it."""
        with np.errstate(invalid="ignore"):
            return np.isfinite(self.inverse_depth) & (self.inverse_depth > MIN_PARALLAX_SIGMAS * self.depth_sigma)

    def place_at_infinity(self) -> None:
        """Takes all frames as posed and all points as infinitely far: what is left to find are rotations."""
        self.is_registered[:] = True
        self.anchor = np.where(self.is_used.any(axis=0), self.is_used.argmax(axis=0), -1)
        self.inverse_depth = np.where(self.is_used.sum(axis=0) >= 2, 0.0, np.nan)

    def move_anchors(self) -> None:
        """Makes the middle one of the posed frames that see a point its anchor."""
        points = np.flatnonzero(np.isfinite(self.inverse_depth))
        seen = self.is_used[:, points] & self.is_registered[:, None]
        points, seen = points[seen.any(axis=0)], seen[:, seen.any(axis=0)]
        order = seen.cumsum(axis=0)
        anchor = (order >= (order[-1] + 1) // 2).argmax(axis=0)
        self.inverse_depth[points] = self.inverse_depth_in(anchor, points)
        self.anchor[points] = anchor

    def inverse_depth_in(self, frame: Int64Array, points: Int64Array) -> Float64Array:
        """(k,) inverse depths of points with one, each in a frame of its own; NaN where it is hardly ahead."""
        rays = rays_of(self.position[self.anchor[points], points], self.intrinsics_px)
        direction, center = into_frames(self.cam_from_world, self.anchor[points], rays, frame, np.arange(len(points)))
        ratio = direction[:, 2] + self.inverse_depth[points] * center[:, 2]
        ok = ratio > MIN_DEPTH_RATIO
        return np.where(ok, self.inverse_depth[points] / np.where(ok, ratio, 1.0), np.nan)

    def world_points(self, points: Int64Array) -> Float64Array:
        """(k, 3) positions in the world of points with an inverse depth."""
        anchor = self.anchor[points]
        local = rays_of(self.position[anchor, points], self.intrinsics_px) / self.inverse_depth[points, None]
        return np.asarray(se3.act(se3.invert(self.cam_from_world)[anchor], local))

    def adjust(
        self,
        *,
        free: Int64Array | None = None,
        points_too: bool = True,
        focal_too: bool = False,
        iterations: int = 10,
    ) -> None:
        """Bundle adjustment of the `free` frames (default: all but the first posed one) and the points they see."""
        fixed = self._all_but(np.flatnonzero(self.is_registered)[1:] if free is None else free)
        packed = self._pack(self.is_registered, self.is_registered if free is None else ~fixed)
        if packed is None:
            return
        usual_px = USUAL_FOCAL * 2 * self.intrinsics_px[2]
        prior = FOCAL_PULL * len(packed.observed[0]) / usual_px**2
        result = bundle_adjust(
            self._problem(packed, fixed),
            self._options(
                iterations=iterations,
                optimize_points=points_too,
                optimize_focal=focal_too,
                focal_prior_px=usual_px,
                focal_prior_weight=prior if focal_too else 0.0,
                variances=focal_too,
            ),
        )
        self.cam_from_world = np.array(result.cam_from_world)
        self.intrinsics_px = np.array(result.intrinsics)
        if points_too:
            self.inverse_depth[packed.points] = np.maximum(result.inverse_depth[packed.slots], FAR)
        self._packed = packed
        self._residual = result.residual_px
        if focal_too:
            self.focal_sigma = self._focal_sigma(result.focal_variance)

    def refine_poses(self, frame: int, iterations: int = 10) -> None:
        """Adjusts the pose of one frame to the points that it sees, each depth as sure as others' views made it.

        Depths that are hardly known must be free to give way: taken as exact they would pull the camera back to the
        place where they were made, and the scale of all that follows with it.
        """
        fixed = self._all_but(np.array([frame]))
        packed = self._pack(~fixed, ~fixed)
        if packed is None:
            return
        # Places have a weight of 1: tracks have drifted by about a pixel when a frame is added.
        information = packed.in_slots(1 / np.square(np.maximum(self.depth_sigma[packed.points], FAR)))
        result = bundle_adjust(self._problem(packed, fixed, information), self._options(iterations=iterations))
        self.cam_from_world = np.array(result.cam_from_world)

    def _all_but(self, free: Int64Array) -> BoolArray:
        fixed = np.ones(len(self.is_registered), bool)
        fixed[free] = False
        return fixed | ~self.is_registered

    def _pack(self, frames: BoolArray, seen_by: BoolArray) -> PackedPoints | None:
        is_known = np.isfinite(self.inverse_depth)
        return pack_points(self.position, self.is_used, self.weight, self.anchor, is_known, frames, seen_by)

    def _problem(
        self, packed: PackedPoints, fixed: BoolArray, information: Float64Array | None = None
    ) -> BundleProblem:
        """What to adjust; `information` (n, width) holds inverse depths where they are, with that weight."""
        inverse_depth = packed.in_slots(self.inverse_depth[packed.points])
        return BundleProblem(
            cam_from_world=self.cam_from_world,
            inverse_depth=inverse_depth,
            pixels=packed.pixels,
            intrinsics=self.intrinsics_px,
            source=packed.source,
            target=packed.target,
            target_px=packed.target_px,
            weight=packed.weight,
            prior_inverse_depth=None if information is None else inverse_depth,
            prior_weight=information,
            fixed=fixed,
        )

    def _options(self, **options: Any) -> BundleOptions:
        return BundleOptions(
            min_depth_ratio=MIN_DEPTH_RATIO,
            min_inverse_depth=FAR,
            robust_kernel="cauchy",
            robust_scale_px=self.robust_scale_px,
            tolerance=TOLERANCE,
            num_threads=self._num_threads,
            **options,
        )

    def _focal_sigma(self, variance_at_1_px: float | None) -> float | None:
        """Relative standard deviation of the focal length, for errors as large as they turned out to be."""
        if variance_at_1_px is None or self._packed is None:
            return None
        # All observations of a point share the error of its place in the anchor: a point counts once.
        shared = len(self._packed.edge) / len(self._packed.points)
        return float(self.noise_px() * np.sqrt(variance_at_1_px * shared))

    def noise_px(self) -> float:
        """Standard deviation of the two numbers of an observation; 0 without any."""
        error = self.residuals()
        error = error[np.isfinite(error)]
        # A few are far off: the median of their length tells the noise of the others.
        return float(np.median(error)) / math.sqrt(2 * math.log(2)) if len(error) else 0.0

    def residuals(self) -> Float64Array:
        """Errors in pixels of the observations of the last adjustment."""
        packed = self._packed
        if packed is None or self._residual is None:
            return np.zeros(0)
        return np.asarray(self._residual[packed.edge, packed.slots[1][packed.observed[1]]], np.float64)

    def drop_outliers(self, limit_px: float = MAX_ERROR_PX) -> None:
        """Forgets observations that the last adjustment left far off, and the depths of points left with none."""
        if self._packed is None:
            return
        frame, which = self._packed.observed
        bad = ~(self.residuals() < limit_px)
        points = self._packed.points[which[bad]]
        self.is_used[frame[bad], points] = False
        seen = (self.is_used[:, points] & self.is_registered[:, None]).sum(axis=0)
        self.inverse_depth[points[seen < 2]] = np.nan

    def tighten_loss_scale(self) -> None:
        """Fits the robust kernel to the errors that are left, so that wrong places among exact ones pull little."""
        error = self.residuals()
        error = error[np.isfinite(error)]
        if len(error):
            scale = KERNEL_MEDIANS * float(np.median(error))
            self.robust_scale_px = float(np.clip(scale, MIN_ROBUST_SCALE_PX, ROBUST_SCALE_PX))

    def fit_score(self) -> float:
        """How many observations the last adjustment explains, those off by a pixel counting half."""
        return float(np.nansum(1 / (1 + np.square(self.residuals()))))
