"""The annotation's small files; maps are written by `models.annotation.map_files`."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence

import numpy as np

from core.arrays import Float64Array


def map_size(size: tuple[int, int], max_side_px: int) -> tuple[int, int]:
    """(width, height) of stored maps for frames of one size: the longer side is at most `max_side_px`."""
    scale = min(1.0, max_side_px / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def instructions_file(instructions: Mapping[str, Sequence[str]]) -> bytes:
    """Motion words as JSON: `{"<first>-><end>": [words]}`, ordinals of annotated frames."""
    return json.dumps(instructions, indent=2).encode()


def mask_shares(data: bytes) -> Float64Array:
    """(n,) share of moving pixels in each mask of a file that `MasksFile` wrote."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        pixels = float(np.prod(file["shape"]))
        count = (len(file.files) - 1) // 3
        return np.array([len(file[f"f_{index}_indices"]) / pixels for index in range(count)])
