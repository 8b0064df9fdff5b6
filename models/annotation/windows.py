"""Overlapping windows of a clip's annotated frames: memory does not grow with the clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from media.clip_frames import ClipFrame

MIN_SEGMENT_FRAMES = 8
"""Fewest annotated frames of a window's segment: shorter ones do not constrain poses enough to validate them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Consecutive frames of a clip, between two annotated frames or to the clip's end.

    Attributes:
      frames: all of them, annotated or not.
      start: index of the first annotated frame among the clip's annotated frames.
      overlap, next_overlap: number of annotated frames shared with the previous and the next window.
    """

    frames: tuple[ClipFrame, ...]
    start: int
    overlap: int
    next_overlap: int

    @property
    def is_whole_clip(self) -> bool:
        """Whether there is no other window."""
        return self.start == 0 and self.next_overlap == 0

    @property
    def end(self) -> int:
        """Index after that of the last annotated frame."""
        return self.start + sum(frame.is_annotated for frame in self.frames)

    def segments(self, breaks: Sequence[int]) -> Iterator[Window]:
        """Windows between tracking breaks; segments that are too short are skipped.

        Args:
          breaks: see `PoseEstimate.breaks`, as indices in the window; without any there are no segments.
        """
        annotated = [k for k, frame in enumerate(self.frames) if frame.is_annotated]
        count = len(annotated)
        for first, end in pairwise([0, *(frame + 1 for frame in breaks), count] if breaks else []):
            if end - first >= MIN_SEGMENT_FRAMES:
                yield Window(
                    frames=self.frames[annotated[first] : annotated[end - 1] + 1 if end < count else None],
                    start=self.start + first,
                    overlap=min(end - first, max(0, self.overlap - first)),
                    next_overlap=min(end - first, max(0, end - (count - self.next_overlap))),
                )


def split_windows(frames: Iterable[ClipFrame], length: int, overlap: int) -> Iterator[Window]:
    """Splits a stream of frames into windows of `length` annotated frames that overlap by `overlap`.

    The last window is between half and one and a half times as long (without its overlap): a clip of up to
    `length` + (`length` - `overlap`) / 2 annotated frames is one window. No more frames than that are in memory.
    The first frame must be annotated.
    """
    buffer: list[ClipFrame] = []
    annotated: list[int] = []
    start, previous_overlap = 0, 0
    slack = (length - overlap) // 2
    for frame in frames:
        if frame.is_annotated and len(annotated) == length + slack:
            end = annotated[length - 1]
            yield Window(frames=tuple(buffer[: end + 1]), start=start, overlap=previous_overlap, next_overlap=overlap)
            step = length - overlap
            first = annotated[step]
            buffer = buffer[first:]
            annotated = [position - first for position in annotated[step:]]
            start, previous_overlap = start + step, overlap
        if frame.is_annotated:
            annotated.append(len(buffer))
        buffer.append(frame)
    if annotated:
        yield Window(frames=tuple(buffer), start=start, overlap=previous_overlap, next_overlap=0)
