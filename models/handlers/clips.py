"""Cut clips on their way from the store into a model that looks at their annotated frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from core.failures import ItemError
from core.store import Ref, Store
from media.clip_frames import ClipFrame, ClipFrames, read_clip_frames
from media.probe import probe_video

T = TypeVar("T")
U = TypeVar("U")

MAX_FRAMES_BYTES = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipVideo:
    """What a frame model sees of a clip: its id (for messages only) and the cut clip in the store."""

    clip_id: str
    video: Ref


def load_frames(store: Store, video: Ref, fps: float | None, max_side_px: int) -> ClipFrames:
    """The annotated frames of a cut clip.

    Raises:
      ItemError: if the clip cannot be read; TooManyFrames if they would take more than 2 GiB.
    """
    frames: list[ClipFrame] = []
    num_bytes = 0
    with store.local_copy(video.path) as path:
        info = probe_video(path)
        for frame in read_clip_frames(path, info, fps, max_side_px):
            frames.append(frame)
            num_bytes += frame.rgb.nbytes
            if num_bytes > MAX_FRAMES_BYTES:
                raise ItemError(
                    "TooManyFrames",
                    f"the annotated frames of {video.path!r} take more than 2 GiB for the networks",
                    "lower annotate.fps or annotate.depth.input_max_side_px, or cut the clip into shorter ones.",
                )
    return ClipFrames.of(frames, (info.display_width, info.display_height))


def in_groups(
    clips: Iterable[T], kind: Callable[[T], object], size_bytes: Callable[[T], int], max_bytes: int
) -> Iterator[list[T]]:
    """Neighbouring items of one kind together, until a group has so many bytes; a group has one item at least."""
    group: list[T] = []
    held = 0
    for clip in clips:
        if group and (kind(clip) != kind(group[0]) or held >= max_bytes):
            yield group
            group, held = [], 0
        group.append(clip)
        held += size_bytes(clip)
    if group:
        yield group


def decode_ahead(load: Callable[[T], U], items: Iterable[T], threads: int) -> Iterator[U]:
    """`load` of each item in order, as many items ahead of the reader as there are threads.

    An exception of `load` is raised where its result would come.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        remaining = iter(items)
        waiting: deque[Future[U]] = deque(pool.submit(load, item) for item in islice(remaining, threads))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(load, item) for item in islice(remaining, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()
