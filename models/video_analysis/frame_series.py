"""Per-frame luminance and motion of one video, and the scores of any interval of it."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor

import cv2
import numpy as np

from core.annotations import ClipScores, Shot
from core.arrays import Float64Array, UInt8Array
from core.time import FrameSpan
from core.video_info import VideoInfo
from media.color import FULL, LIMITED, assumed_matrix, is_full_range, is_rgb, luma_weights
from media.decode import DecodedFrame
from native.frame_stats import FrameStat
from native.thumbnails import mean_luma_change

MOTION_GAP_S = 0.1
HELD_S, HELD_STEPS = Fraction(1, 4), 5
"""A frame that lasts longer than both is held: a clip may end inside it."""
HISTORY = 64
LUMINANCE_WEIGHTS = (0.2126, 0.7152, 0.0722)


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
        """Formula of the planes that `media.planes` returns of a video."""
        full = is_full_range(info.pixel_format, FULL if info.color_range == "full" else LIMITED)
        return cls(*luma_weights(assumed_matrix(info)), full and not is_rgb(info.pixel_format))

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
        self._gap_ends: dict[int, int] = {}
        self._damaged: list[int] = []
        self._errors: list[int] = []
        self._recent: deque[tuple[float, UInt8Array]] = deque()
        self.last_time_s = 0.0

    def __len__(self) -> int:
        return len(self._pts)

    def note_damage(self, decoded: DecodedFrame) -> None:
        """Records that a frame is damaged, and the number of undecodable packets before it."""
        if decoded.is_damaged:
            self._damaged.append(decoded.index)
        if decoded.num_errors:
            self._errors += [decoded.index] * decoded.num_errors

    def append(self, pts: int, duration: int, stat: FrameStat) -> None:
        """Adds the next frame in display order."""
        if self._pts and self._end_pts < pts:
            self._gap_ends[len(self._pts)] = self._end_pts
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

    def end_time(self, frame: int) -> Fraction:
        """End of the frame before `frame`, in seconds.

        It is the time of `frame`, unless there is a gap before it.
        """
        return self._end(frame) * self._time_base

    def _end(self, frame: int) -> int:
        end = self._gap_ends.get(frame)
        return self.pts(frame) if end is None else end

    def duration_s(self) -> Fraction:
        """Seconds that the frames so far last, without the gaps between them."""
        gaps = sum(self._pts[frame] - end for frame, end in self._gap_ends.items())
        return (self._end_pts - self.pts(0) - gaps) * self._time_base

    def span(self, start: Fraction, end: Fraction, longest: Fraction) -> FrameSpan | None:
        """The frames with `start <= time < end` in seconds; None without any.

        Bounded as by `bounded_span`.
        """
        first = bisect_left(self._pts, ceil(start / self._time_base))
        last = bisect_left(self._pts, ceil(end / self._time_base))
        return self.bounded_span(first, last, longest, ceil(end / self._time_base))

    def bounded_span(
        self, start_frame: int, end_frame: int, longest: Fraction, end_pts: int | None = None
    ) -> FrameSpan | None:
        """The interval `[start_frame, end_frame)` up to its first gap; None if empty.

        At most `longest` seconds.

        It ends inside a frame that would make it too long, and inside one that is held at `end_pts` if that is given.
        """
        gap = min((frame for frame in self._gap_ends if start_frame < frame < end_frame), default=end_frame)
        end_frame = min(end_frame, gap)
        if end_frame <= start_frame:
            return None
        limit = self.pts(start_frame) + floor(longest / self._time_base)
        end_frame = bisect_left(self._pts, limit, start_frame + 1, end_frame)
        bound = limit
        if end_pts is not None and self._is_held(start_frame, end_frame):
            bound = min(bound, end_pts)
        span = self.frame_span(start_frame, end_frame)
        return replace(span, end_pts=bound) if self._pts[end_frame - 1] < bound < span.end_pts else span

    def _is_held(self, start_frame: int, end_frame: int) -> bool:
        """Whether an interval's last frame lasts longer than `HELD_S` and 5 median steps."""
        steps = np.diff(self._pts[max(start_frame, end_frame - HISTORY) : end_frame])
        duration = self._end(end_frame) - self._pts[end_frame - 1]
        usual = float(np.median(steps)) if len(steps) else 0.0
        return duration > HELD_S / self._time_base and duration > HELD_STEPS * usual

    def frame_span(self, start_frame: int, end_frame: int) -> FrameSpan:
        """The interval `[start_frame, end_frame)` with its timestamps."""
        return FrameSpan(
            start_frame=start_frame,
            end_frame=end_frame,
            start_pts=self.pts(start_frame),
            end_pts=self._end(end_frame),
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
            damaged_frames=_count_between(self._damaged, span.start_frame, span.end_frame),
            decode_errors=_count_between(self._errors, span.start_frame + 1, self._errors_end(span)),
        )

    def _errors_end(self, span: FrameSpan) -> int:
        """End of the frames with counted errors of an interval.

        Errors are counted at the frame after them: also at that after the interval, unless there is a gap.
        """
        reaches = span.end_frame not in self._gap_ends and span.end_pts == self.pts(span.end_frame)
        return span.end_frame + reaches

    def shot(self, start_frame: int, end_frame: int, kind: str, touched_from: int, confidence: float | None) -> Shot:
        """The shot `[start_frame, end_frame)` with its means; the other arguments describe its first boundary."""
        return Shot(
            start_frame=start_frame,
            end_frame=end_frame,
            start_s=float(self.time(start_frame)),
            end_s=float(self.end_time(end_frame)),
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


def _count_between(frames: list[int], start: int, end: int) -> int:
    """Number of entries in `[start, end)` of a sorted list."""
    return max(0, bisect_left(frames, end) - bisect_left(frames, start))


def mean_luminance(rgb: UInt8Array) -> float:
    """Mean luminance of an (h, w, 3) RGB image, 0 to 255.

    0.2126 R + 0.7152 G + 0.0722 B.
    """
    return sum(weight * mean for weight, mean in zip(LUMINANCE_WEIGHTS, cv2.mean(rgb), strict=False))
