"""The arrays that a shard holds of a clip, as bytes: deterministic when written, never unpickled when read."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from core.arrays import BoolArray, Float16Array, Float64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthMaps:
    """The depth maps of a clip.

    Attributes:
      depth: (n, h, w) float16 z-depth in the poses' unit, 0 where not valid.
      is_valid: (n, h, w) bool.
      map_from_clip: (4,) sx, sy, ox, oy: x in the map is sx * x in the clip + ox, pixel centers at integers.
    """

    depth: Float16Array
    is_valid: BoolArray
    map_from_clip: Float64Array


def npy_bytes(array: npt.NDArray[np.generic]) -> bytes:
    """An array as a .npy file, without pickled parts."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def npz_bytes(arrays: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
    """Named arrays as a compressed .npz file; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        write_arrays(archive, arrays)
    return buffer.getvalue()


def write_arrays(archive: zipfile.ZipFile, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Adds named arrays to an .npz file."""
    for name, array in arrays.items():
        with open_npy(archive, name, array.dtype, array.shape) as member:
            member.write(array.tobytes())


def open_npy(archive: zipfile.ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> IO[bytes]:
    """A new array of an .npz file, to which its numbers are to be written in order.

    NumPy itself asks for sizes of 64 bits, of which the 3.11 releases of Python write different headers: here only
    arrays of 2 GiB and more have them.
    """
    member = zipfile.ZipInfo(f"{name}.npy")
    member.compress_type = zipfile.ZIP_DEFLATED
    member.file_size = math.prod(shape) * dtype.itemsize
    file = archive.open(member, "w")
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file


def masks_bytes(is_moving: BoolArray) -> bytes:
    """(n, h, w) masks, true = moving, in SpatialVID's layout: one CSR matrix a frame (`f_<i>_data`, `_indices`,
    `_indptr`) and `shape` (h, w).
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for index, mask in enumerate(is_moving):
        arrays |= mask_arrays(index, mask)
    arrays["shape"] = np.asarray(is_moving.shape[1:], np.int64)
    return npz_bytes(arrays)


def mask_arrays(index: int, mask: BoolArray) -> dict[str, npt.NDArray[np.generic]]:
    """The CSR matrix of the `index`-th (h, w) mask."""
    rows, columns = np.nonzero(mask)
    return {
        f"f_{index}_data": np.ones(len(rows), bool),
        f"f_{index}_indices": columns.astype(np.int32),
        f"f_{index}_indptr": np.searchsorted(rows, np.arange(mask.shape[0] + 1)).astype(np.int32),
    }


def read_npy(data: bytes) -> npt.NDArray[Any]:
    """The array of a .npy file; refuses pickled ones."""
    return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))


def read_depth(data: bytes) -> DepthMaps:
    """The maps of a `depth.npz`."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return DepthMaps(depth=file["depth"], is_valid=file["valid"], map_from_clip=file["map_from_clip"])


def read_masks(data: bytes) -> BoolArray:
    """(n, h, w) bool masks, true = moving, of a `dyn_masks.npz`: one CSR matrix a frame, SpatialVID's layout."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        height, width = file["shape"].tolist()
        count = (len(file.files) - 1) // 3
        masks = np.zeros((count, height, width), bool)
        for index in range(count):
            indptr = file[f"f_{index}_indptr"]
            rows = np.repeat(np.arange(height), np.diff(indptr))
            masks[index, rows, file[f"f_{index}_indices"]] = file[f"f_{index}_data"]
    return masks
