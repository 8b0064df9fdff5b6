"""RGB sample images of decoded frames, and JPEG encoding and decoding."""

from __future__ import annotations

import threading
from fractions import Fraction

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from core.arrays import UInt8Array
from core.failures import ItemError
from media.color import is_rgb, matrix_of

REFERENCE_SIZE = (640, 360)
# With these flags and planar RGB output, swscale's colors are exact to rounding. Otherwise they are up to 3 levels too
# dark, and may differ between processors.
_SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
_SWS_MATRICES = {6: int(Colorspace.ITU601), 10: int(Colorspace.BT2020)}
_ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
_local = threading.local()


def sample_image(
    frame: VideoFrame,
    max_width: int,
    max_height: int,
    *,
    rotation_deg: int = 0,
    is_mirrored: bool = False,
    sample_aspect_ratio: Fraction = Fraction(1),
) -> UInt8Array:
    """The upright frame as RGB, downscaled to fit a box; the aspect ratio is kept.

    Uses the color matrix and range of the frame, or those that `media.color` assumes. HDR is converted without tone
    mapping. Area interpolation, never enlarged.
    About 1.4 ms of CPU at 1080p, 1 ms at 720p.

    Args:
      frame: the decoded frame.
      max_width, max_height: box for the upright image, in pixels.
      rotation_deg, is_mirrored, sample_aspect_ratio: as in `VideoInfo`.

    Returns:
      (height, width, 3) uint8 RGB.
    """
    is_transposed = rotation_deg in (90, 270)
    box_width, box_height = (max_height, max_width) if is_transposed else (max_width, max_height)
    full_width = frame.width * max(Fraction(1), sample_aspect_ratio)
    full_height = frame.height / min(Fraction(1), sample_aspect_ratio)
    scale = min(Fraction(1), box_width / full_width, box_height / full_height)
    planar = _reformatter("sample").reformat(
        frame,
        width=max(1, round(full_width * scale)),
        height=max(1, round(full_height * scale)),
        format="gbrp",
        src_colorspace=_sws_matrix(frame),
        interpolation=_SCALING,
        threads=1,
    )
    green, blue, red = (
        np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width]  # type: ignore[call-overload]
        for p in planar.planes
    )
    return rotate_upright(np.asarray(cv2.merge([red, green, blue]), np.uint8), rotation_deg, is_mirrored)


def reference_sample_image(frame: VideoFrame, *, rotation_deg: int = 0) -> UInt8Array:
    """The frame as in SpatialVID's scoring: resized to 640 x 360, whatever its aspect ratio.

    Reproduces OpenCV's `VideoCapture`: BT.601 in limited range whatever the stream says (except formats that are full
    range by name), BGR at full size, rotated upright, then bilinear resizing without antialiasing.

    Returns:
      (360, 640, 3) uint8 RGB.
    """
    full_range = frame.format.name.startswith("yuvj") or frame.format.is_rgb
    full_size = _reformatter("reference").reformat(
        frame,
        format="bgr24",
        src_colorspace=Colorspace.ITU601,
        src_color_range=None if full_range else ColorRange.MPEG,
        interpolation=Interpolation.BICUBIC,
        threads=1,
    )
    image = rotate_upright(np.asarray(full_size.to_ndarray(), np.uint8), rotation_deg)
    small = cv2.resize(image, REFERENCE_SIZE, interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8)


def rotate_upright(image: UInt8Array, rotation_deg: int, is_mirrored: bool = False) -> UInt8Array:
    """Rotates an image clockwise by a multiple of 90 degrees, then optionally flips it.

    The flip is horizontal.
    """
    if rotation_deg:
        image = np.asarray(cv2.rotate(image, _ROTATIONS[rotation_deg]), np.uint8)
    return np.asarray(cv2.flip(image, 1), np.uint8) if is_mirrored else image


def encode_jpeg(rgb: UInt8Array, quality: int = 95) -> bytes:
    """JPEG bytes of an (h, w, 3) uint8 RGB image; equal images give equal bytes."""
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError(f"an image of shape {rgb.shape} cannot be written as JPEG")
    return bytes(data)


def decode_jpeg(data: bytes) -> UInt8Array:
    """(h, w, 3) uint8 RGB image of JPEG bytes.

    Raises:
      ItemError: BadImage if the bytes are not an image.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise ItemError("BadImage", f"{len(data)} bytes are not a JPEG image", "write the image again.")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _sws_matrix(frame: VideoFrame) -> int | None:
    """Code by which swscale knows the matrix of a frame; None for RGB."""
    matrix = matrix_of(frame)
    return None if is_rgb(frame.format.name) else _SWS_MATRICES.get(matrix, matrix)


def _reformatter(purpose: str) -> VideoReformatter:
    """A converter of this thread, cached since swscale takes long to initialize."""
    reformatter = getattr(_local, purpose, None)
    if reformatter is None:
        reformatter = VideoReformatter()
        setattr(_local, purpose, reformatter)
    return reformatter
