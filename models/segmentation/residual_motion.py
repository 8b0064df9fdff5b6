"""Which pixels move by themselves: what neither the camera's motion nor the scene's depth explains."""

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

# What may be off: in pixels, of them a share of the parallax, and gray levels of noise (a difference of gray levels
# over their slope is a shift in pixels, too).
BASE_PX, PARALLAX_SHARE, GRAY_LEVELS = 0.75, 0.05, 2.0
PATCH_PX, WINDOW_PX = 3, 7
# Gray levels that are so much further off than a still scene's tell alone; flow is lost on things that are fast.
MAX_EXCESS, SEEN_MORE = 4.0, 0.5
# What one of two frames does not show, as at the picture's border, is judged by the other alone, and counts less.
SEEN_ONCE = np.float32(0.5)
# Unknown depths are like the known ones within half so many pixels, if these are not too few, up to a factor; otherwise
# from infinity to beyond the clip's nearest, and what is seen there is doubted.
NEAR_PX, MIN_NEAR_SHARE, NEAR_FACTOR = 61, 0.2, 1.2
TOP_PERCENTILE, TOP_FACTOR, SIGMA_FACTOR = 98, 1.5, 2.0
# So much of the inverse depth of a surface that other frames see is the least that a still pixel has.
SURFACE_SHARE = np.float32(0.9)
# A line of possible places so short is as good as a known place.
SURE_PX = 4.0
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
    evidence = list(map_fn(scorer.evidence, range(len(frames))))
    excess = vote_over_time(flows, [e.excess for e in evidence], [e.weight for e in evidence], frames.is_registered)
    return clean_masks(frames.gray, *excess, map_fn)


@dataclass(frozen=True, slots=True)
class _MotionResidual:
    """(h, w) float32 residual in units of its tolerance, and its weight."""

    excess: Float32Array
    weight: Float32Array


