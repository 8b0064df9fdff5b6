"""Hard cuts exactly as SpatialVID's scoring scripts detect them.

Two rules of PySceneDetect 0.6.5.2 (ContentDetector with its flash filter, and AdaptiveDetector) on every third frame,
resized to 256 pixels, over differences of 8-bit HSV planes; the cuts are their union. Reimplemented from the described
behavior; PySceneDetect itself is used only in tests.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from av import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter

from core.arrays import UInt8Array
from models.video_analysis.shots.settings import ShotSettings

_QUARTER_TURNS = {90: 1, 180: 2, 270: 3}


def bgr_as_opencv(
    frame: VideoFrame, *, honor_color_tags: bool = False, reformatter: VideoReformatter | None = None
) -> UInt8Array:
    """Converts a decoded frame to the image that OpenCV's `VideoCapture` returns.

    OpenCV 4 (SpatialVID's is 4.11) always converts with BT.601; OpenCV 5 honors the stream's matrix. The display
    rotation is applied. Byte-identical to OpenCV for 8-bit video; OpenCV 5's tone mapping of HDR is not reproduced.

    Args:
      frame: any pixel format that swscale reads.
      honor_color_tags: false for OpenCV 4, true for OpenCV 5.
      reformatter: reused between frames of one stream, which saves the scaler's setup.

    Returns:
      (H, W, 3) uint8, blue first, full range, H and W after rotation.
    """
    matrix = None if honor_color_tags else Colorspace.ITU601
    converted = (reformatter or VideoReformatter()).reformat(
        frame, format="bgr24", src_colorspace=matrix, dst_colorspace=matrix
    )
    bgr = np.asarray(converted.to_ndarray(), np.uint8)
    turns = _QUARTER_TURNS.get(round(frame.rotation) % 360, 0)
    return np.ascontiguousarray(np.rot90(bgr, turns)) if turns else bgr


class FlashFilter:
    """Turns frames above the content threshold into cuts (PySceneDetect's FlashFilter in MERGE mode).

    Peaks closer than `min_scene_len` are merged: the cut is at their last peak, once that many frames without a peak
    have passed. Peaks that are still being merged at the end of the video give no cut.

    Args:
      min_scene_len: smallest distance of two cuts, source frames.
    """

    def __init__(self, min_scene_len: int) -> None:
        self._length = min_scene_len
        self._last_above: int | None = None
        self._may_merge = False
        self._merge_start: int | None = None

    def push(self, frame_index: int, above: bool) -> list[int]:
        """Takes the next processed frame; returns the newly final cuts (none or one)."""
        if self._length <= 0:
            return [frame_index] if above else []
        if self._last_above is None:
            self._last_above = frame_index
        is_far = frame_index - self._last_above >= self._length
        if above:
            self._last_above = frame_index
        if self._merge_start is not None:
            if is_far and not above and self._last_above - self._merge_start >= self._length:
                self._merge_start = None
                return [self._last_above]
            return []
        if not above:
            return []
        if is_far:
            self._may_merge = True
            return [frame_index]
        if self._may_merge:
            self._merge_start = frame_index
        return []


class AdaptiveWindow:
    """Cuts where a frame's score exceeds its neighbors' mean by a ratio.

    As in PySceneDetect's AdaptiveDetector.

    As in version 0.6 the distance to the previous cut is taken from the newest frame of the window, so two cuts may
    be closer than `min_scene_len` by the window's half width.

    Args:
      ratio: smallest score / mean of the neighbors.
      min_score: smallest score, in 8-bit levels.
      min_scene_len: source frames from the previous cut to the newest frame of the window.
      half_width: neighbors on either side, in processed frames.
    """

    def __init__(self, *, ratio: float, min_score: float, min_scene_len: int, half_width: int = 2) -> None:
        self._ratio = ratio
        self._min_score = min_score
        self._min_scene_len = min_scene_len
        self._half_width = half_width
        self._window: deque[tuple[int, float]] = deque(maxlen=2 * half_width + 1)
        self._last_cut: int | None = None

    def push(self, frame_index: int, score: float) -> list[int]:
        """Takes the next processed frame's score; returns the newly final cut, if any."""
        if self._last_cut is None:
            self._last_cut = frame_index
        self._window.append((frame_index, score))
        if len(self._window) < 2 * self._half_width + 1:
            return []
        target_frame, target = self._window[self._half_width]
        others = [value for i, (_, value) in enumerate(self._window) if i != self._half_width]
        mean = sum(others) / (2.0 * self._half_width)
        still = 255.0 if target >= self._min_score else 0.0
        ratio = min(target / mean, 255.0) if abs(mean) >= 1e-5 else still
        is_far = frame_index - self._last_cut >= self._min_scene_len
        if ratio >= self._ratio and target >= self._min_score and is_far:
            self._last_cut = target_frame
            return [target_frame]
        return []


class ReferenceShotDetector:
    """Hard cuts of one video as SpatialVID detects them. Frames are pushed in display order.

    Cuts lie on the grid of processed frames (0, 3, 6, ... by default), so a true change lies in the three frames up
    to the cut. A video without cuts gives an empty list; SpatialVID then keeps no shot (see `SpatialVidAnalyzer`).

    Args:
      shot_settings: its group `reference` holds the thresholds and the frame grid.
    """

    def __init__(self, shot_settings: ShotSettings) -> None:
        settings = shot_settings.reference
        self._step = settings.frame_skip + 1
        self._longest_side_px = settings.longest_side_px
        self._content_threshold = settings.content_threshold
        self._flash_filter = FlashFilter(settings.min_scene_len)
        self._adaptive = AdaptiveWindow(
            ratio=settings.adaptive_ratio,
            min_score=settings.adaptive_min_score,
            min_scene_len=settings.min_scene_len,
        )
        self._next_frame = 0
        self._frame_shape: tuple[int, ...] | None = None
        self._previous_hsv: UInt8Array | None = None
        self._cuts: set[int] = set()

    def wants(self, frame_index: int) -> bool:
        """Whether the frame with this 0-based display index must be pushed; others may be skipped."""
        return frame_index == self._next_frame

    def push(self, frame_index: int, bgr: UInt8Array) -> None:
        """Processes a wanted frame.

        A frame whose size differs from the first one is skipped, and the grid continues from the next frame.

        Args:
          frame_index: 0-based display index; must be the wanted one.
          bgr: (H, W, 3) uint8 at the video's own size, as `bgr_as_opencv` gives it.

        Raises:
          ValueError: the frame is not the wanted one, or not an (H, W, 3) uint8 image.
        """
        if frame_index != self._next_frame:
            raise ValueError(f"frame {frame_index} was pushed, but frame {self._next_frame} is the next wanted one")
        if bgr.ndim != 3 or bgr.shape[2] != 3 or bgr.dtype != np.uint8:
            raise ValueError(f"a frame must be (H, W, 3) uint8, got {bgr.shape} {bgr.dtype}")
        if self._frame_shape is None:
            self._frame_shape = bgr.shape
        elif bgr.shape != self._frame_shape:
            self._next_frame += 1
            return
        self._next_frame += self._step
        content, value_only = self._score(bgr)
        self._cuts.update(self._flash_filter.push(frame_index, content >= self._content_threshold))
        self._cuts.update(self._adaptive.push(frame_index, value_only))

    def finish(self, num_frames: int) -> list[int]:
        """Sorted cuts (first frame of each new shot) of a video with `num_frames` frames.

        Shots are `[0, c1), [c1, c2), ..., [ck, num_frames)`.

        Raises:
          ValueError: wanted frames below `num_frames` were never pushed.
        """
        if self._next_frame < num_frames:
            raise ValueError(f"frame {self._next_frame} of {num_frames} was wanted, but never pushed")
        return sorted(self._cuts)

    def _score(self, bgr: UInt8Array) -> tuple[float, float]:
        """Mean absolute HSV difference to the previous processed frame."""
        hsv = cv2.cvtColor(_shrink(bgr, self._longest_side_px), cv2.COLOR_BGR2HSV).astype(np.uint8, copy=False)
        previous, self._previous_hsv = self._previous_hsv, hsv
        if previous is None:
            return 0.0, 0.0
        pixels = float(hsv.shape[0] * hsv.shape[1])
        # Hue is circular, but the reference takes the absolute difference.
        hue, saturation, value = (total / pixels for total in cv2.sumElems(cv2.absdiff(hsv, previous))[:3])
        return (hue + saturation + value) / 3.0, value


def _shrink(bgr: UInt8Array, longest_side_px: int) -> UInt8Array:
    height, width = bgr.shape[:2]
    factor = max(height, width) / float(longest_side_px)
    if factor <= 1.0:
        return bgr
    size = max(1, round(width / factor)), max(1, round(height / factor))
    return cv2.resize(bgr, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
