from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

def available_simd() -> list[str]: ...
def exp(x: npt.ArrayLike, /) -> npt.NDArray[np.float64]: ...
def log(x: npt.ArrayLike, /) -> npt.NDArray[np.float64]: ...
def arcsin(x: npt.ArrayLike, /) -> npt.NDArray[np.float64]: ...
def arccos(x: npt.ArrayLike, /) -> npt.NDArray[np.float64]: ...

class FrameStats:
    def __init__(
        self, width: int, height: int, chroma_width: int, chroma_height: int, bit_depth: int, simd: str, /
    ) -> None: ...
    def push(
        self, y: object, y_stride: int, u: object, u_stride: int, v: object, v_stride: int, /
    ) -> tuple[float, float, float, float, float, npt.NDArray[np.uint8]]: ...
    def reset(self) -> None: ...

def mean_change(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8], /) -> float: ...
def mean_luma_change(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8], /) -> float: ...

class BlendSearch:
    def __init__(
        self,
        lengths: Sequence[int],
        probes: Sequence[float],
        min_distance: float,
        max_nonlinearity: float,
        max_residual: float,
        min_quality: float,
        /,
    ) -> None: ...
    def push(self, thumbnail: npt.NDArray[np.uint8], /) -> list[tuple[float, int, float]]: ...
    def factors(self, length: int, /) -> list[float]: ...

DoubleArray = npt.NDArray[np.float64]
SingleArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int32]

def se3_exp(xi: DoubleArray, /) -> DoubleArray: ...
def se3_log(g: DoubleArray, /) -> DoubleArray: ...
def se3_invert(g: DoubleArray, /) -> DoubleArray: ...
def se3_normalize(g: DoubleArray, /) -> DoubleArray: ...
def se3_adjoint(g: DoubleArray, /) -> DoubleArray: ...
def se3_to_matrix(g: DoubleArray, /) -> DoubleArray: ...
def se3_from_matrix(matrix: DoubleArray, /) -> DoubleArray: ...
def se3_compose(a: DoubleArray, b: DoubleArray, /) -> DoubleArray: ...
def se3_act(g: DoubleArray, points: DoubleArray, /) -> DoubleArray: ...
def so3_exp(phi: DoubleArray, /) -> DoubleArray: ...
def so3_log(q: DoubleArray, /) -> DoubleArray: ...
def so3_invert(q: DoubleArray, /) -> DoubleArray: ...
def so3_normalize(q: DoubleArray, /) -> DoubleArray: ...
def so3_to_matrix(q: DoubleArray, /) -> DoubleArray: ...
def so3_from_matrix(matrix: DoubleArray, /) -> DoubleArray: ...
def so3_compose(a: DoubleArray, b: DoubleArray, /) -> DoubleArray: ...
def so3_act(q: DoubleArray, points: DoubleArray, /) -> DoubleArray: ...
def bundle_adjust(
    cam_from_world: DoubleArray,
    inverse_depth: DoubleArray,
    pixels: SingleArray,
    intrinsics: DoubleArray,
    source: IndexArray,
    target: IndexArray,
    target_px: SingleArray,
    weight: SingleArray,
    prior_inverse_depth: DoubleArray | None,
    prior_weight: DoubleArray | None,
    point_damping: DoubleArray | None,
    fixed: npt.NDArray[np.uint8],
    options: Mapping[str, Any],
    kernel: str,
    simd: str,
    /,
) -> tuple[
    DoubleArray,
    DoubleArray,
    DoubleArray,
    DoubleArray,
    SingleArray | None,
    DoubleArray | None,
    float,
    float,
    int,
    bool,
]: ...
def reproject(
    cam_from_world: DoubleArray,
    inverse_depth: DoubleArray,
    pixels: SingleArray,
    intrinsics: DoubleArray,
    source: IndexArray,
    target: IndexArray,
    min_depth_ratio: float,
    threads: int,
    /,
) -> tuple[SingleArray, SingleArray, npt.NDArray[np.uint8]]: ...
def frame_distance(
    cam_from_world: DoubleArray,
    inverse_depth: DoubleArray,
    pixels: SingleArray,
    intrinsics: DoubleArray,
    source: IndexArray,
    target: IndexArray,
    beta: float,
    min_depth_ratio: float,
    min_share: float,
    threads: int,
    /,
) -> DoubleArray: ...
def align_patches(
    images: npt.NDArray[np.uint8],
    source: npt.NDArray[np.int32],
    target: npt.NDArray[np.int32],
    position_px: SingleArray,
    initial_px: SingleArray,
    source_from_target: SingleArray,
    radius_px: int,
    iterations: int,
    threads: int,
    /,
) -> tuple[SingleArray, SingleArray, SingleArray]: ...
