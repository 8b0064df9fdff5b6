"""Files of depth maps and dynamic masks, written a few frames at a time.

Memory does not grow with the clip.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from core.arrays import BoolArray, Float32Array
from models.annotation.geometry import ClipGeometry
from storage.shard_members import mask_arrays, open_npy, write_arrays

MAX_SIGMA_PERMILLE, UNKNOWN_SIGMA = 254, 255
CHUNK_FRAMES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMaps:
    """Depth maps and dynamic masks of consecutive frames, at the stored size.

    Attributes:
      depth: (n, h, w) float32 z-depth, 0 where not valid.
      depth_sigma: (n, h, w) float32 relative standard deviation of the depth, 0 where not valid.
      is_moving: (n, h, w) bool, True on moving objects.
    """

    depth: Float32Array
    depth_sigma: Float32Array
    is_moving: BoolArray

    @classmethod
    def of(cls, geometry: ClipGeometry, size: tuple[int, int]) -> StoredMaps | None:
        """Maps of one window, resized to (width, height); None without masks.

        Depth is sampled at the nearest pixel, so that none is interpolated across occlusion boundaries. A stored pixel
        is moving if any pixel in it is.
        """
        if geometry.is_moving is None:
            return None
        is_moving = np.stack(
            [cv2.resize(m.astype(np.uint8), size, interpolation=cv2.INTER_AREA) > 0 for m in geometry.is_moving]
        )
        if geometry.depth is None or geometry.depth_sigma is None or geometry.is_depth_valid is None:
            zeros = np.zeros(is_moving.shape, np.float32)
            return cls(depth=zeros, depth_sigma=zeros, is_moving=is_moving)
        is_valid = _resize_nearest(geometry.is_depth_valid.astype(np.uint8), size) > 0
        depth, sigma = (np.where(is_valid, _resize_nearest(m, size), 0) for m in (geometry.depth, geometry.depth_sigma))
        return cls(depth=depth, depth_sigma=sigma, is_moving=is_moving)

    def __len__(self) -> int:
        return len(self.depth)

    def __getitem__(self, frames: slice) -> StoredMaps:
        """Maps of some of the frames."""
        return StoredMaps(
            depth=self.depth[frames], depth_sigma=self.depth_sigma[frames], is_moving=self.is_moving[frames]
        )


def _resize_nearest(maps: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    return np.stack([cv2.resize(m, size, interpolation=cv2.INTER_NEAREST_EXACT) for m in maps])


class DepthFile:
    """Writes depth.npz: `depth`, `valid`, `sigma_permille`, `clip_size` and `map_from_clip`.

    `depth` (n, h, w) float16, 0 where not valid; `valid` (n, h, w) bool; `sigma_permille` (n, h, w) uint8: relative
    standard deviation of the depth in thousandths, at most 254, and 255 where not valid. `clip_size` is (width,
    height). `map_from_clip` is [sx, sy, ox, oy]: x in the map is sx * x in the clip + ox, pixel centers at integers.

    Args:
      folder: for temporary files, since the scale is known only after the last frame.
      size, clip_size: (width, height) of the maps and of the clip.
      name: suffix of the temporary files, unique in the folder.
    """

    def __init__(self, folder: str, size: tuple[int, int], clip_size: tuple[int, int], name: str = "") -> None:
        self._size, self._clip_size = size, clip_size
        self._count = 0
        self._paths = os.path.join(folder, f"depth{name}.raw"), os.path.join(folder, f"sigma{name}.raw")
        self._files = [open(path, "wb") for path in self._paths]  # noqa: SIM115 (closed by `close`)

    def add(self, maps: StoredMaps) -> None:
        """Appends the next frames."""
        permille = np.minimum(np.rint(1000 * maps.depth_sigma), MAX_SIGMA_PERMILLE)
        permille = np.where(maps.depth > 0, permille, UNKNOWN_SIGMA)
        self._files[0].write(maps.depth.astype(np.float16).tobytes())
        self._files[1].write(permille.astype(np.uint8).tobytes())
        self._count += len(maps.depth)

    def close(self) -> None:
        """Closes the temporary files; no frame can be appended."""
        for file in self._files:
            file.close()

    def discard(self) -> None:
        """Deletes the temporary files."""
        self.close()
        for path in self._paths:
            os.remove(path)

    def write(self, path: str, scale: float, num_before: int = 0, num_after: int = 0) -> float:
        """Writes the file, depths divided by `scale`; returns the share of valid pixels.

        The frames are padded with `num_before` and `num_after` frames without depth.
        """
        self.close()
        padding = num_before, num_after
        shape = (num_before + self._count + num_after, self._size[1], self._size[0])
        num_valid = 0
        with zipfile.ZipFile(path, "w") as archive:
            with open_npy(archive, "depth", np.dtype(np.float16), shape) as member:
                for depth in self._chunks(0, np.float16(0), padding):
                    num_valid += int(np.count_nonzero(depth))
                    member.write((depth.astype(np.float32) / np.float32(scale)).astype(np.float16).tobytes())
            with open_npy(archive, "valid", np.dtype(bool), shape) as member:
                for sigma in self._chunks(1, np.uint8(UNKNOWN_SIGMA), padding):
                    member.write((sigma != UNKNOWN_SIGMA).tobytes())
            with open_npy(archive, "sigma_permille", np.dtype(np.uint8), shape) as member:
                for sigma in self._chunks(1, np.uint8(UNKNOWN_SIGMA), padding):
                    member.write(sigma.tobytes())
            sx, sy = (small / full for small, full in zip(self._size, self._clip_size, strict=True))
            write_arrays(
                archive,
                {
                    "clip_size": np.asarray(self._clip_size, np.int64),
                    "map_from_clip": np.array([sx, sy, 0.5 * sx - 0.5, 0.5 * sy - 0.5]),
                },
            )
        return num_valid / max(1, int(np.prod(shape)))

    def _chunks(self, file_index: int, fill: np.generic, padding: tuple[int, int]) -> Iterator[npt.NDArray[Any]]:
        pixels = self._size[0] * self._size[1]
        for _ in range(padding[0]):
            yield np.full(pixels, fill)
        with open(self._paths[file_index], "rb") as file:
            while len(chunk := np.fromfile(file, fill.dtype, CHUNK_FRAMES * pixels)):
                yield chunk
        for _ in range(padding[1]):
            yield np.full(pixels, fill)


class MasksFile:
    """Writes dyn_masks.npz in SpatialVID's layout: a CSR matrix per frame (`f_<i>_data`, `_indices`, `_indptr`).

    Args:
      path: the file.
      size: (width, height) of the masks.
    """

    def __init__(self, path: str, size: tuple[int, int]) -> None:
        self._size = size
        self._count = 0
        self._num_known = 0
        self._num_moving = 0
        self._archive = zipfile.ZipFile(path, "w")

    def add(self, masks: Iterable[BoolArray | None]) -> None:
        """Appends (h, w) masks of the next frames.

        None, an unknown mask, is stored as an empty one.
        """
        for mask in masks:
            stored = np.zeros((self._size[1], self._size[0]), bool) if mask is None else mask
            write_arrays(self._archive, mask_arrays(self._count, stored))
            self._count += 1
            self._num_known += mask is not None
            self._num_moving += int(np.count_nonzero(stored))

    def close(self) -> float:
        """Finishes the file; returns the share of moving pixels.

        Only frames with a known mask count.
        """
        write_arrays(self._archive, {"shape": np.asarray((self._size[1], self._size[0]), np.int64)})
        self._archive.close()
        return self._num_moving / max(1, self._num_known * self._size[0] * self._size[1])
