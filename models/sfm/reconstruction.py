"""Sparse reconstruction of a clip: camera poses and points by inverse depth, with bundle adjustment."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from models.sfm.ba_problem import PackedObservations, pack_observations
from models.sfm.tracks import Tracks
from models.sfm.triangulation import MIN_DEPTH_RATIO, transform_rays, triangulate_points, unproject
from native import se3
from native.bundle_adjustment import BundleOptions, BundleProblem, bundle_adjust

MAX_REPROJECTION_ERROR_PX = 4.0
LOSS_SCALE_PX = 1.0
MIN_LOSS_SCALE_PX = 0.1
LOSS_SCALE_MEDIANS = 1.5
"""Loss scale after patch refinement, in medians of the reprojection errors."""
MIN_INVERSE_DEPTH_SIGMAS = 6.0
TOLERANCE = 1e-5
PRIOR_FOCAL = 0.85
"""Prior focal length in image widths, for motions that do not determine it: a field of view of 61 degrees."""
FOCAL_PRIOR_WEIGHT = 0.002
MIN_INVERSE_DEPTH = 1e-6
"""Inverse depth of points without parallax."""


class Reconstruction:
    """Camera poses, and 3D points by inverse depth in reference frames.

    A point lies on the ray of a keypoint (Civera et al. 2008).

    Attributes, for n frames and m tracks, each at most one point:
      keypoints_px, is_observed, weight: (n, m, 2), (n, m), (n, m): keypoints, whether they are observations that no
        filter removed, and their weights.
      cam_from_world, is_registered: (n, 7) and (n,).
      reference, inverse_depth, depth_sigma: (m,) reference ("anchor") frame, -1 for none; inverse depth there, NaN
        if not triangulated; its standard deviation.

    Args:
      tracks: tracks of the clip.
      intrinsics_px: (4,) fx, fy, cx, cy.
      num_threads: of the bundle adjuster.
    """

    def __init__(self, tracks: Tracks, intrinsics_px: Float64Array, num_threads: int = 1) -> None:
        self.keypoints_px = tracks.keypoints_px
        self.is_observed = tracks.is_tracked.copy()
        self.weight = np.ones(self.is_observed.shape, np.float32)
        self.intrinsics_px = np.array(intrinsics_px, np.float64)
        count, points = self.is_observed.shape
        self.cam_from_world = np.tile(np.array([0, 0, 0, 0, 0, 0, 1.0]), (count, 1))
        self.is_registered = np.zeros(count, bool)
        self.reference = np.full(points, -1, np.int64)
        self.inverse_depth = np.full(points, np.nan)
        self.depth_sigma = np.full(points, np.nan)
        self.loss_scale_px = LOSS_SCALE_PX
        self.focal_sigma: float | None = None
        self._packed: PackedObservations | None = None
        self._residual: Float32Array | None = None
        self._num_threads = num_threads

    def triangulate(self, frame: int | None = None) -> None:
        """Triangulates tracks without a point that two registered frames observe.

        Only those of one frame, if it is given.
        """
        is_missing = np.isnan(self.inverse_depth)
        points = np.flatnonzero(is_missing if frame is None else is_missing & self.is_observed[frame])
        observed = self.is_observed[:, points] & self.is_registered[:, None]
        is_observed_twice = observed.sum(axis=0) >= 2
        points, observed = points[is_observed_twice], observed[:, is_observed_twice]
        if not len(points):
            return
        self.reference[points] = reference = observed.argmax(axis=0)
        camera = self.cam_from_world, self.intrinsics_px
        found = triangulate_points(self.keypoints_px[:, points], observed, reference, *camera)
        ok = (found.max_error_px < 2 * MAX_REPROJECTION_ERROR_PX) & ~found.is_behind
        self.inverse_depth[points] = np.where(ok, np.maximum(found.inverse_depth, MIN_INVERSE_DEPTH), np.nan)
        self.depth_sigma[points] = found.sigma

    def is_well_triangulated(self) -> BoolArray:
        """(m,): whether a point's depth is certain enough for registration of other frames."""
        with np.errstate(invalid="ignore"):
            return np.isfinite(self.inverse_depth) & (self.inverse_depth > MIN_INVERSE_DEPTH_SIGMAS * self.depth_sigma)

    def initialize_pure_rotation(self) -> None:
        """Registers all frames with all points at infinity.

        So only rotations are left to estimate.
        """
        self.is_registered[:] = True
        self.reference = np.where(self.is_observed.any(axis=0), self.is_observed.argmax(axis=0), -1)
        self.inverse_depth = np.where(self.is_observed.sum(axis=0) >= 2, 0.0, np.nan)

    def set_median_reference_frames(self) -> None:
        """Makes the median observing registered frame each point's reference frame."""
        points = np.flatnonzero(np.isfinite(self.inverse_depth))
        observed = self.is_observed[:, points] & self.is_registered[:, None]
        points, observed = points[observed.any(axis=0)], observed[:, observed.any(axis=0)]
        order = observed.cumsum(axis=0)
        reference = (order >= (order[-1] + 1) // 2).argmax(axis=0)
        self.inverse_depth[points] = self.inverse_depth_in(reference, points)
        self.reference[points] = reference

    def inverse_depth_in(self, frame: Int64Array, points: Int64Array) -> Float64Array:
        """(k,) inverse depths of triangulated points in (k,) frames.

        NaN for points behind the camera.
        """
        reference = self.reference[points]
        rays = unproject(self.keypoints_px[reference, points], self.intrinsics_px)
        direction, center = transform_rays(self.cam_from_world, reference, rays, frame, np.arange(len(points)))
        ratio = direction[:, 2] + self.inverse_depth[points] * center[:, 2]
        ok = ratio > MIN_DEPTH_RATIO
        return np.where(ok, self.inverse_depth[points] / np.where(ok, ratio, 1.0), np.nan)

    def world_points(self, points: Int64Array) -> Float64Array:
        """(k, 3) world coordinates of triangulated points."""
        reference = self.reference[points]
        local = unproject(self.keypoints_px[reference, points], self.intrinsics_px) / self.inverse_depth[points, None]
        return np.asarray(se3.act(se3.invert(self.cam_from_world)[reference], local))

    def bundle_adjust(
        self,
        *,
        free_frames: Int64Array | None = None,
        optimize_points: bool = True,
        optimize_focal: bool = False,
        iterations: int = 10,
    ) -> None:
        """Bundle adjustment (Triggs et al. 2000) with a Cauchy loss.

        Of frames and the points that they observe.

        Args:
          free_frames: frames whose poses are optimized; default: all registered ones but the first.
          optimize_points, optimize_focal: whether to optimize inverse depths and the focal length too.
          iterations: maximum.
        """
        fixed = self._fixed_frames(np.flatnonzero(self.is_registered)[1:] if free_frames is None else free_frames)
        packed = self._pack(self.is_registered, self.is_registered if free_frames is None else ~fixed)
        if packed is None:
            return
        prior_px = PRIOR_FOCAL * 2 * self.intrinsics_px[2]
        prior_weight = FOCAL_PRIOR_WEIGHT * len(packed.observations[0]) / prior_px**2
        result = bundle_adjust(
            self._problem(packed, fixed),
            self._options(
                iterations=iterations,
                optimize_points=optimize_points,
                optimize_focal=optimize_focal,
                focal_prior_px=prior_px,
                focal_prior_weight=prior_weight if optimize_focal else 0.0,
                variances=optimize_focal,
            ),
        )
        self.cam_from_world = np.array(result.cam_from_world)
        self.intrinsics_px = np.array(result.intrinsics)
        if optimize_points:
            self.inverse_depth[packed.points] = np.maximum(result.inverse_depth[packed.slots], MIN_INVERSE_DEPTH)
        self._packed = packed
        self._residual = result.residual_px
        if optimize_focal:
            self.focal_sigma = self._focal_sigma(result.focal_variance)

    def refine_pose(self, frame: int, iterations: int = 10) -> None:
        """Optimizes the pose of one frame, with a prior on each depth.

        The prior is as uncertain as the triangulation.

        Fixed at their values, uncertain depths would bias the pose toward the frames that they come from, and cause
        scale drift.
        """
        fixed = self._fixed_frames(np.array([frame]))
        packed = self._pack(~fixed, ~fixed)
        if packed is None:
            return
        # Keypoints have a weight of 1: tracks have drifted by about a pixel when a frame is registered.
        information = packed.to_slots(1 / np.square(np.maximum(self.depth_sigma[packed.points], MIN_INVERSE_DEPTH)))
        result = bundle_adjust(self._problem(packed, fixed, information), self._options(iterations=iterations))
        self.cam_from_world = np.array(result.cam_from_world)

    def _fixed_frames(self, free_frames: Int64Array) -> BoolArray:
        fixed = np.ones(len(self.is_registered), bool)
        fixed[free_frames] = False
        return fixed | ~self.is_registered

    def _pack(self, frames: BoolArray, observed_by: BoolArray) -> PackedObservations | None:
        is_triangulated = np.isfinite(self.inverse_depth)
        observations = self.keypoints_px, self.is_observed, self.weight
        return pack_observations(*observations, self.reference, is_triangulated, frames, observed_by)

    def _problem(
        self, packed: PackedObservations, fixed: BoolArray, information: Float64Array | None = None
    ) -> BundleProblem:
        """The problem; `information` (n, width) weighs a prior at the current inverse depths."""
        inverse_depth = packed.to_slots(self.inverse_depth[packed.points])
        return BundleProblem(
            cam_from_world=self.cam_from_world,
            inverse_depth=inverse_depth,
            pixels=packed.reference_px,
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
            min_inverse_depth=MIN_INVERSE_DEPTH,
            robust_kernel="cauchy",
            robust_scale_px=self.loss_scale_px,
            tolerance=TOLERANCE,
            num_threads=self._num_threads,
            **options,
        )

    def _focal_sigma(self, variance_at_1_px: float | None) -> float | None:
        """Relative standard deviation of the focal length, scaled by the residuals."""
        if variance_at_1_px is None or self._packed is None:
            return None
        # Residuals of a point share the noise of its reference keypoint: a point counts once.
        shared = len(self._packed.edge) / len(self._packed.points)
        return float(self.residual_sigma_px() * np.sqrt(variance_at_1_px * shared))

    def residual_sigma_px(self) -> float:
        """Robust standard deviation of each coordinate of the residuals; 0 without any."""
        error = self.residuals_px()
        error = error[np.isfinite(error)]
        # The median of a Rayleigh distribution: outliers hardly change it.
        return float(np.median(error)) / math.sqrt(2 * math.log(2)) if len(error) else 0.0

    def residuals_px(self) -> Float64Array:
        """(o,) reprojection errors of the observations in the last bundle adjustment."""
        packed = self._packed
        if packed is None or self._residual is None:
            return np.zeros(0)
        return np.asarray(self._residual[packed.edge, packed.slots[1][packed.observations[1]]], np.float64)

    def filter_observations(self, limit_px: float = MAX_REPROJECTION_ERROR_PX) -> None:
        """Removes observations with a large reprojection error, and points left with fewer than two."""
        if self._packed is None:
            return
        frame, which = self._packed.observations
        is_outlier = ~(self.residuals_px() < limit_px)
        points = self._packed.points[which[is_outlier]]
        self.is_observed[frame[is_outlier], points] = False
        num_frames = (self.is_observed[:, points] & self.is_registered[:, None]).sum(axis=0)
        self.inverse_depth[points[num_frames < 2]] = np.nan

    def tighten_loss_scale(self) -> None:
        """Lowers the scale of the Cauchy loss to fit the residuals.

        So outliers weigh less.
        """
        error = self.residuals_px()
        error = error[np.isfinite(error)]
        if len(error):
            scale = LOSS_SCALE_MEDIANS * float(np.median(error))
            self.loss_scale_px = float(np.clip(scale, MIN_LOSS_SCALE_PX, LOSS_SCALE_PX))

    def soft_inlier_count(self) -> float:
        """Observations of the last bundle adjustment, weighted by the Cauchy loss.

        An error of 1 px counts half.
        """
        return float(np.nansum(1 / (1 + np.square(self.residuals_px()))))
