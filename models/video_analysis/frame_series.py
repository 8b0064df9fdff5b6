"""Per-frame luminance and motion of one video, and the scores of any interval of it."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import cv2
import numpy as np

from core.annotations import ClipScores, Shot
from core.arrays import Float64Array, UInt8Array
from core.time import FrameSpan
from core.video_info import VideoInfo
from native.frame_stats import FrameStat
from native.thumbnails import mean_luma_change

MOTION_GAP_S = 0.1
LUMINANCE_WEIGHTS = (0.2126, 0.7152, 0.0722)
_KR_KB = {"bt709": (0.2126, 0.0722), "bt601": (0.299, 0.114), "bt2020": (0.2627, 0.0593)}


@dataclass(frozen=True, slots=True)
class LuminanceFormula:
    """Mean luminance from mean Y', Cb, Cr.

    0.2126 R + 0.7152 G + 0.0722 B, gamma-coded, 0 to 255.

    The formula is linear, so plane means give the pixel mean exactly, except for pixels whose R, G or B would be
    clipped; luma outside of the nominal range is clamped per pixel before.

    Attributes:
      kr, kb: luma weights of the stream's matrix (ITU-R BT.601, BT.709, BT.2020).
      full_range: whether codes span 0 to 255 instead of 16 to 235 and 240.
    """

    kr: float
    kb: float
    full_range: bool

    @classmethod
    def of(cls, info: VideoInfo) -> LuminanceFormula:
        """Formula of a video; untagged video is BT.709 from 720 lines on, else BT.601."""
        fallback = "bt709" if min(info.display_width, info.display_height) >= 720 else "bt601"
        kr, kb = _KR_KB[_matrix_family(info.color_matrix) or fallback]
        return cls(kr, kb, info.color_range == "full")

    def rgb_matrix(self) -> Float64Array:
        """(3, 4) affine matrix from 8-bit Y', Cb, Cr to RGB, 0 to 255."""
        luma_gain, chroma_gain, black = (1.0, 1.0, 0.0) if self.full_range else (255.0 / 219.0, 255.0 / 224.0, 16.0)
        red, blue = 2 * (1 - self.kr) * chroma_gain, 2 * (1 - self.kb) * chroma_gain
        kg = 1 - self.kr - self.kb
        gains = np.array(
            [
                [luma_gain, 0.0, red],
                [luma_gain, -self.kb * blue / kg, -self.kr * red / kg],
                [luma_gain, blue, 0.0],
            ]
        )
        return np.column_stack([gains, -gains @ np.array([black, 128.0, 128.0])])

    def __call__(self, stat: FrameStat) -> float:
        """Mean luminance of a frame, 0 to 255."""
        if self.full_range:
            luma, chroma_gain = stat.luma_mean, 1.0
        else:
            luma, chroma_gain = (stat.luma_nominal_mean - 16.0) * 255.0 / 219.0, 255.0 / 224.0
        blue = luma + 2 * (1 - self.kb) * (stat.u_mean - 128.0) * chroma_gain
        red = luma + 2 * (1 - self.kr) * (stat.v_mean - 128.0) * chroma_gain
        green = (luma - self.kr * red - self.kb * blue) / (1 - self.kr - self.kb)
        wr, wg, wb = LUMINANCE_WEIGHTS
        return min(max(wr * red + wg * green + wb * blue, 0.0), 255.0)


def _matrix_family(color_matrix: str | None) -> str | None:
    name = (color_matrix or "").lower()
    if name in ("bt709", "bt601", "bt2020"):
        return name
    if name in ("bt470bg", "smpte170m", "fcc", "smpte240m"):
        return "bt601"
    return "bt2020" if name.startswith("bt2020") else None


