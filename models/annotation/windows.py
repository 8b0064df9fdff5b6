"""Windows of a clip's annotated frames: each is annotated on its own, so that memory does not grow with the clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from media.clip_frames import ClipFrame

MIN_PART_FRAMES = 8
"""Annotated frames of a part of a window at least: fewer are too little to tell right poses from wrong ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Neighboring frames of a clip, from an annotated one to an annotated one, or to the clip's end.

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
    def is_whole_clip(self) -> bool:
        """Whether there is no other window."""
        return self.start == 0 and self.following_overlap == 0

    @property
    def end(self) -> int:
        """Ordinal behind that of its last annotated frame."""
        return self.start + sum(frame.is_annotated for frame in self.frames)

    def parts(self, breaks: Sequence[int]) -> Iterator[Window]:
        """Parts between frames that have nothing in common with the next ones; short ones are left out.

        Args:
          breaks: such annotated frames, rising, by their place in the window; without any there are no parts.
        """
        annotated = [k for k, frame in enumerate(self.frames) if frame.is_annotated]
        count = len(annotated)
        for first, end in pairwise([0, *(frame + 1 for frame in breaks), count] if breaks else []):
            if end - first >= MIN_PART_FRAMES:
                yield Window(
                    frames=self.frames[annotated[first] : annotated[end - 1] + 1 if end < count else None],
                    start=self.start + first,
                    overlap=min(end - first, max(0, self.overlap - first)),
                    following_overlap=min(end - first, max(0, end - (count - self.following_overlap))),
                )


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
