from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.filters import fit_size, nearest_format

SIZES = st.integers(2, 8000)
X264 = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le")
X265 = (*X264, "yuv420p12le", "yuv444p12le")


@given(SIZES, SIZES, st.one_of(st.none(), st.integers(32, 4000)))
def test_sizes_are_reduced_to_the_limit_and_never_enlarged(width: int, height: int, limit: int | None) -> None:
    new = fit_size(width, height, limit)
    if limit is None or min(width, height) <= limit:
        assert new == (width, height)
        return
    assert new[0] % 2 == new[1] % 2 == 0 and new[0] <= width and new[1] <= height
    assert min(new) == limit // 2 * 2
    assert abs(new[0] * height - new[1] * width) <= max(width, height)


@pytest.mark.parametrize(
    ("source", "x264", "x265"),
    [
        ("yuv420p", "yuv420p", "yuv420p"),
        ("yuvj420p", "yuvj420p", "yuvj420p"),
        ("yuv444p", "yuv444p", "yuv444p"),
        ("yuv420p10le", "yuv420p10le", "yuv420p10le"),
        ("yuv420p9le", "yuv420p10le", "yuv420p10le"),
        ("yuv444p12le", "yuv444p10le", "yuv444p12le"),
        ("yuv422p16le", "yuv422p10le", "yuv422p10le"),
        ("yuv410p", "yuv420p", "yuv420p"),
        ("yuv411p", "yuv422p", "yuv422p"),
        ("yuva420p", "yuv420p", "yuv420p"),
        ("p010le", "yuv420p10le", "yuv420p10le"),
        ("bgr0", "yuv444p", "yuv444p"),
        ("gray", "yuv420p", "yuv420p"),
    ],
)
def test_the_nearest_format_keeps_sampling_before_depth(source: str, x264: str, x265: str) -> None:
    assert nearest_format(source, X264) == x264
    assert nearest_format(source, X265) == x265
