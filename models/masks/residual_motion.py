"""Which pixels move by themselves: motion that neither the camera nor the scene's depth explains."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from models.flow import FlowEngine, length_of, pixel_grid, sample_along
from native import se3

FloatArray = npt.NDArray[np.float64]
Map = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

BASE_PX = 1.0
FLOW_SHARE = 0.1
STRONG_FACTOR = 2.0
MIN_AREA_SHARE = 0.001
CLEAN_PX = 5
MIN_GRADIENT = 1.0
MEMORY = 0.5


def moving_masks(
    gray: Sequence[npt.NDArray[np.uint8]],
    cam_from_world: FloatArray,
    intrinsics_px: FloatArray,
    inverse_depth: Map,
    is_valid: BoolArray,
) -> BoolArray:
    """(n, h, w) bool, true = moving.

    The flow from a frame to a near one is compared with what a static scene would show: where depth is known, with
    the point that pose and depth predict; elsewhere with the epipolar line (for a camera that only turns, with the
    point at infinity). A pixel is moving where the difference is beyond the flow's own error; evidence is carried
    along the flow from frame to frame, so that an object that pauses stays marked for a while and flicker does not.

    Args:
      gray: (h, w) uint8 frames.
      cam_from_world: (n, 7), NaN in frames without a pose: nothing is marked there.
      intrinsics_px: (4,) fx, fy, cx, cy.
      inverse_depth, is_valid: (n, h, w), in the units of the poses; all invalid if there is no depth.
    """
    engine = FlowEngine()
    posed = np.asarray(np.isfinite(cam_from_world).all(axis=1))
    masks = np.zeros(inverse_depth.shape, bool)
    memory: Map | None = None
    for frame in range(len(gray)):
        other = frame + 1 if frame + 1 < len(gray) else frame - 1
        if not posed[frame] or other < 0 or not posed[other]:
            memory = None
            continue
        flow = engine.between(gray[frame], gray[other])
        back = engine.between(gray[other], gray[frame])
        excess = _excess(flow, frame, other, cam_from_world, intrinsics_px, inverse_depth[frame], is_valid[frame])
        excess = _trusted_mean(excess, _returns(flow, back) & _has_texture(gray[frame]))
        if memory is not None:
            excess = np.maximum(excess * (1 - MEMORY) + memory * MEMORY, excess * MEMORY)
        masks[frame] = _clean(excess)
        memory = None if other < frame else sample_along(excess, back)
    return masks


def _excess(
    flow: Map,
    source: int,
    target: int,
    cam_from_world: FloatArray,
    intrinsics_px: FloatArray,
    inverse_depth: Map,
    is_valid: BoolArray,
) -> Map:
    """Unexplained motion in units of the flow's expected error."""
    fx, fy, cx, cy = (np.float32(v) for v in intrinsics_px)
    height, width = flow.shape[:2]
    columns, rows = pixel_grid(height, width)
    motion = se3.to_matrix(se3.compose(cam_from_world[target], se3.invert(cam_from_world[source]))).astype(np.float32)
    x, y = (columns - cx) / fx, (rows - cy) / fy
    turned = [row[0] * x + row[1] * y + row[2] for row in motion[:3, :3]]
    seen_x, seen_y = columns + flow[..., 0], rows + flow[..., 1]

    def image(depth: Map | np.float32) -> tuple[Map, Map]:
        px, py, pz = (t + m * depth for t, m in zip(turned, motion[:3, 3], strict=True))
        pz = np.maximum(pz, np.float32(0.05))
        return fx * px / pz + cx, fy * py / pz + cy

    at_x, at_y = image(inverse_depth)
    with_depth = cv2.magnitude(seen_x - at_x, seen_y - at_y)
    far_x, far_y = image(np.float32(0))
    near_x, near_y = image(np.float32(max(float(inverse_depth.max()), 1e-3)))
    line_x, line_y = near_x - far_x, near_y - far_y
    length = cv2.magnitude(line_x, line_y)
    off_x, off_y = seen_x - far_x, seen_y - far_y
    along = np.clip((off_x * line_x + off_y * line_y) / np.maximum(length, 1e-3), 0, length)
    scale = along / np.maximum(length, 1e-3)
    off_line = cv2.magnitude(off_x - scale * line_x, off_y - scale * line_y)
    residual = np.where(is_valid, with_depth, off_line)
    expected = BASE_PX + FLOW_SHARE * length_of(flow)
    return np.asarray(residual / expected, np.float32)


def _returns(flow: Map, back: Map) -> BoolArray:
    """Where the flow back undoes the flow, up to its error."""
    returned = sample_along(back, flow) + flow
    return np.asarray(length_of(returned) < BASE_PX + FLOW_SHARE * length_of(flow))


def _has_texture(gray: npt.NDArray[np.uint8]) -> BoolArray:
    """Where flow is more than a guess: neighbouring pixels differ by more than noise."""
    smooth = cv2.GaussianBlur(gray, (0, 0), 1.0).astype(np.float32)
    gradient = cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)) / 8
    return np.asarray(cv2.blur(gradient, (2 * CLEAN_PX + 1, 2 * CLEAN_PX + 1)) > MIN_GRADIENT)


def _trusted_mean(excess: Map, trusted: BoolArray) -> Map:
    """Local mean over trusted pixels, pulled to nothing where few are."""
    weight = trusted.astype(np.float32)
    window = (2 * CLEAN_PX + 1, 2 * CLEAN_PX + 1)
    return np.asarray(cv2.blur(excess * weight, window) / (cv2.blur(weight, window) + 0.2), np.float32)


def _clean(excess: Map) -> BoolArray:
    """Regions above the error that contain strong evidence and are not tiny."""
    smooth = cv2.blur(excess, (CLEAN_PX, CLEAN_PX))
    weak = (smooth > 1).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (CLEAN_PX, CLEAN_PX))
    joined = cv2.morphologyEx(cv2.morphologyEx(weak, cv2.MORPH_OPEN, kernel), cv2.MORPH_CLOSE, kernel, iterations=2)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(np.asarray(joined, np.uint8), connectivity=8)
    strong = np.zeros(count, bool)
    strong[np.unique(labels[smooth > STRONG_FACTOR])] = True
    strong[0] = False
    strong &= stats[:, cv2.CC_STAT_AREA] >= MIN_AREA_SHARE * excess.size
    return np.asarray(strong[labels])
