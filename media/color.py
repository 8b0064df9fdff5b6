"""Color of a video: one rule for what its tags leave unspecified, and tone mapping of PQ and HLG to BT.709."""

from __future__ import annotations

from functools import cache
from itertools import product
from math import exp

from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from core.video_info import VideoInfo

# Code points of ISO/IEC 23091-2 (color range, primaries, transfer, matrix), by FFmpeg's names.
RANGES = {1: "limited", 2: "full"}
PRIMARIES = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020",
    10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "ebu3213",
}  # fmt: skip
TRANSFERS = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100",
    10: "log316", 11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12",
    16: "smpte2084", 17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
MATRICES = {
    0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c", 14: "ictcp",
}  # fmt: skip
PQ, HLG = 16, 18
LIMITED, FULL = 1, 2
_UNSPECIFIED = 2
BT709, BT601, BT2020 = 1, 6, 9
_BT2020_TRANSFERS = frozenset({14, 15, PQ, HLG})
# Luma weights of the matrices that swscale converts by.
_KR_KB = {
    1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087),
    9: (0.2627, 0.0593), 10: (0.2627, 0.0593),
}  # fmt: skip
_MATRIX_TRANSFERS = {1: 1, 5: 6, 6: 6, 7: 7, 9: 14, 10: 14}

PEAK_NITS, WHITE_NITS = 1000.0, 203.0
"""Luminance of the brightest highlight that tone mapping keeps, and of BT.709's white (ITU-R BT.2408)."""
# Steps of the table: PQ is steep in light near white.
_LUT_SIZES = {PQ: 65, HLG: 33}


def resolve_matrix(matrix: int, width: int, height: int, *, primaries: int = 2, transfer: int = 2) -> int:
    """Code point of the matrix that a YUV video is converted by; its own if swscale converts by it.

    Else BT.2020 if the primaries or the transfer are of BT.2020 or BT.2100. Else BT.709 for images above standard
    definition: long side from 1280 pixels on, or short side above 576. Else BT.601. A video and the same video turned
    by 90 degrees are treated alike; the size counts before the sample aspect ratio.

    Args:
      matrix, primaries, transfer: the video's code points (ISO/IEC 23091-2); 2 is unspecified.
      width, height: size of the image.
    """
    if matrix in _KR_KB:
        return matrix
    if primaries == BT2020 or transfer in _BT2020_TRANSFERS:
        return BT2020
    is_high_definition = max(width, height) >= 1280 or min(width, height) > 576
    return BT709 if is_high_definition else BT601


def luma_weights(matrix: int) -> tuple[float, float]:
    """Weights of red and blue in luma, of a matrix that `resolve_matrix` returns."""
    return _KR_KB[matrix]


def matrix_of(frame: VideoFrame) -> int:
    """Matrix by which a decoded frame is converted to RGB; for an RGB frame, the one by which it becomes YUV."""
    return resolve_matrix(
        _UNSPECIFIED if is_rgb(frame.format.name) else int(frame.colorspace),
        frame.width,
        frame.height,
        primaries=int(frame.color_primaries),
        transfer=int(frame.color_trc),
    )


def assumed_matrix(info: VideoInfo) -> int:
    """Matrix of a probed video: its own, or the assumed one; see `resolve_matrix`."""
    return resolve_matrix(
        _UNSPECIFIED if is_rgb(info.pixel_format) else code_of(MATRICES, info.color_matrix),
        info.display_width,
        info.display_height,
        primaries=code_of(PRIMARIES, info.color_primaries),
        transfer=code_of(TRANSFERS, info.color_transfer),
    )


def code_of(names: dict[int, str], name: str | None) -> int:
    """Code point of one of FFmpeg's names; 2 (unspecified) for None."""
    return next((code for code, own in names.items() if own == name), _UNSPECIFIED)


@cache
def is_rgb(format_name: str) -> bool:
    """Whether a pixel format holds RGB or a palette of RGB."""
    format_ = VideoFormat(format_name)
    return bool(format_.is_rgb or format_.has_palette)


def is_full_range(format_name: str, color_range: int) -> bool:
    """Whether luma spans all codes; untagged YUV is limited.

    Gray is full whatever its tag says, since FFmpeg's scaler, and so nearly every reader, converts it that way.
    """
    return format_name.startswith(("yuvj", "gray")) or color_range == FULL


