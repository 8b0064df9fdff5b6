from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.clip_frames import ClipFrame
from models.annotation.windows import split_windows

BLACK = np.zeros((2, 2, 3), np.uint8)


def clip(count, every=1):
    """Frames of a clip; every `every`-th one is annotated."""
    return [ClipFrame(rgb=BLACK, index=k, time_s=float(k), is_annotated=k % every == 0) for k in range(count)]


@given(st.integers(1, 200), st.integers(4, 40), st.integers(1, 3), st.integers(1, 3))
def test_windows_cover_the_clip_and_overlap(count, length, overlap, every):
    windows = list(split_windows(clip(count, every), length, overlap))
    annotated = -(-count // every)
    assert windows[0].start == windows[0].overlap == windows[-1].next_overlap == 0
    assert windows[-1].end == annotated and windows[-1].frames[-1].index == count - 1
    for before, after in pairwise(windows):
        assert before.next_overlap == after.overlap == overlap == before.end - after.start
        assert before.end - before.start == length
    assert windows[-1].end - windows[-1].start <= length + (length - overlap) // 2
    assert windows[0].is_whole_clip == (len(windows) == 1)


def test_only_a_window_is_in_memory():
    taken = []

    def frames():
        for frame in clip(1000):
            taken.append(frame.index)
            yield frame

    next(split_windows(frames(), 20, 4))
    assert len(taken) == 20 + 8 + 1


def test_segments_end_at_breaks_and_short_ones_are_skipped():
    (window,) = split_windows(clip(40), 100, 4)
    segments = list(window.segments((1, 19)))
    assert [(s.start, s.end) for s in segments] == [(2, 20), (20, 40)]
    assert [s.frames[0].index for s in segments] == [2, 20]
    assert list(window.segments(())) == []


@pytest.mark.parametrize(("breaks", "overlaps"), [((9,), [(4, 0), (0, 4)])])
def test_segments_share_the_overlaps_of_their_window(breaks, overlaps):
    windows = list(split_windows(clip(60), 20, 4))
    segments = list(windows[1].segments(breaks))
    assert [(s.overlap, s.next_overlap) for s in segments] == overlaps