@dataclass(frozen=True, slots=True)
class _StaticDepth:
    """The depth of a frame's pixels under the assumption that the scene is static.

    Attributes:
      inverse_depth: (h, w).
      is_known: (h, w) bool: otherwise it may be anything from `farthest` to `nearest`.
      farthest, nearest: (h, w) inverse depths.
      is_beyond: (h, w) bool: it would be beyond a surface that other frames see, were it not for that.
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
      x, y: of its point next to where the flow leads.
      length: from the farthest depths to the nearest.
      parallax: from depths at infinity to where the flow leads.
    """

    x: Float32Array
    y: Float32Array
    length: Float32Array
    parallax: Float32Array

    @classmethod
    def of(
        cls, frames: PosedFrames, frame: int, other: int, static: _StaticDepth, to_x: Float32Array, to_y: Float32Array
    ) -> _EpipolarSegment:
        """For the depths that there may be, and flow to the given places."""
        far_x, far_y, _ = frames.project(frame, other, static.farthest)
        near_x, near_y, _ = frames.project(frame, other, static.nearest)
        line_x, line_y = near_x - far_x, near_y - far_y
        length = np.asarray(cv2.magnitude(line_x, line_y), np.float32)
        along = ((to_x - far_x) * line_x + (to_y - far_y) * line_y) / np.maximum(length, np.float32(1e-3)) ** 2
        along = np.clip(along, 0, 1)
        infinite_x, infinite_y, _ = frames.project(frame, other, np.float32(0))
        parallax = np.asarray(cv2.magnitude(to_x - infinite_x, to_y - infinite_y), np.float32)
        return cls(far_x + along * line_x, far_y + along * line_y, length, parallax)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """(h, w) differences of another frame from the static scene at a frame's pixels.

    Attributes:
      moved: by the flow, in units of its error.
      fits_worse: gray-level difference above the mean of noise and the one where the flow leads, in units of error.
      differs: by the gray levels, compared with the frame's usual difference, in the same units.
      is_known: bool, where that counts.
      is_consistent: bool, where the flow is forward-backward consistent.
    """

    moved: Float32Array
    fits_worse: Float32Array
    differs: Float32Array
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

    def evidence(self, frame: int) -> _MotionResidual:
        """Motion residual of a frame's pixels against its neighbors."""
        frames = self._frames
        shape = frames.shape[1:]
        others = [k for k in (frame - 1, frame + 1) if 0 <= k < len(frames) and frames.is_registered[[k, frame]].all()]
        if not others:
            return _MotionResidual(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
        texture = _box(_gradient(frames.gray[frame]), PATCH_PX) + np.float32(GRAY_LEVELS)
        informed = 1 - np.float32(GRAY_LEVELS) / texture
        static = self._static_depth(frame, others)
        by_flow, by_gray, differing = (np.full(shape, np.inf, np.float32) for _ in range(3))
        seen, consistent_once = np.zeros(shape, np.int32), np.zeros(shape, bool)
        for other in others:
            found = self._compare(frame, other, static, texture)
            known = found.is_known
            by_flow = np.where(known, np.minimum(by_flow, np.minimum(found.moved, MAX_EXCESS)), by_flow)
            by_gray = np.where(known, np.minimum(by_gray, _averaged(found.fits_worse, informed)), by_gray)
            differing = np.where(known, np.minimum(differing, _averaged(found.differs, informed)), differing)
            seen += known
            consistent_once |= known & found.is_consistent
        # What one frame alone shows may be hidden in it by something that moves: flow there does not come back.
        decided = (seen > 1) | consistent_once
        by_flow, by_gray, differing = (np.where(decided, e, 0) for e in (by_flow, by_gray, differing))
        excess = np.maximum(np.sqrt(by_flow * by_gray), differing - np.float32(SEEN_MORE))
        excess = np.where(seen < len(others), SEEN_ONCE * excess, excess)
        weight = np.where(decided, np.maximum(informed, 0.1), 1e-3)
        return _MotionResidual(excess.astype(np.float32), weight.astype(np.float32))

    def _static_depth(self, frame: int, others: list[int]) -> _StaticDepth:
        """Depth of the static scene, no farther than the surfaces that other frames show."""
        shape = self._frames.shape[1:]
        if self._depth is None:
            zero, one = np.zeros(shape, np.float32), np.ones(shape, np.float32)
            return _StaticDepth(zero, one > 0, zero, zero, zero > 0, one)
        depth, valid = self._depth.inverse_depth[frame], self._depth.is_valid[frame]
        share = valid.astype(np.float32)
        around = propagate(depth, valid)
        kernel = np.ones((NEAR_PX, NEAR_PX), np.uint8)
        is_near = _box(share, NEAR_PX) > MIN_NEAR_SHARE
        nearest = np.where(is_near, NEAR_FACTOR * cv2.dilate(depth * share, kernel), self._top)
        farthest = np.where(is_near, cv2.erode(np.where(valid, depth, np.inf), kernel) / NEAR_FACTOR, 0)
        joint, information = np.zeros(shape, np.float32), np.full(shape, SMALL, np.float32)
        for other in others:
            by_flow, certainty = triangulate(self._frames, self._flows, frame, other)
            joint += certainty * by_flow
            information += certainty
        surface = np.minimum(SURFACE_SHARE * render_neighbor_surface(self._frames, self._depth, frame), nearest)
        farthest = np.maximum(farthest, surface)
        by_both = joint / information
        found = information > 2 * SMALL
        is_beyond = np.where(valid, depth, np.where(found, by_both, around)) < surface
        agreed = np.clip(by_both, farthest, nearest)
        static = np.maximum(np.where(valid, depth, np.where(found, agreed, around)), surface)
        sigma_scale = np.where(valid | is_near, np.float32(1), np.float32(SIGMA_FACTOR))
        farthest, nearest = farthest.astype(np.float32), nearest.astype(np.float32)
        return _StaticDepth(static.astype(np.float32), valid | found, farthest, nearest, is_beyond, sigma_scale)

    def _compare(self, frame: int, other: int, static: _StaticDepth, texture: Float32Array) -> _Comparison:
        """One frame against another."""
        frames = self._frames
        flow = self._flows.flow(frame, other)
        to_x, to_y = frames.columns + flow[..., 0], frames.rows + flow[..., 1]
        x, y, _ = frames.project(frame, other, static.inverse_depth)
        _, height, width = frames.shape
        known = (x > 1) & (y > 1) & (x < width - 2) & (y < height - 2)
        off, differs = cv2.magnitude(to_x - x, to_y - y), self._difference(frame, other, x, y)
        inside, is_consistent = known, is_flow_consistent(self._flows, frame, other)
        allowed: Float32Array | np.float32 = np.float32(BASE_PX)
        if self._depth is not None:
            line = _EpipolarSegment.of(frames, frame, other, static, to_x, to_y)
            off = np.where(static.is_known, off, cv2.magnitude(to_x - line.x, to_y - line.y))
            on_line = self._difference(frame, other, line.x, line.y)
            differs = np.where(static.is_known, differs, np.minimum(differs, on_line))
            known = inside & (is_consistent | self._depth.is_valid[frame] | (line.length < SURE_PX))
            allowed = BASE_PX + PARALLAX_SHARE * line.parallax
        at_flow = self._difference(frame, other, to_x, to_y)
        noise = np.float32(0)
        if inside.any():
            off = np.maximum(off - 2 * np.median(off[inside]), 0)
            noise = np.float32(2 * np.median(differs[inside]))
        # Behind an occluding surface only the flow's target tells which difference to expect.
        at_place = np.where(static.is_beyond, at_flow, (at_flow + noise) / 2)
        unit = texture * np.float32(BASE_PX) * static.sigma_scale
        return _Comparison(
            moved=off / (allowed * static.sigma_scale),
            fits_worse=np.maximum(differs - at_place, 0) / unit,
            differs=np.maximum(differs - noise, 0) / unit,
            is_known=known,
            is_consistent=is_consistent,
        )

    def _difference(self, frame: int, other: int, x: Float32Array, y: Float32Array) -> Float32Array:
        """Mean gray-level difference around each pixel and its match in the other frame."""
        seen = cv2.remap(self._frames.gray[other], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        difference = seen.astype(np.float32) - self._frames.gray[frame]
        return _box(np.abs(difference - np.median(difference)), PATCH_PX)


def _averaged(values: Float32Array, informed: Float32Array) -> Float32Array:
    """Means around each pixel, of values that count as far as there is texture."""
    mean = _box(informed * np.minimum(values, MAX_EXCESS), WINDOW_PX) / (_box(informed, WINDOW_PX) + 0.05)
    # Sums that run along rows may end just below 0.
    return np.maximum(mean, 0)


def _box(values: Float32Array, side: int) -> Float32Array:
    return np.asarray(cv2.blur(values, (side, side)), np.float32)


def _gradient(gray: UInt8Array) -> Float32Array:
    """Gray levels a pixel."""
    smooth = cv2.GaussianBlur(gray, (0, 0), 0.8).astype(np.float32)
    return np.asarray(
        cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)) / 8, np.float32
    )
