"""WebDataset members of a clip that hold arrays (.npy, .npz): reproducible bytes, no pickle."""

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
      depth: (n, h, w) float16 z-depth in units of the camera poses, 0 where not valid.
      is_valid: (n, h, w) bool.
      map_from_clip: (4,) sx, sy, ox, oy: x_map = sx * x_clip + ox, y likewise; pixel centers at integers.
    """

    depth: Float16Array
    is_valid: BoolArray
    map_from_clip: Float64Array


def npy_bytes(array: npt.NDArray[np.generic]) -> bytes:
    """Bytes of a .npy file of an array; object arrays are refused."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def npz_bytes(arrays: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
    """Bytes of a compressed .npz file of named arrays; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        write_arrays(archive, arrays)
    return buffer.getvalue()


def write_arrays(archive: zipfile.ZipFile, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Appends named arrays to an .npz archive."""
    for name, array in arrays.items():
        with open_npy(archive, name, array.dtype, array.shape) as member:
            member.write(array.tobytes())


def open_npy(archive: zipfile.ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> IO[bytes]:
    """Opens a new array of an .npz archive for writing its data in C order.

    NumPy always requests ZIP64, whose headers differ between releases of Python 3.11; here only arrays of 2 GiB and
    more use it.
    """
    member = zipfile.ZipInfo(f"{name}.npy")
    member.compress_type = zipfile.ZIP_DEFLATED
    member.file_size = math.prod(shape) * dtype.itemsize
    file = archive.open(member, "w")
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file


def masks_bytes(is_moving: BoolArray) -> bytes:
    """Bytes of an .npz file of (n, h, w) dynamic masks, True = moving, in SpatialVID's layout.

    One CSR matrix per frame (`f_<i>_data`, `_indices`, `_indptr`), and `shape` (h, w).
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for index, mask in enumerate(is_moving):
        arrays |= mask_arrays(index, mask)
    arrays["shape"] = np.asarray(is_moving.shape[1:], np.int64)
    return npz_bytes(arrays)


def mask_arrays(index: int, mask: BoolArray) -> dict[str, npt.NDArray[np.generic]]:
    """CSR arrays of the (h, w) mask of frame `index`."""
    rows, columns = np.nonzero(mask)
    return {
        f"f_{index}_data": np.ones(len(rows), bool),
        f"f_{index}_indices": columns.astype(np.int32),
        f"f_{index}_indptr": np.searchsorted(rows, np.arange(mask.shape[0] + 1)).astype(np.int32),
    }


def read_npy(data: bytes) -> npt.NDArray[Any]:
    """The array of a .npy file; pickled data is refused."""
    return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))


def read_depth(data: bytes) -> DepthMaps:
    """Depth maps of a `depth.npz`."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return DepthMaps(depth=file["depth"], is_valid=file["valid"], map_from_clip=file["map_from_clip"])


def read_masks(data: bytes) -> BoolArray:
    """(n, h, w) bool dynamic masks, True = moving, of a `dyn_masks.npz` in SpatialVID's layout."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        height, width = file["shape"].tolist()
        count = (len(file.files) - 1) // 3
        masks = np.zeros((count, height, width), bool)
        for index in range(count):
            indptr = file[f"f_{index}_indptr"]
            rows = np.repeat(np.arange(height), np.diff(indptr))
            masks[index, rows, file[f"f_{index}_indices"]] = file[f"f_{index}_data"]
    return masks
