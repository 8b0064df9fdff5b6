"""The annotation's files: deterministic bytes of arrays, in the layouts that shards hold."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from core.clip_files import masks_bytes, npz_bytes

MAX_SIGMA_PERMILLE, UNKNOWN_SIGMA = 254, 255


def map_size(size: tuple[int, int], max_side_px: int) -> tuple[int, int]:
    """(width, height) of stored maps for frames of one size: the longer side is at most `max_side_px`."""
    scale = min(1.0, max_side_px / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def depth_file(
    depth: npt.NDArray[np.float32],
    sigma: npt.NDArray[np.float32],
    is_valid: npt.NDArray[np.bool_],
    size: tuple[int, int],
    clip_size: tuple[int, int],
) -> bytes:
    """Depth maps as an .npz of `depth`, `valid`, `sigma_permille`, `clip_size` and `map_from_clip`.

    `depth` (n, h, w) float16, `valid` (n, h, w) bool, `sigma_permille` (n, h, w) uint8: the depth's standard deviation
    in thousandths of it, at most 254; 255 where not valid. A stored pixel has the depth of the annotated pixel in its
    middle, so that no depth is made up at edges. `clip_size` is (width, height). `map_from_clip` is [sx, sy, ox, oy]:
    x in the map is sx * x in the clip + ox, pixel centres at integers.
    """
    small, spread = (_picked(maps, size) for maps in (depth, sigma))
    valid = _picked(is_valid.astype(np.uint8), size).astype(bool)
    permille = np.where(valid, np.minimum(np.rint(1000 * spread), MAX_SIGMA_PERMILLE), UNKNOWN_SIGMA)
    sx, sy = size[0] / clip_size[0], size[1] / clip_size[1]
    return npz_bytes(
        {
            "depth": np.where(valid, small, 0).astype(np.float16),
            "valid": valid,
            "sigma_permille": permille.astype(np.uint8),
            "clip_size": np.asarray(clip_size, np.int64),
            "map_from_clip": np.array([sx, sy, 0.5 * sx - 0.5, 0.5 * sy - 0.5]),
        }
    )


def _picked(maps: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Maps in another size, each pixel the nearest one."""
    return np.stack([cv2.resize(m, size, interpolation=cv2.INTER_NEAREST_EXACT) for m in maps])


def masks_file(is_moving: npt.NDArray[np.bool_], size: tuple[int, int]) -> bytes:
    """Masks (true = moving) at another (width, height), as `core.clip_files.masks_bytes` writes them."""
    small = [cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_AREA) > 0 for mask in is_moving]
    return masks_bytes(np.stack(small))


def instructions_file(instructions: Mapping[str, Sequence[str]]) -> bytes:
    """Motion words as JSON: `{"<first>-><end>": [words]}`, ordinals of annotated frames."""
    return json.dumps(instructions, indent=2).encode()


def mask_shares(data: bytes) -> npt.NDArray[np.float64]:
    """(n,) share of moving pixels in each mask of a file that `masks_file` wrote."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        pixels = float(np.prod(file["shape"]))
        count = (len(file.files) - 1) // 3
        return np.array([len(file[f"f_{index}_indices"]) / pixels for index in range(count)])
