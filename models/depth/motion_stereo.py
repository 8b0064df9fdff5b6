"""Depth of every frame from the motion of the camera: dense flow to other frames, triangulated with known poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.flow import FlowEngine, length_of, pixel_grid, sample_along
from native import se3

FloatArray = npt.NDArray[np.float64]
Map = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

WANTED_PARALLAX_PX = 14.0
MIN_PARALLAX_PX = 2.0
MAX_STEP = 12
MAX_RETURN_PX = 1.5
MAX_OFF_LINE_PX = 1.5
FLOW_NOISE_PX = 0.4
MAX_RELATIVE_SIGMA = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthMaps:
    """Inverse depths of a clip's frames, in the units of the poses' translations.

    Attributes:
      inverse_depth: (n, h, w) float32, 1 / z; 0 where nothing is known.
      sigma: (n, h, w) float32, standard deviation of the inverse depth; infinite where nothing is known.
      is_valid: (n, h, w) bool: known, consistent between frames and well conditioned.
    """

    inverse_depth: Map
    sigma: Map
    is_valid: BoolArray


def estimate_depth(
    gray: Sequence[npt.NDArray[np.uint8]],
    cam_from_world: FloatArray,
    intrinsics_px: FloatArray,
    typical_inverse_depth: float,
) -> DepthMaps:
    """Depth of all frames of a clip with known poses.

    Each frame is compared with one before and one behind it, as far off as the wanted parallax asks for. The flow
    between them gives two equations a pixel for one unknown; what contradicts (a point that does not come back by the
    reverse flow, or does not move along its epipolar line) is left out.

    Args:
      gray: (h, w) uint8 frames.
      cam_from_world: (n, 7); frames with NaN have no pose and get no depth.
      intrinsics_px: (4,) fx, fy, cx, cy.
      typical_inverse_depth: of the scene, say the median of its points: it decides which frames are compared.
    """
    count, (height, width) = len(gray), gray[0].shape
    stereo = _MotionStereo(cam_from_world, intrinsics_px, (height, width))
    sums = np.zeros((2, count, height, width), np.float32)
    engine = FlowEngine()
    for first, second in sorted(_pairs(cam_from_world, intrinsics_px, typical_inverse_depth)):
        forward = engine.between(gray[first], gray[second])
        backward = engine.between(gray[second], gray[first])
        for source, target, flow, back in ((first, second, forward, backward), (second, first, backward, forward)):
            depth, information = stereo.triangulate(source, target, flow, back)
            sums[0, source] += information * depth
            sums[1, source] += information
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse_depth = np.where(sums[1] > 0, sums[0] / sums[1], 0).astype(np.float32)
        sigma = np.where(sums[1] > 0, 1 / np.sqrt(sums[1]), np.inf).astype(np.float32)
    is_valid = (inverse_depth > 0) & (sigma < MAX_RELATIVE_SIGMA * np.maximum(inverse_depth, typical_inverse_depth / 4))
    return DepthMaps(inverse_depth=inverse_depth, sigma=sigma, is_valid=is_valid)


def _pairs(cam_from_world: FloatArray, intrinsics_px: FloatArray, typical_inverse_depth: float) -> set[tuple[int, int]]:
    """For each posed frame, the frames before and behind it whose parallax comes nearest to what is wanted."""
    posed = np.asarray(np.isfinite(cam_from_world).all(axis=1))
    centres = se3.invert(cam_from_world)[:, :3]
    focal = float(intrinsics_px[:2].mean())
    pairs = set()
    for frame in np.flatnonzero(posed).tolist():
        for side in (-1, 1):
            others = [frame + side * k for k in range(1, MAX_STEP + 1) if 0 <= frame + side * k < len(posed)]
            others = [o for o in others if posed[o]]
            if not others:
                continue
            parallax = focal * typical_inverse_depth * np.linalg.norm(centres[others] - centres[frame], axis=1)
            reached = np.flatnonzero(parallax >= WANTED_PARALLAX_PX)
            best = int(reached[0]) if len(reached) else int(parallax.argmax())
            if parallax[best] >= MIN_PARALLAX_PX:
                pairs.add((min(frame, others[best]), max(frame, others[best])))
    return pairs


class _MotionStereo:
    def __init__(self, cam_from_world: FloatArray, intrinsics_px: FloatArray, size: tuple[int, int]) -> None:
        height, width = size
        self._poses = cam_from_world
        self._intrinsics = intrinsics_px
        fx, fy, cx, cy = intrinsics_px
        self._columns, self._rows = pixel_grid(height, width)
        self._x = ((self._columns - cx) / fx).astype(np.float32)
        self._y = ((self._rows - cy) / fy).astype(np.float32)

    def triangulate(self, source: int, target: int, flow: Map, back: Map) -> tuple[Map, Map]:
        """Inverse depth, and its information: 1 / variance, 0 where it is not trusted."""
        fx, fy, cx, cy = (np.float32(v) for v in self._intrinsics)
        motion = se3.to_matrix(se3.compose(self._poses[target], se3.invert(self._poses[source]))).astype(np.float32)
        rotation, translation = motion[:3, :3], motion[:3, 3]
        to_x, to_y = self._columns + flow[..., 0], self._rows + flow[..., 1]
        trusted = length_of(sample_along(back, flow, outside=1e6) + flow) < MAX_RETURN_PX
        rx, ry, rz = (row[0] * self._x + row[1] * self._y + row[2] for row in rotation)
        u, v = (to_x - cx) / fx, (to_y - cy) / fy
        slope_u, slope_v = fx * (translation[0] - u * translation[2]), fy * (translation[1] - v * translation[2])
        offset_u, offset_v = fx * (u * rz - rx), fy * (v * rz - ry)
        information = slope_u**2 + slope_v**2 + np.float32(1e-12)
        depth = (slope_u * offset_u + slope_v * offset_v) / information
        height = np.maximum(rz + translation[2] * depth, np.float32(0.05))
        off_line = np.abs(slope_u * offset_v - slope_v * offset_u) / np.sqrt(information) / height
        # A point in front of both cameras, no nearer than noise allows.
        behind = depth < -2 * FLOW_NOISE_PX * height / np.sqrt(information)
        good = trusted & (off_line < MAX_OFF_LINE_PX) & ~behind
        information = np.where(good, information / (FLOW_NOISE_PX * height) ** 2, 0)
        return np.maximum(depth, 0), information
