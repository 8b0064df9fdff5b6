"""Windows of a clip's annotated frames: each is annotated on its own, so that memory does not grow with the clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from media.clip_frames import ClipFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Neighbouring frames of a clip, from an annotated one to an annotated one, or to the clip's end.

    Attributes:
      frames: all of them.
      start: ordinal of its first annotated frame.
      overlap: how many of its annotated frames are in the window before too.
      following_overlap: how many are in the window behind too.
    """

    frames: tuple[ClipFrame, ...]
    start: int
    overlap: int
    following_overlap: int

    @property
    def decided(self) -> tuple[int, int]:
        """Which annotated frames of the window get their maps from it, [first, last) by their place in it.

        Of shared frames the earlier window decides the first half, the later one the rest.
        """
        count = sum(frame.is_annotated for frame in self.frames)
        return self.overlap // 2, count - (self.following_overlap - self.following_overlap // 2)


def split_windows(frames: Iterable[ClipFrame], length: int, overlap: int) -> Iterator[Window]:
    """Cuts a stream of frames into windows of `length` annotated frames that share `overlap` with the next.

    The last window is from half as long (without what it shares) to half longer, so that none is too short: a clip of
    up to `length` + (`length` - `overlap`) / 2 annotated frames is one window. No more frames than that are held.
    The first frame is annotated.
    """
    held: list[ClipFrame] = []
    annotated: list[int] = []
    start, shared = 0, 0
    slack = (length - overlap) // 2
    for frame in frames:
        if frame.is_annotated and len(annotated) == length + slack:
            end = annotated[length - 1]
            yield Window(frames=tuple(held[: end + 1]), start=start, overlap=shared, following_overlap=overlap)
            step = length - overlap
            first = annotated[step]
            held = held[first:]
            annotated = [position - first for position in annotated[step:]]
            start, shared = start + step, overlap
        if frame.is_annotated:
            annotated.append(len(held))
        held.append(frame)
    if annotated:
        yield Window(frames=tuple(held), start=start, overlap=shared, following_overlap=0)
