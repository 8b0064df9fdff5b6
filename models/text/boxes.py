"""Text boxes from a DBNet probability map, and the covered share of the image.

Post-processing of "Real-time Scene Text Detection with Differentiable Binarization" (Liao et al. 2020) as in
PaddleOCR's DBPostProcess: contours, minimum-area rectangles, mean probability, unclipping.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from core.arrays import BoolArray, Float32Array, Float64Array

MIN_SIDE_MAP_PX = 3.0
MIN_EXPANDED_SIDE_MAP_PX = 5.0
MIN_SIDE_IMAGE_PX = 4.0
ARC_TOLERANCE_PX = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBoxes:
    """Detected text lines of one image.

    Attributes:
      quads_px: (n, 4, 2) float32, corners (x, y) in pixels, clockwise on the screen from the top left one.
        Pixel (0, 0) covers [0, 1) x [0, 1). Corners may lie outside of the image.
      scores: (n,) float64, mean text probability in the box before unclipping, 0 to 1.
    """

    quads_px: Float32Array
    scores: Float64Array

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, keep: BoolArray) -> TextBoxes:
        """The boxes where `keep` is true."""
        return TextBoxes(quads_px=self.quads_px[keep], scores=self.scores[keep])


def find_boxes(
    probability: Float32Array,
    image_size: tuple[int, int],
    *,
    map_threshold: float,
    box_threshold: float,
    unclip_ratio: float,
    max_boxes: int,
) -> TextBoxes:
    """Text boxes of the connected regions whose text probability is above a threshold.

    Args:
      probability: (h, w) probability map of the network, 0 to 1.
      image_size: (width, height) of the image in pixels; boxes are scaled to it.
      map_threshold: pixels above it belong to a region.
      box_threshold: minimum mean probability in a region's minimum-area rectangle.
      unclip_ratio: above 0; a rectangle is dilated by area x ratio / perimeter, since the network is trained on
        shrunk text regions (Liao et al. 2020).
      max_boxes: regions beyond this number are ignored.
    """
    mask = (probability > map_threshold).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    map_height, map_width = probability.shape
    scale = np.array([image_size[0] / map_width, image_size[1] / map_height])
    quads: list[Float64Array] = []
    scores: list[float] = []
    for contour in contours[:max_boxes]:
        center, size, angle_deg = cv2.minAreaRect(contour)
        if min(size) < MIN_SIDE_MAP_PX:
            continue
        rectangle = np.asarray(cv2.boxPoints((center, size, angle_deg)), np.float32)
        score = _mean_inside(probability, rectangle)
        if score < box_threshold:
            continue
        distance_px = size[0] * size[1] * unclip_ratio / (2.0 * (size[0] + size[1]))
        grown = cv2.minAreaRect(_offset(rectangle, distance_px))
        if min(grown[1]) < MIN_EXPANDED_SIDE_MAP_PX:
            continue
        quad = cv2.boxPoints(grown) * scale
        if _shorter_side(quad) < MIN_SIDE_IMAGE_PX:
            continue
        quads.append(_order_corners(quad))
        scores.append(score)
    if not quads:
        return TextBoxes(quads_px=np.zeros((0, 4, 2), np.float32), scores=np.zeros(0))
    return TextBoxes(quads_px=np.array(quads, np.float32), scores=np.array(scores))


def covered_share(quads_px: Float32Array, image_size: tuple[int, int]) -> float:
    """Share (0 to 1) of pixels with their center in at least one box.

    Overlaps count once. Exact for axis-aligned boxes with integer corners.
    """
    width, height = image_size
    covered = np.zeros((height, width), np.bool_)
    for quad in quads_px.astype(np.float64):
        left, top = np.clip(np.floor(quad.min(axis=0)).astype(int), 0, (width, height))
        right, bottom = np.clip(np.ceil(quad.max(axis=0)).astype(int), 0, (width, height))
        x = np.arange(left, right) + 0.5
        y = np.arange(top, bottom)[:, None] + 0.5
        inside = np.ones((bottom - top, right - left), np.bool_)
        for (x0, y0), (x1, y1) in zip(quad, np.roll(quad, -1, axis=0), strict=True):
            inside &= (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) >= 0
        covered[top:bottom, left:right] |= inside
    return float(covered.mean())


def _offset(rectangle: Float32Array, distance_px: float) -> Float32Array:
    """Polygon of a rectangle dilated by a distance with round joins.

    Follows the arithmetic of the Clipper library (ClipperOffset, JoinType Round, arc tolerance 0.25), which PaddleOCR
    uses: it truncates corners to integers and builds arcs of integer points, which moves sides by up to 1 px.
    """
    corners = np.trunc(rectangle.astype(np.float64))
    edges = np.roll(corners, -1, axis=0) - corners
    normals = np.stack([edges[:, 1], -edges[:, 0]], axis=1) / np.linalg.norm(edges, axis=1, keepdims=True)
    if edges[0, 0] * edges[1, 1] - edges[0, 1] * edges[1, 0] < 0:
        normals = -normals
    steps_per_turn = min(
        np.pi / math.acos(1.0 - min(ARC_TOLERANCE_PX / distance_px, ARC_TOLERANCE_PX)), distance_px * np.pi
    )
    steps_per_rad = steps_per_turn / (2.0 * np.pi)
    points: list[Float64Array] = []
    for corner, before, after in zip(corners, np.roll(normals, 1, axis=0), normals, strict=True):
        turn = np.arctan2(before[0] * after[1] - before[1] * after[0], before @ after)
        count = max(round(steps_per_rad * abs(turn)), 1)
        angles = np.sign(turn) * np.arange(count) / steps_per_rad
        cos, sin = np.cos(angles), np.sin(angles)
        arc = np.stack([cos * before[0] - sin * before[1], sin * before[0] + cos * before[1]], axis=1)
        points += [corner + distance_px * arc, corner + distance_px * after[None]]
    outline = np.concatenate(points)
    return np.trunc(outline + np.copysign(0.5, outline)).astype(np.float32)


def _mean_inside(probability: Float32Array, quad: Float32Array) -> float:
    """Mean of the map over a rectangle, with corners truncated to pixels as in PaddleOCR."""
    height, width = probability.shape
    left, top = np.clip(np.floor(quad.min(axis=0)).astype(int), 0, (width - 1, height - 1))
    right, bottom = np.clip(np.ceil(quad.max(axis=0)).astype(int), 0, (width - 1, height - 1))
    mask = np.zeros((bottom - top + 1, right - left + 1), np.uint8)
    cv2.fillPoly(mask, [(quad - (left, top)).astype(np.int32)], (1,))
    return float(cv2.mean(probability[top : bottom + 1, left : right + 1], mask)[0])


def _shorter_side(quad: Float64Array) -> float:
    sides = np.linalg.norm(quad - np.roll(quad, -1, axis=0), axis=1)
    return float(sides.min())


def _order_corners(quad: Float64Array) -> Float64Array:
    """Corners clockwise on the screen, from the top left one."""
    following = np.roll(quad, -1, axis=0)
    doubled_area = float(np.sum(quad[:, 0] * following[:, 1] - following[:, 0] * quad[:, 1]))
    if doubled_area < 0:
        quad = quad[::-1]
    return np.roll(quad, -int(np.argmin(quad.sum(axis=1))), axis=0)
