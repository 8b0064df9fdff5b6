"""Copies a whole video file as a clip, byte for byte.

Only where all readers decode the same frames.
"""

from __future__ import annotations

import hashlib
import shutil
from fractions import Fraction

import av

from core.digest import DIGEST_LENGTH
from core.time import FrameSpan
from core.video_info import VideoInfo
from media.color import BT601, assumed_matrix, is_rgb
from media.decode import VideoReader
from media.source import open_container
from storage.uris import normalize_uri, open_uri

COPIED_CODECS = frozenset({"h264", "hevc", "av1", "vp9"})
QUICKTIME_BRAND = "qt"
_INTERLACED_CODECS = frozenset({"h264", "hevc"})


def copy_obstacle(uri: str, span: FrameSpan, info: VideoInfo) -> str | None:
    """Reason why a file cannot be copied as a whole clip; None if it can.

    It can if it is an MP4 file with one video stream (audio is allowed) in a common codec, without rotation by a
    display matrix, progressive, with a color matrix that is stated or that all readers assume, with one packet for each
    frame of the span: none discarded by an edit list, none undecodable.

    Raises:
      ItemError: what opening the file raises.
    """
    if info.codec not in COPIED_CODECS:
        return f"its codec is {info.codec}"
    if info.rotation_deg or info.is_mirrored:
        return "it has a display matrix, which some readers ignore"
    if info.is_interlaced:
        return "it is interlaced"
    if info.color_matrix is None and not is_rgb(info.pixel_format) and assumed_matrix(info) != BT601:
        return "it does not state its color matrix, and many readers assume another one"
    with open_container(uri) as container:
        brand = container.metadata.get("major_brand", "").strip()
        if "mp4" not in container.format.name.split(",") or not brand or brand == QUICKTIME_BRAND:
            return "it is not an MP4 file"
        if [s.type for s in container.streams].count("video") != 1:
            return "it has several video streams"
        stream = container.streams.video[0]
        try:
            packets = [(p.pts, p.is_discard) for p in container.demux(stream) if p.size]
        except av.FFmpegError as error:
            return f"it cannot be read to the end: {error.strerror}"
        base = stream.time_base or Fraction(1)
        last_s = max((pts or 0) * base for pts, _ in packets) if packets else Fraction(0)
    if len(packets) != span.num_frames or any(is_discarded or pts is None for pts, is_discarded in packets):
        return f"it has {len(packets)} packets for {span.num_frames} frames"
    if not span.start_s <= last_s < span.end_s:
        return "its timestamps do not match its frames"
    return "some of its frames are interlaced" if _has_interlaced_frames(uri, info) else None


def _has_interlaced_frames(uri: str, info: VideoInfo) -> bool:
    """Whether any frame is flagged as interlaced; the codecs that can be are decoded for it."""
    if info.codec not in _INTERLACED_CODECS:
        return False
    with VideoReader(uri) as reader:
        return any(decoded.frame.interlaced_frame for decoded in reader.frames())


def copy_to_local(uri: str, path: str) -> str:
    """Copies a file to a local path; returns its SHA-256, truncated to 128 bits, hexadecimal."""
    fs, source = open_uri(normalize_uri(uri))
    with fs.open(source, "rb") as read, open(path, "wb") as written:
        shutil.copyfileobj(read, written, 1 << 20)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_LENGTH]
