from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

def available_simd() -> list[str]: ...

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
        max_bend: float,
        max_residual: float,
        min_quality: float,
        /,
    ) -> None: ...
    def push(self, thumbnail: npt.NDArray[np.uint8], /) -> list[tuple[float, int, float]]: ...
    def factors(self, length: int, /) -> list[float]: ...
