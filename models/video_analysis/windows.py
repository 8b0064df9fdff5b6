"""Long videos in windows: frames are measured in parallel, then analyzed in sequence.

A window is decoded from a keyframe before its start. The frames before its start, its lead, overlap the previous
window; windows join only if all measured values of the overlap are equal. The joined frames go through the analyzer
of unsplit videos, so the result is the same by construction.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from core.annotations import MeasuredWindow
from core.arrays import UInt8Array
from core.video_info import VideoInfo
from media.decode import TIMED_CONTAINERS, DecodedFrame, VideoReader
from models.video_analysis.clip_intervals import exact
from models.video_analysis.frame_meter import FrameMeter, upright_size
from models.video_analysis.sample_images import RenderedImage, SampleGrid, render_image, sample_step
from models.video_analysis.settings import AnalysisSettings
from models.video_analysis.streaming import MeasuredFrame
from native.frame_stats import THUMBNAIL_SIZE, FrameStat

LEAD_S = 1
MAX_LEAD_S = 60
MIN_WINDOW_BYTES = 1024
BATCH_FRAMES = 250
PtsRange = tuple[int | None, int | None]
"""`[start, end)` in ticks; None: from the first frame, to the last."""

_THUMBNAIL_SHAPE = (THUMBNAIL_SIZE[1], THUMBNAIL_SIZE[0], 3)
_NUMBERS = ("motion", "luma_mean", "luma_nominal_mean", "u_mean", "v_mean")
_SCHEMA = pa.schema(
    [
        ("pts", pa.int64()),
        ("duration", pa.int64()),
        *((name, pa.float64()) for name in _NUMBERS),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format_changed", pa.bool_()),
        ("follows_gap", pa.bool_()),
        ("picture_luminance", pa.float64()),
        ("picture_jpeg", pa.binary()),
        # Difference to the previous thumbnail, modulo 256; the first of a batch unchanged.
        ("thumbnail", pa.binary(int(np.prod(_THUMBNAIL_SHAPE)))),
    ]
)


STREAMED_MODES = ("default", "transnetv2")
"""Shot detectors that need only the measured values of frames."""


class UnfitWindowError(Exception):
    """Windows do not join; the message says why."""


def plan_windows(info: VideoInfo, settings: AnalysisSettings, window_s: float) -> list[PtsRange]:
    """Windows of about `window_s` seconds; none for videos that are not split.

    Not split are videos shorter than 1.5 windows or of unknown duration, containers without frame timestamps, and
    shot detectors that need whole frames or the whole video.
    """
    if settings.shots.mode not in STREAMED_MODES or info.duration_s is None or info.container not in TIMED_CONTAINERS:
        return []
    if info.duration_s < 1.5 * window_s:
        return []
    # A header can state any duration.
    count = min(round(info.duration_s / exact(window_s)), info.size_bytes // MIN_WINDOW_BYTES)
    if count < 2:
        return []
    ticks = exact(window_s) / info.time_base
    bounds = [info.start_pts + round(k * ticks) for k in range(1, count)]
    return list(zip([None, *bounds], [*bounds, None], strict=True))


def measure_window(
    uri: str,
    info: VideoInfo,
    settings: AnalysisSettings,
    window: PtsRange,
    path: str,
    on_frames: Callable[[int], Any] = lambda count: None,
) -> MeasuredWindow:
    """Measures a window's frames and its lead; writes a local Arrow file.

    Args:
      uri: local path or fsspec URI.
      info: result of `probe_video`.
      path: file to write.
      on_frames: progress callback with the number of frames since the last call.

    Raises:
      ItemError: if the file cannot be read.
    """
    start_pts, end_pts = window
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        VideoReader(uri) as reader,
        pa.OSFile(path, "wb") as file,
        pa.ipc.new_stream(file, _SCHEMA, options=options) as writer,
    ):
        measurer = _Measurer(info, settings, start_pts)
        batch: list[MeasuredFrame] = []
        for decoded in _frames(reader, start_pts):
            if end_pts is not None and decoded.pts >= end_pts:
                measurer.next_pts = decoded.pts
                break
            batch.append(measurer.measure(decoded))
            if measurer.is_lead_too_long(batch[-1]):
                break
            if len(batch) == BATCH_FRAMES:
                writer.write_batch(_to_batch(batch))
                batch.clear()
                on_frames(BATCH_FRAMES)
        if batch:
            writer.write_batch(_to_batch(batch))
            on_frames(len(batch))
        return measurer.summary(reader)


def _frames(reader: VideoReader, start_pts: int | None) -> Iterator[DecodedFrame]:
    if start_pts is None:
        return reader.frames()
    return reader.frames_from_keyframe(start_pts - round(LEAD_S / reader.time_base))


class _Measurer:
    """Measures the frames of one window."""

    def __init__(self, info: VideoInfo, settings: AnalysisSettings, start_pts: int | None) -> None:
        self._info = info
        self._settings = settings
        self._start_pts = start_pts
        self._meter = FrameMeter()
        self._grid = SampleGrid(sample_step(settings, info.time_base))
        self._num_lead = 0
        self._first_pts: int | None = None
        self._lead_too_long = False
        self.next_pts: int | None = None

    def measure(self, decoded: DecodedFrame) -> MeasuredFrame:
        """Measured values of the next frame."""
        start_pts = self._start_pts
        is_lead = start_pts is not None and decoded.pts < start_pts
        self._num_lead += is_lead
        if self._first_pts is None:
            self._first_pts = decoded.pts
        stat, format_changed = self._meter.push(decoded.frame)
        image = None
        if self._grid.is_due(decoded.pts) and not is_lead:
            image = render_image(decoded.frame, self._info, self._settings.samples)
        size = upright_size(decoded.frame, self._info)
        return MeasuredFrame(decoded.pts, decoded.duration, stat, size, format_changed, decoded.follows_gap, image)

    def is_lead_too_long(self, measured: MeasuredFrame) -> bool:
        """Whether decoding started more than `MAX_LEAD_S` before the window."""
        start_pts = self._start_pts
        if start_pts is not None and (start_pts - measured.pts) * self._info.time_base > MAX_LEAD_S:
            self._lead_too_long = True
        return self._lead_too_long

    def summary(self, reader: VideoReader) -> MeasuredWindow:
        """Bounds of the window, and why it cannot be joined, if so."""
        unfit = None
        if self._lead_too_long:
            unfit = f"there is no key frame in the {MAX_LEAD_S} s before a window"
        elif reader.decode_errors or reader.damaged_frames:
            unfit = f"frames are damaged ({reader.first_error or 'concealed by the decoder'})"
        elif reader.timestamp_repairs:
            unfit = "timestamps are missing or run backwards"
        elif self._start_pts is not None and self._num_lead < 2:
            unfit = "a window begins without frames to join it by"
        return MeasuredWindow(num_lead=self._num_lead, first_pts=self._first_pts, next_pts=self.next_pts, unfit=unfit)


def join_windows(parts: Sequence[MeasuredWindow], open_part: Callable[[int], Any]) -> Iterator[MeasuredFrame]:
    """The frames of a whole video from its measured windows, each frame once.

    Args:
      parts: the measured windows, in order.
      open_part: context manager of a window's file as a local path.

    Raises:
      UnfitWindowError: as soon as two windows do not join.
    """
    for part in parts:
        if part.unfit is not None:
            raise UnfitWindowError(part.unfit)
    tail: deque[MeasuredFrame] = deque()
    next_pts: int | None = None
    for number, part in enumerate(parts):
        kept_from = min((p.first_pts for p in parts[number + 1 :] if p.first_pts is not None), default=None)
        with open_part(number) as path:
            frames = read_measured(path)
            lead = [next(frames) for _ in range(part.num_lead)]
            if number:
                _check_join(tail, lead)
            is_first = True
            for measured in frames:
                if number and is_first and measured.pts != next_pts:
                    raise UnfitWindowError(f"a window begins at {measured.pts}, the one before it ends at {next_pts}")
                is_first = False
                yield measured
                if kept_from is not None and measured.pts >= kept_from:
                    tail.append(measured._replace(image=None))
            if number and is_first and part.next_pts != next_pts:
                raise UnfitWindowError(f"a window holds no frame, though there is one at {next_pts}")
            next_pts = part.next_pts
        while tail and (kept_from is None or tail[0].pts < kept_from):
            tail.popleft()


def _check_join(tail: Sequence[MeasuredFrame], lead: Sequence[MeasuredFrame]) -> None:
    """Compares a window's lead with the same frames of the previous windows."""
    expected = [frame for frame in tail if frame.pts >= lead[0].pts]
    if [f.pts for f in expected] != [f.pts for f in lead]:
        raise UnfitWindowError("two windows see other frames where they overlap")
    for number, (a, b) in enumerate(zip(expected, lead, strict=True)):
        # The motion of the lead's first frame is undefined: it has no previous frame.
        start = 0 if number else 1
        same = (
            a.stat[start:5] == b.stat[start:5]
            and np.array_equal(a.stat.thumbnail, b.stat.thumbnail)
            and (a.duration, a.size) == (b.duration, b.size)
            and ((a.format_changed, a.follows_gap) == (b.format_changed, b.follows_gap) or not number)
        )
        if not same:
            raise UnfitWindowError(f"two windows have different frames at {a.pts}")


