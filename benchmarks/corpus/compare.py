"""Compares the frames of clips with those of their source as FFmpeg's own program decodes and converts them."""

from __future__ import annotations

import subprocess
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe

from core.arrays import Float64Array, UInt8Array

# FFmpeg's scaler without its fast approximations: colors are exact to rounding.
EXACT = "flags=accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
# Mean absolute differences closer than this, in 8-bit levels, do not tell one frame from its neighbor.
TIE = 0.05
# Rows and columns of differences between neighbors that are looked at: every fourth.
STRIDE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipComparison:
    """Differences of a clip's frames from the source's, in 8-bit RGB levels.

    Attributes:
      clip_id: of the clip.
      num_frames: frames compared.
      missing_frames: frames that one side has and the other has not.
      difference: mean absolute difference at the offsets -1, 0 and +1; NaN where there is no neighbor.
      shifted_frames: frames nearer to a neighbor of their own source frame.
      bias: mean difference (clip - source) of red, green and blue.
    """

    clip_id: str
    num_frames: int
    missing_frames: int
    difference: tuple[float, float, float]
    shifted_frames: int
    bias: tuple[float, float, float]

    @property
    def is_off_by_one(self) -> bool:
        """Whether the clip as a whole is nearer to its source's neighboring frames."""
        before, own, after = self.difference
        return min(before, after) < own - TIE

    @property
    def max_bias(self) -> float:
        return max(abs(channel) for channel in self.bias)


def source_filter(video: dict[str, Any]) -> str:
    """Filter graph that converts a source by its tags, or by what docs/color.md says of untagged video.

    What is not 4:2:0 is subsampled first, as clips are: chroma that leaves the gamut of RGB is clipped there otherwise.

    Args:
      video: row of the videos table.
    """
    long_side, short_side = sorted((video["width"], video["height"]), reverse=True)
    matrix, name = video["color_matrix"], video["pixel_format"]
    if matrix in (None, "gbr"):
        is_bt2020 = video["color_primaries"] == "bt2020" or video["color_transfer"] in ("smpte2084", "arib-std-b67")
        is_high_definition = long_side >= 1280 or short_side > 576
        matrix = "bt2020nc" if is_bt2020 else "bt709" if is_high_definition else "smpte170m"
    matrix = "bt2020" if matrix.startswith("bt2020") else matrix
    is_full = video["color_range"] == "full" or name.startswith("gray")
    read = f"in_color_matrix={matrix}:in_range={'full' if is_full else 'limited'}"
    to_rgb = f"scale={read}:{EXACT},format=gbrp"
    if name.startswith(("rgb", "bgr", "gbr", "pal", "argb", "abgr")):
        limited = f"in_color_matrix={matrix}:in_range=limited"
        to_yuv = f"scale=out_color_matrix={matrix}:out_range=limited:{EXACT}"
        return f"{to_yuv},format=yuv420p,scale={limited}:{EXACT},format=gbrp"
    subsample = "" if "420" in name else f"scale={read.replace('in_', 'out_')}:{read}:{EXACT},format=yuv420p,"
    return f"bwdif=mode=send_frame:deint=interlaced,{subsample}{to_rgb}"


def decode_rgb(path: Path, filters: str, stream_index: int | None = None) -> Generator[UInt8Array, None, None]:
    """Yields the upright (height, width, 3) RGB frames of a file, by FFmpeg's own program."""
    stream = "v:0" if stream_index is None else str(stream_index)
    # PPM states each frame's size.
    command = [get_ffmpeg_exe(), "-v", "error", "-threads", "1", "-i", str(path), "-map", f"0:{stream}"]
    command += ["-fps_mode", "passthrough", "-vf", filters, "-f", "image2pipe", "-c:v", "ppm", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            while process.stdout.readline():
                width, height = (int(word) for word in process.stdout.readline().split())
                process.stdout.readline()
                data = process.stdout.read(width * height * 3)
                if len(data) < width * height * 3:
                    return
                yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
        finally:
            process.kill()


def compare_clip(clip_id: str, clip_path: Path, source: SourceFrames, start: int, end: int) -> ClipComparison:
    """Comparison of a clip with the frames [start, end) of its source."""
    sums, counts, bias = np.zeros(3), np.zeros(3), np.zeros(3)
    shifted = count = extra = 0
    with closing(decode_rgb(clip_path, f"scale={EXACT},format=gbrp")) as frames:
        for index, frame in enumerate(frames, start):
            own = source.at(index)
            if own is None or index >= end:
                extra += 1
                continue
            differences = np.array([_difference(frame, source.at(index + offset)) for offset in (-1, 0, 1)])
            known = ~np.isnan(differences)
            sums[known] += differences[known]
            counts += known
            shifted += bool(np.nanmin(differences) < differences[1] - 5 * TIE)
            bias += _bias(frame, own)
            count += 1
    with np.errstate(invalid="ignore"):
        before, own_mean, after = (float(x) for x in sums / counts)
        red, green, blue = (float(x) for x in bias / max(count, 1))
    return ClipComparison(
        clip_id=clip_id,
        num_frames=count,
        missing_frames=end - start - count + extra,
        difference=(before, own_mean, after),
        shifted_frames=shifted,
        bias=(red, green, blue),
    )


class SourceFrames:
    """Frames of a source by display index, decoded once, a few in memory; indices are asked for in rising order."""

    def __init__(self, frames: Iterator[UInt8Array]) -> None:
        self._frames = frames
        self._held: dict[int, UInt8Array] = {}
        self._next = 0

    def at(self, index: int) -> UInt8Array | None:
        """The frame, or None where there is none."""
        while self._next <= index:
            frame = next(self._frames, None)
            if frame is None:
                return self._held.get(index)
            self._held[self._next] = frame
            self._next += 1
            self._held.pop(self._next - 8, None)
        return self._held.get(index)

    def count(self) -> int:
        """Number of frames; reads to the end."""
        for _ in self._frames:
            self._next += 1
        return self._next


@contextmanager
def open_source(path: Path, video: dict[str, Any], stream_index: int) -> Iterator[SourceFrames]:
    """Frames of a source of the videos table, by FFmpeg's own program."""
    with closing(decode_rgb(path, source_filter(video), stream_index)) as frames:
        yield SourceFrames(frames)


def _difference(frame: UInt8Array, other: UInt8Array | None) -> float:
    if other is None:
        return float("nan")
    height, width = min(frame.shape[0], other.shape[0]), min(frame.shape[1], other.shape[1])
    step = STRIDE if min(height, width) >= 100 else 1
    a, b = frame[:height:step, :width:step], other[:height:step, :width:step]
    return float(np.abs(a.astype(np.int16) - b).mean())


def _bias(frame: UInt8Array, other: UInt8Array) -> Float64Array:
    """Mean difference by channel over the common part: clips are cropped to even sizes."""
    height, width = min(frame.shape[0], other.shape[0]), min(frame.shape[1], other.shape[1])
    a, b = (image[:height, :width].mean(axis=(0, 1), dtype=np.float64) for image in (frame, other))
    return np.asarray(a - b, np.float64)
