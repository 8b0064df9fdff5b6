"""Annotated frames of cut clips, read from the store for models."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from queue import Full, Queue
from threading import Event
from typing import TypeVar

from core.failures import ItemError
from core.references import Ref
from media.clip_frames import ClipFrame, ClipFrames, read_clip_frames
from media.probe import probe_video
from storage.store import Store

T = TypeVar("T")
U = TypeVar("U")

MAX_HELD_BYTES = 2 << 30
FRAMES_AHEAD = 48
STOP_CHECK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipVideo:
    """A frame model's example: the cut clip in the store.

    The clip's id is for messages only.
    """

    clip_id: str
    video: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSource:
    """Reads the annotated frames of clips in a store.

    Attributes:
      store: the run's store.
      fps: annotated frames a second; None for every frame.
      max_side_px: longest side of the frames.
      on_gpu: whether the GPU's decoder is used where it takes the file.
    """

    store: Store
    fps: float | None
    max_side_px: int
    on_gpu: bool = False

    def read(self, video: Ref) -> Iterator[ClipFrame]:
        """The annotated frames of a cut clip.

        Raises:
          ItemError: if the clip cannot be read.
        """
        with self._opened(video) as (_, frames):
            yield from frames

    def load(self, video: Ref) -> ClipFrames:
        """All annotated frames of a cut clip.

        Raises:
          ItemError: if the clip cannot be read; TooManyFrames if they would take more than 2 GiB.
        """
        frames: list[ClipFrame] = []
        num_bytes = 0
        with self._opened(video) as (size, found):
            for frame in found:
                frames.append(frame)
                num_bytes += frame.rgb.nbytes
                check_memory(num_bytes, "frames", video)
        return ClipFrames.of(frames, size)

    @contextmanager
    def _opened(self, video: Ref) -> Iterator[tuple[tuple[int, int], Iterator[ClipFrame]]]:
        """(width, height) of the clip, and an iterator over its annotated frames."""
        with self.store.local_copy(video) as path:
            info = probe_video(path)
            frames = read_clip_frames(path, info, self.fps, self.max_side_px, hardware=self.on_gpu)
            yield (info.display_width, info.display_height), frames


def check_memory(num_bytes: int, what: str, video: Ref) -> None:
    """Refuses a clip whose frames or maps would take too much memory.

    Raises:
      ItemError: TooManyFrames beyond 2 GiB.
    """
    if num_bytes > MAX_HELD_BYTES:
        raise ItemError(
            "TooManyFrames",
            f"the annotated {what} of {video.path!r} take more than 2 GiB for the networks",
            "lower annotate.fps or annotate.max_side_px, or cut the clip into shorter ones.",
        )


def group_by_bytes(
    clips: Iterable[T], kind: Callable[[T], object], size_bytes: Callable[[T], int], max_bytes: int
) -> Iterator[list[T]]:
    """Groups neighboring items of one kind up to `max_bytes`.

    Each group has at least one item.
    """
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
    """Results of `load` in order, computed ahead of the reader on `threads` threads.

    An exception of `load` is raised in place of its result.
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


def stream_ahead(
    read: Callable[[T], Iterator[U]], items: Iterable[T], threads: int, most: int = FRAMES_AHEAD
) -> Iterator[tuple[int, U]]:
    """Yields `(index of the item, result)`, computed ahead on threads.

    For each result of `read`, in order.

    At most `most` results of an item wait for the reader, so memory does not depend on how many an item has. An
    exception of `read` is raised in place of the result.
    """
    ended = Event()

    def fill(item: T, results: Queue[U | _End]) -> None:
        end = _End(None)
        try:
            for value in read(item):
                if not _put(results, value, ended):
                    return
        except BaseException as error:
            end = _End(error)
        _put(results, end, ended)

    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        remaining = enumerate(items)
        waiting: deque[tuple[int, Queue[U | _End]]] = deque()

        def start(count: int) -> None:
            for index, item in islice(remaining, count):
                waiting.append((index, Queue(most)))
                pool.submit(fill, item, waiting[-1][1])

        try:
            start(threads)
            while waiting:
                index, results = waiting.popleft()
                while not isinstance(value := results.get(), _End):
                    yield index, value
                if value.error is not None:
                    raise value.error
                start(1)
        finally:
            ended.set()


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


def _put(results: Queue[U], value: U, ended: Event) -> bool:
    """Puts a value once there is room; False if the reader has stopped."""
    while not ended.is_set():
        with suppress(Full):
            results.put(value, timeout=STOP_CHECK_S)
            return True
    return False
