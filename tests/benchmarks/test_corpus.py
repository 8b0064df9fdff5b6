"""The corpus' comparison finds clips that are shifted, off color or of another length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.corpus.compare import ClipComparison, compare_clip, open_source
from benchmarks.corpus.files import load_assets
from media.encode import CutSettings, cut_clip
from media.probe import probe_video
from tests.support.measure import read_all, span_of
from tests.support.rendering import render_shot, write_video

pytest.importorskip("imageio_ffmpeg")


def write_clip(tmp_path: Path) -> tuple[Path, Path, dict[str, Any]]:
    """A moving video, its clip of the frames 5 to 15, and its row of the videos table."""
    source, clip = tmp_path / "source.mp4", tmp_path / "clip.mp4"
    write_video(source, render_shot(3, 25, (160, 128)))
    stamps, time_base, _ = read_all(str(source))
    info = probe_video(str(source))
    cut_clip(str(source), span_of(stamps, 5, 15, time_base), info, CutSettings(crf=8), str(clip))
    row = {"width": 160, "height": 128, "pixel_format": "yuv420p", "color_range": None, "color_matrix": None}
    return source, clip, {**row, "color_primaries": None, "color_transfer": None}


def compare(source: Path, clip: Path, row: dict[str, Any], start: int, end: int) -> ClipComparison:
    with open_source(source, row, 0) as frames:
        return compare_clip("clip", clip, frames, start, end)


def test_an_exact_clip_has_no_findings(tmp_path: Path) -> None:
    found = compare(*write_clip(tmp_path), 5, 15)
    assert (found.num_frames, found.missing_frames, found.shifted_frames) == (10, 0, 0)
    assert not found.is_off_by_one and found.max_bias < 0.5 and found.difference[1] < min(found.difference[::2])


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_shifted_clip_is_found(shift: int, tmp_path: Path) -> None:
    found = compare(*write_clip(tmp_path), 5 + shift, 15 + shift)
    assert found.is_off_by_one and found.shifted_frames == 10
    assert int(np.nanargmin(found.difference)) - 1 == -shift


def test_another_matrix_and_missing_frames_are_found(tmp_path: Path) -> None:
    source, clip, row = write_clip(tmp_path)
    assert compare(source, clip, row | {"color_matrix": "bt709"}, 5, 15).max_bias > 0.5
    assert compare(source, clip, row | {"color_range": "full"}, 5, 15).max_bias > 0.5
    assert compare(source, clip, row, 5, 17).missing_frames == 2
    assert compare(source, clip, row, 5, 13).missing_frames == 2


def test_the_list_names_each_file_once() -> None:
    assets = load_assets()
    assert len(assets) == len({a.blob for a in assets}) == len({a.file_name for a in assets}) >= 60
    assert all(len(a.commit) == len(a.blob) == 40 and a.license for a in assets)