def _to_batch(frames: Sequence[MeasuredFrame]) -> pa.RecordBatch:
    thumbnails = np.stack([frame.stat.thumbnail for frame in frames])
    differences = np.concatenate([thumbnails[:1], thumbnails[1:] - thumbnails[:-1]])
    columns: list[Any] = [
        [frame.pts for frame in frames],
        [frame.duration for frame in frames],
        *([getattr(frame.stat, name) for frame in frames] for name in _NUMBERS),
        [frame.size[0] for frame in frames],
        [frame.size[1] for frame in frames],
        [frame.format_changed for frame in frames],
        [frame.follows_gap for frame in frames],
        [frame.image and frame.image.luminance for frame in frames],
        [frame.image and frame.image.jpeg for frame in frames],
    ]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, _SCHEMA, strict=False)]
    raw = pa.py_buffer(np.ascontiguousarray(differences))
    arrays.append(pa.Array.from_buffers(_SCHEMA.field("thumbnail").type, len(frames), [None, raw]))
    return pa.record_batch(arrays, schema=_SCHEMA)


def read_measured(path: str) -> Iterator[MeasuredFrame]:
    """The frames of a window's file, in order."""
    with pa.OSFile(path, "rb") as file, pa.ipc.open_stream(file) as reader:
        for batch in reader:
            yield from _from_batch(batch)


def _from_batch(batch: pa.RecordBatch) -> Iterator[MeasuredFrame]:
    thumbnails = _thumbnails(batch)
    rows = batch.drop_columns(["thumbnail"]).to_pylist()
    for row, thumbnail in zip(rows, thumbnails, strict=True):
        jpeg = row["picture_jpeg"]
        yield MeasuredFrame(
            pts=row["pts"],
            duration=row["duration"],
            stat=FrameStat(thumbnail=thumbnail, **{name: row[name] for name in _NUMBERS}),
            size=(row["width"], row["height"]),
            format_changed=row["format_changed"],
            follows_gap=row["follows_gap"],
            image=None if jpeg is None else RenderedImage(row["picture_luminance"], jpeg),
        )


def _thumbnails(batch: pa.RecordBatch) -> UInt8Array:
    """(n, 36, 64, 3) uint8."""
    raw = np.frombuffer(batch.column("thumbnail").buffers()[1], np.uint8)
    differences = raw[: batch.num_rows * int(np.prod(_THUMBNAIL_SHAPE))].reshape(batch.num_rows, *_THUMBNAIL_SHAPE)
    return np.cumsum(differences, axis=0, dtype=np.uint8)
