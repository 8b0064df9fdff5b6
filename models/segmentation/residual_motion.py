"""Motion segmentation by residual motion: pixels that neither camera motion nor depth explains."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from core.arrays import BoolArray, Float32Array, UInt8Array
from models.depth.motion_stereo import InverseDepth, MapFunction, triangulate
from models.depth.occlusion import render_neighbor_surface
from models.depth.propagation import propagate
from models.flow.dis import FlowCache
from models.geometry.posed_frames import PosedFrames
from models.segmentation.voting import clean_masks, is_flow_consistent, vote_over_time

# Tolerances: in pixels, as a share of the parallax, and in gray levels of noise. A difference of gray levels over their
# slope is a shift in pixels, too.
BASE_PX, PARALLAX_SHARE, GRAY_LEVELS = 0.75, 0.05, 2.0
PATCH_PX, WINDOW_PX = 3, 7
# Gray-level residuals above the margin count without flow, which fails on fast motion.
MAX_RESIDUAL, GRAY_MARGIN = 4.0, 0.5
# Weight of residuals of pixels that only one neighboring frame observes, as at the image border.
SINGLE_VIEW_FACTOR = np.float32(0.5)
# Unknown inverse depth is within a factor of the known values within half so many pixels, if there are enough of them.
# Otherwise it is between infinity and beyond the clip's nearest, with larger tolerances.
NEAR_PX, MIN_NEAR_SHARE, NEAR_FACTOR = 61, 0.2, 1.2
TOP_PERCENTILE, TOP_FACTOR, SIGMA_FACTOR = 98, 1.5, 2.0
# Least inverse depth of a static pixel, as a share of that of a surface that other frames observe.
SURFACE_SHARE = np.float32(0.9)
# Longest epipolar segment that is as good as a known point.
MAX_SEGMENT_PX = 4.0
SMALL = np.float32(1e-7)


def moving_masks(
    frames: PosedFrames, flows: FlowCache, depth: InverseDepth | None, map_fn: MapFunction = map
) -> BoolArray:
    """(n, h, w) bool masks of dynamic pixels; all false in frames without a pose.

    Each frame is compared with its two neighbors. A pixel is static if one of them confirms its reprojection: by the
    optical flow within its error, or by gray levels where there is texture. Where depth is invalid, the range of depths
    nearby gives an epipolar segment. Static points cannot lie behind a surface that other frames observe, which reveals
    objects that move along with the camera. Residuals are averaged along the flow and smoothed by a guided filter.

    Args:
      frames: at the masks' size.
      flows: between `frames`.
      depth: None for a camera that does not translate.
      map_fn: maps a function over the frames, possibly in parallel.
    """
    scorer = _MotionScorer(frames, flows, depth)
    residuals = list(map_fn(scorer.motion_residual, range(len(frames))))
    voted = vote_over_time(flows, [r.residual for r in residuals], [r.weight for r in residuals], frames.is_registered)
    return clean_masks(frames.gray, *voted, map_fn)


@dataclass(frozen=True, slots=True)
class _MotionResidual:
    """(h, w) float32 residual in units of its tolerance, and its weight."""

    residual: Float32Array
    weight: Float32Array


@dataclass(frozen=True, slots=True)
class _StaticDepth:
    """The depth of a frame's pixels under the assumption that the scene is static.

    Attributes:
      inverse_depth: (h, w).
      is_known: (h, w) bool: whether it is known; otherwise it is between `farthest` and `nearest`.
      farthest, nearest: (h, w) inverse depths.
      is_beyond: (h, w) bool: whether it had to be moved in front of a surface that other frames observe.
      sigma_scale: (h, w) factor on the tolerances.
    """

    inverse_depth: Float32Array
    is_known: BoolArray
    farthest: Float32Array
    nearest: Float32Array
    is_beyond: BoolArray
    sigma_scale: Float32Array


@dataclass(frozen=True, slots=True)
class _EpipolarSegment:
    """Epipolar segment in another frame for the range of possible depths, in pixels (h, w).

    Attributes:
      x, y: its nearest point to the flow's target.
      length: from the farthest depth to the nearest.
      parallax: from infinite depth to the flow's target.
    """

    x: Float32Array
    y: Float32Array
    length: Float32Array
    parallax: Float32Array

    @classmethod
    def of(
        cls,
        frames: PosedFrames,
        frame: int,
        other: int,
        static: _StaticDepth,
        target_x: Float32Array,
        target_y: Float32Array,
    ) -> _EpipolarSegment:
        """The segment for the possible depths, and flow with the given target."""
        far_x, far_y, _ = frames.project(frame, other, static.farthest)
        near_x, near_y, _ = frames.project(frame, other, static.nearest)
        line_x, line_y = near_x - far_x, near_y - far_y
        length = np.asarray(cv2.magnitude(line_x, line_y), np.float32)
        along = ((target_x - far_x) * line_x + (target_y - far_y) * line_y) / np.maximum(length, np.float32(1e-3)) ** 2
        along = np.clip(along, 0, 1)
        infinite_x, infinite_y, _ = frames.project(frame, other, np.float32(0))
        parallax = np.asarray(cv2.magnitude(target_x - infinite_x, target_y - infinite_y), np.float32)
        return cls(far_x + along * line_x, far_y + along * line_y, length, parallax)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """(h, w) differences of another frame from the static scene at a frame's pixels.

    Attributes:
      flow_residual: distance of flow from rigid flow, in units of its tolerance.
      gray_excess: gray-level difference above the mean of noise and that at the flow's target, in tolerances.
      gray_residual: gray-level difference above the noise, in tolerances.
      is_known: bool, where these count.
      is_consistent: bool, where the flow is forward-backward consistent.
    """

    flow_residual: Float32Array
    gray_excess: Float32Array
    gray_residual: Float32Array
    is_known: BoolArray
    is_consistent: BoolArray


class _MotionScorer:
    def __init__(self, frames: PosedFrames, flows: FlowCache, depth: InverseDepth | None) -> None:
        self._frames = frames
        self._flows = flows
        self._depth = depth
        self._top = np.float32(0)
        if depth is not None and depth.is_valid.any():
            self._top = np.float32(TOP_FACTOR * np.percentile(depth.inverse_depth[depth.is_valid], TOP_PERCENTILE))

    def motion_residual(self, frame: int) -> _MotionResidual:
        """Motion residual of a frame's pixels against its neighbors."""
        frames = self._frames
        shape = frames.shape[1:]
        others = [k for k in (frame - 1, frame + 1) if 0 <= k < len(frames) and frames.is_registered[[k, frame]].all()]
        if not others:
            return _MotionResidual(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
        texture = _box(_gradient(frames.gray[frame]), PATCH_PX) + np.float32(GRAY_LEVELS)
        texture_weight = 1 - np.float32(GRAY_LEVELS) / texture
        static = self._static_depth(frame, others)
        flow_residual, gray_excess, gray_residual = (np.full(shape, np.inf, np.float32) for _ in range(3))
        num_observed, is_consistent_once = np.zeros(shape, np.int32), np.zeros(shape, bool)
        for other in others:
            compared = self._compare(frame, other, static, texture)
            known = compared.is_known
            flow_residual = np.where(
                known, np.minimum(flow_residual, np.minimum(compared.flow_residual, MAX_RESIDUAL)), flow_residual
            )
            gray_excess = np.where(
                known, np.minimum(gray_excess, _averaged(compared.gray_excess, texture_weight)), gray_excess
            )
            gray_residual = np.where(
                known, np.minimum(gray_residual, _averaged(compared.gray_residual, texture_weight)), gray_residual
            )
            num_observed += known
            is_consistent_once |= known & compared.is_consistent
        # A moving object may occlude what only one frame observes: flow there is not forward-backward consistent.
        is_decided = (num_observed > 1) | is_consistent_once
        flow_residual, gray_excess, gray_residual = (
            np.where(is_decided, e, 0) for e in (flow_residual, gray_excess, gray_residual)
        )
        residual = np.maximum(np.sqrt(flow_residual * gray_excess), gray_residual - np.float32(GRAY_MARGIN))
        residual = np.where(num_observed < len(others), SINGLE_VIEW_FACTOR * residual, residual)
        weight = np.where(is_decided, np.maximum(texture_weight, 0.1), 1e-3)
        return _MotionResidual(residual.astype(np.float32), weight.astype(np.float32))

    def _static_depth(self, frame: int, others: list[int]) -> _StaticDepth:
        """Depth of the static scene, no farther than the surfaces that other frames show."""
        shape = self._frames.shape[1:]
        if self._depth is None:
            zero, one = np.zeros(shape, np.float32), np.ones(shape, np.float32)
            return _StaticDepth(zero, one > 0, zero, zero, zero > 0, one)
        depth, valid = self._depth.inverse_depth[frame], self._depth.is_valid[frame]
        share = valid.astype(np.float32)
        propagated = propagate(depth, valid)
        kernel = np.ones((NEAR_PX, NEAR_PX), np.uint8)
        is_near = _box(share, NEAR_PX) > MIN_NEAR_SHARE
        nearest = np.where(is_near, NEAR_FACTOR * cv2.dilate(depth * share, kernel), self._top)
        farthest = np.where(is_near, cv2.erode(np.where(valid, depth, np.inf), kernel) / NEAR_FACTOR, 0)
        weighted_sum, weight_sum = np.zeros(shape, np.float32), np.full(shape, SMALL, np.float32)
        for other in others:
            by_flow, weight = triangulate(self._frames, self._flows, frame, other)
            weighted_sum += weight * by_flow
            weight_sum += weight
        surface = np.minimum(SURFACE_SHARE * render_neighbor_surface(self._frames, self._depth, frame), nearest)
        farthest = np.maximum(farthest, surface)
        triangulated = weighted_sum / weight_sum
        is_triangulated = weight_sum > 2 * SMALL
        is_beyond = np.where(valid, depth, np.where(is_triangulated, triangulated, propagated)) < surface
        clipped = np.clip(triangulated, farthest, nearest)
        static = np.maximum(np.where(valid, depth, np.where(is_triangulated, clipped, propagated)), surface)
        sigma_scale = np.where(valid | is_near, np.float32(1), np.float32(SIGMA_FACTOR))
        farthest, nearest = farthest.astype(np.float32), nearest.astype(np.float32)
        return _StaticDepth(
            static.astype(np.float32), valid | is_triangulated, farthest, nearest, is_beyond, sigma_scale
        )

    def _compare(self, frame: int, other: int, static: _StaticDepth, texture: Float32Array) -> _Comparison:
        """Compares a frame with another one under the assumption of a static scene."""
        frames = self._frames
        flow = self._flows.flow(frame, other)
        target_x, target_y = frames.columns + flow[..., 0], frames.rows + flow[..., 1]
        x, y, _ = frames.project(frame, other, static.inverse_depth)
        _, height, width = frames.shape
        is_known = (x > 1) & (y > 1) & (x < width - 2) & (y < height - 2)
        flow_offset, gray_residual = cv2.magnitude(target_x - x, target_y - y), self._difference(frame, other, x, y)
        is_inside, is_consistent = is_known, is_flow_consistent(self._flows, frame, other)
        max_offset: Float32Array | np.float32 = np.float32(BASE_PX)
        if self._depth is not None:
            segment = _EpipolarSegment.of(frames, frame, other, static, target_x, target_y)
            flow_offset = np.where(
                static.is_known, flow_offset, cv2.magnitude(target_x - segment.x, target_y - segment.y)
            )
            on_segment = self._difference(frame, other, segment.x, segment.y)
            gray_residual = np.where(static.is_known, gray_residual, np.minimum(gray_residual, on_segment))
            is_known = is_inside & (is_consistent | self._depth.is_valid[frame] | (segment.length < MAX_SEGMENT_PX))
            max_offset = BASE_PX + PARALLAX_SHARE * segment.parallax
        at_flow = self._difference(frame, other, target_x, target_y)
        noise = np.float32(0)
        if is_inside.any():
            flow_offset = np.maximum(flow_offset - 2 * np.median(flow_offset[is_inside]), 0)
            noise = np.float32(2 * np.median(gray_residual[is_inside]))
        # Behind an occluding surface only the flow's target has the expected difference.
        expected = np.where(static.is_beyond, at_flow, (at_flow + noise) / 2)
        tolerance = texture * np.float32(BASE_PX) * static.sigma_scale
        return _Comparison(
            flow_residual=flow_offset / (max_offset * static.sigma_scale),
            gray_excess=np.maximum(gray_residual - expected, 0) / tolerance,
            gray_residual=np.maximum(gray_residual - noise, 0) / tolerance,
            is_known=is_known,
            is_consistent=is_consistent,
        )

    def _difference(self, frame: int, other: int, x: Float32Array, y: Float32Array) -> Float32Array:
        """Mean gray-level difference around each pixel and its match in the other frame."""
        warped = cv2.remap(self._frames.gray[other], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        difference = warped.astype(np.float32) - self._frames.gray[frame]
        return _box(np.abs(difference - np.median(difference)), PATCH_PX)


def _averaged(values: Float32Array, weight: Float32Array) -> Float32Array:
    """Local weighted means around each pixel."""
    mean = _box(weight * np.minimum(values, MAX_RESIDUAL), WINDOW_PX) / (_box(weight, WINDOW_PX) + 0.05)
    # Running sums of the box filter may end just below 0.
    return np.maximum(mean, 0)


def _box(values: Float32Array, side: int) -> Float32Array:
    return np.asarray(cv2.blur(values, (side, side)), np.float32)


def _gradient(gray: UInt8Array) -> Float32Array:
    """Gradient magnitude in gray levels per pixel."""
    smooth = cv2.GaussianBlur(gray, (0, 0), 0.8).astype(np.float32)
    return np.asarray(
        cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)) / 8, np.float32
    )