def tag_color(frame: VideoFrame) -> None:
    """Writes the assumed matrix, range and transfer into the tags of a YUV frame that leaves them unspecified.

    The range is that of `is_full_range`, the transfer that of the matrix. Primaries are assumed for BT.709 and BT.2020
    only: those of BT.601 differ by country, and no conversion here uses them. RGB frames stay as they are.
    """
    name = frame.format.name
    if is_rgb(name):
        return
    if frame.color_range not in RANGES or name.startswith("gray"):
        frame.color_range = FULL if is_full_range(name, frame.color_range) else LIMITED
    matrix = matrix_of(frame)
    if frame.color_primaries not in PRIMARIES and matrix in (BT709, BT2020):
        frame.color_primaries = matrix
    if frame.color_trc not in TRANSFERS:
        frame.color_trc = _MATRIX_TRANSFERS.get(matrix, _UNSPECIFIED)
    if frame.colorspace not in MATRICES or frame.colorspace == 0:
        frame.colorspace = matrix


@cache
def tone_mapping_lut(transfer: int) -> str:
    """Text of a 3D LUT (.cube) from R'G'B' in BT.2100 PQ or HLG to BT.709.

    Display light up to `PEAK_NITS` (HLG: by the OOTF of a display of that peak) is compressed to `WHITE_NITS` by the
    EETF of ITU-R BT.2390-10 section 5.4.1 on R, G and B each. Primaries are converted by the matrix of ITU-R BT.2087;
    what lies outside of BT.709 is clipped. The result is coded by the inverse of BT.1886 (gamma 2.4).

    Args:
      transfer: `PQ` or `HLG`.
    """
    size = _LUT_SIZES[transfer]
    levels = [k / (size - 1) for k in range(size)]
    linear = [_compress(_pq_to_nits(level)) if transfer == PQ else _hlg_to_scene(level) for level in levels]
    rows = [f"LUT_3D_SIZE {size}"]
    for blue, green, red in product(linear, repeat=3):  # red varies fastest in a .cube file
        rgb = (red, green, blue)
        if transfer == HLG:
            gain = PEAK_NITS * max(0.2627 * red + 0.6780 * green + 0.0593 * blue, 1e-9) ** 0.2
            rgb = (_compress(gain * red), _compress(gain * green), _compress(gain * blue))
        rows.append(" ".join(f"{_gamma(row, rgb):.6f}" for row in _RGB709_FROM_RGB2020))
    return "\n".join(rows) + "\n"


# ITU-R BT.2087-0, inverse of equation 4.
_RGB709_FROM_RGB2020 = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))


def _gamma(weights: tuple[float, float, float], nits: tuple[float, float, float]) -> float:
    """Weighted sum of R, G and B relative to white, coded by the inverse of BT.1886."""
    light = sum(w * n for w, n in zip(weights, nits, strict=True)) / WHITE_NITS
    return float(min(max(light, 0.0), 1.0) ** (1 / 2.4))


def _pq_to_nits(coded: float) -> float:
    """PQ EOTF of SMPTE ST 2084."""
    power = coded ** (32 / 2523)
    return float(10000.0 * (max(power - 0.8359375, 0.0) / (18.8515625 - 18.6875 * power)) ** (16384 / 2610))


def _nits_to_pq(nits: float) -> float:
    power = (nits / 10000.0) ** (2610 / 16384)
    return float(((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** (2523 / 32))


def _hlg_to_scene(coded: float) -> float:
    """Scene light, 0 to 1, by the inverse OETF of HLG (ITU-R BT.2100-2 table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return coded**2 / 3 if coded <= 0.5 else (exp((coded - c) / a) + b) / 12


def _compress(nits: float) -> float:
    """EETF of ITU-R BT.2390-10 section 5.4.1: a Hermite spline above the knee, in PQ."""
    peak = _nits_to_pq(PEAK_NITS)
    white = _nits_to_pq(WHITE_NITS) / peak
    level, knee = min(_nits_to_pq(nits) / peak, 1.0), 1.5 * white - 0.5
    if level < knee:
        return nits
    t = (level - knee) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    return _pq_to_nits(spline * peak)
