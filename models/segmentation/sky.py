"""Sky segmentation by color, with the rules of SpatialVID's dynamic masks."""

from __future__ import annotations

import cv2
import numpy as np

from core.arrays import BoolArray, UInt8Array

BLUE_HUE, BLUE_MIN_VALUE = (90, 120), 100
PALE = ((10, 150), (30, 180), (50, 220))
"""Pairs of a maximum saturation and a minimum value (OpenCV's HSV) that count as sky, too."""
OPENING_PX = 5
MAX_SKY_SHARE = 0.5


def find_sky(rgb: UInt8Array) -> BoolArray:
    """(h, w) bool sky mask of an (h, w, 3) uint8 image.

    Sky is a large blue or pale region.

    The largest region counts, and those of more than half its size. SpatialVID swaps red and blue in both the image and
    the range of hues; here both are in order. A white wall counts as sky.
    """
    hue, saturation, value = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV))
    sky = (hue >= BLUE_HUE[0]) & (hue <= BLUE_HUE[1]) & (value >= BLUE_MIN_VALUE)
    for below, above in PALE:
        sky |= (saturation < below) & (value > above)
    square = np.ones((OPENING_PX, OPENING_PX), np.uint8)
    opened = cv2.morphologyEx(sky.astype(np.uint8), cv2.MORPH_OPEN, square)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    areas[0] = 0
    return np.asarray((areas > areas.max() / 2)[labels], bool)


def drop_sky(rgb: UInt8Array, is_moving: BoolArray) -> BoolArray:
    """(h', w') dynamic mask without regions that are mostly sky.

    The image is (h, w, 3).

    Motion segmentation often marks clouds and blank sky.
    """
    if not is_moving.any():
        return is_moving
    height, width = is_moving.shape
    sky = cv2.resize(find_sky(rgb).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    count, labels = cv2.connectedComponents(is_moving.astype(np.uint8), connectivity=8)
    pixels = np.bincount(labels.ravel(), minlength=count)
    in_sky = np.bincount(labels.ravel(), weights=sky.ravel(), minlength=count)
    kept = in_sky <= MAX_SKY_SHARE * pixels
    kept[0] = False
    return np.asarray(kept[labels], bool)
