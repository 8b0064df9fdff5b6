"""Motion-compensated difference of two frames."""

from __future__ import annotations

import cv2

from core.arrays import UInt8Array

SMALL_SIZE = (32, 18)
BLOCK_SIZE = (8, 6)
REACH_CELLS = 3


def motion_compensated_difference(before: UInt8Array, after: UInt8Array) -> float:
    """Mean absolute difference of two (36, 64, 3) thumbnails after block matching, 8-bit levels.

    Each of the twelve blocks of the later frame is searched in the earlier one, up to 3 of 32 cells away (a tenth of
    the frame's width). About 0.2 ms: for ambiguous frames only.
    """
    first = cv2.resize(before, SMALL_SIZE, interpolation=cv2.INTER_AREA)
    second = cv2.resize(after, SMALL_SIZE, interpolation=cv2.INTER_AREA)
    reach = REACH_CELLS
    padded = cv2.copyMakeBorder(first, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    width, height = BLOCK_SIZE
    total = 0.0
    for y in range(0, SMALL_SIZE[1], height):
        for x in range(0, SMALL_SIZE[0], width):
            block = second[y : y + height, x : x + width]
            region = padded[y : y + height + 2 * reach, x : x + width + 2 * reach]
            _, _, (left, top), _ = cv2.minMaxLoc(cv2.matchTemplate(region, block, cv2.TM_SQDIFF))
            total += cv2.norm(region[top : top + height, left : left + width], block, cv2.NORM_L1)
    return total / second.size