class FrameSeries:
    """Timestamps, motion and luminance of all frames so far, 40 bytes per frame."""

    def __init__(self, time_base: Fraction, luminance: LuminanceFormula) -> None:
        self._time_base = time_base
        self._luminance_formula = luminance
        self._pts = array("q")
        self._motion = array("d")
        self._motion_normalized = array("d")
        self._luminance = array("d")
        self._end_pts = 0
        self._recent: deque[tuple[float, UInt8Array]] = deque()
        self.last_time_s = 0.0

    def __len__(self) -> int:
        return len(self._pts)

    def append(self, pts: int, duration: int, stat: FrameStat) -> None:
        """Adds the next frame in display order."""
        self._pts.append(pts)
        self._end_pts = pts + max(duration, 1)
        self.last_time_s = pts * self._time_base.numerator / self._time_base.denominator
        self._motion.append(stat.motion)
        self._luminance.append(self._luminance_formula(stat))
        self._motion_normalized.append(self._change_since_gap(stat.thumbnail))

    def _change_since_gap(self, thumbnail: UInt8Array) -> float:
        """Mean absolute difference of luma thumbnails `MOTION_GAP_S` apart, scaled from the nearest pair."""
        recent = self._recent
        recent.append((self.last_time_s, thumbnail))
        limit = self.last_time_s - MOTION_GAP_S + 1e-6
        while len(recent) > 2 and recent[1][0] <= limit:
            recent.popleft()
        past_s, past = recent[0]
        elapsed = self.last_time_s - past_s
        if elapsed <= 0:
            return 0.0
        return mean_luma_change(thumbnail, past) * (MOTION_GAP_S / elapsed)

    def pts(self, frame: int) -> int:
        """Timestamp of a frame; after the last one, the end of the video."""
        return self._pts[frame] if frame < len(self._pts) else self._end_pts

    def time(self, frame: int) -> Fraction:
        """Time of a frame in seconds (see `pts`)."""
        return self.pts(frame) * self._time_base

    def span(self, start: Fraction, end: Fraction) -> FrameSpan | None:
        """The frames with `start <= time < end` in seconds; None without any."""
        first = bisect_left(self._pts, ceil(start / self._time_base))
        last = bisect_left(self._pts, ceil(end / self._time_base))
        return self.frame_span(first, last) if last > first else None

    def frame_span(self, start_frame: int, end_frame: int) -> FrameSpan:
        """The interval `[start_frame, end_frame)` with its timestamps."""
        return FrameSpan(
            start_frame=start_frame,
            end_frame=end_frame,
            start_pts=self.pts(start_frame),
            end_pts=self.pts(end_frame),
            time_base=self._time_base,
        )

    def scores(self, span: FrameSpan, sample_luminance: Sequence[float]) -> ClipScores:
        """Scores of an interval.

        Args:
          span: frames that have all been appended, and the one after them if there is one.
          sample_luminance: mean luminance of each sample image.
        """
        luminance = np.asarray(self._luminance[span.start_frame : span.end_frame])
        samples = sample_luminance or [float(luminance.mean())]
        return ClipScores(
            luminance_score=float(np.mean(samples)),
            luminance_min=float(min(samples)),
            luminance_max=float(max(samples)),
            luminance_all_mean=float(luminance.mean()),
            luminance_all_min=float(luminance.min()),
            luminance_all_max=float(luminance.max()),
            motion_score=self.motion_mean(span.start_frame, span.end_frame),
            motion_normalized=float(np.mean(self._motion_normalized[span.start_frame : span.end_frame])),
        )

    def shot(self, start_frame: int, end_frame: int, kind: str, touched_from: int, confidence: float | None) -> Shot:
        """The shot `[start_frame, end_frame)` with its means; the other arguments describe its first boundary."""
        return Shot(
            start_frame=start_frame,
            end_frame=end_frame,
            start_s=float(self.time(start_frame)),
            end_s=float(self.time(end_frame)),
            boundary_kind=kind,
            boundary_start_frame=touched_from,
            boundary_confidence=confidence,
            luminance_mean=self.luminance_mean(start_frame, end_frame),
            motion_mean=self.motion_mean(start_frame, end_frame),
            motion_normalized_mean=float(np.mean(self._motion_normalized[start_frame:end_frame])),
        )

    def luminance_mean(self, start_frame: int, end_frame: int) -> float:
        """Mean luminance over the frames `[start_frame, end_frame)`, 0 to 255."""
        return float(np.mean(self._luminance[start_frame:end_frame]))

    def motion_mean(self, start_frame: int, end_frame: int) -> float:
        """Mean of `integer_motion2` over the frames `[start_frame, end_frame)`."""
        return float(self._motion2(start_frame, end_frame).mean())

    def _motion2(self, start: int, end: int) -> Float64Array:
        """motion2 of libvmaf: the minimum of a frame's motion and the next one's."""
        motion = np.asarray(self._motion[start:end])
        following = np.asarray(self._motion[start + 1 : end + 1])
        motion[: len(following)] = np.minimum(motion[: len(following)], following)
        return motion


def mean_luminance(rgb: UInt8Array) -> float:
    """Mean luminance of an (h, w, 3) RGB image, 0 to 255.

    0.2126 R + 0.7152 G + 0.0722 B.
    """
    return sum(weight * mean for weight, mean in zip(LUMINANCE_WEIGHTS, cv2.mean(rgb), strict=False))
