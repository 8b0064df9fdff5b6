from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from explore.contact_sheet import make_contact_sheet
from explore.outputs import OutputError
from tests.support.runs import make_run, small_tables

KEPT_BLUE, REJECTED_YELLOW = (38, 70, 83), (233, 196, 106)


def sheet_of(output: str, path: Path, max_clips: int = 12) -> Image.Image:
    make_contact_sheet(output, str(path), max_clips)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return image.convert("RGB")


def share_of(image: Image.Image, color: tuple[int, int, int]) -> float:
    """Share of the pixels that are near a color."""
    return float((np.abs(np.asarray(image, np.int32) - color).max(axis=2) < 12).mean())


def halves(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    middle = image.width // 2
    return image.crop((0, 0, middle, image.height)), image.crop((middle, 0, image.width, image.height))


def test_kept_clips_are_left_and_rejected_ones_right(tmp_path):
    left, right = halves(sheet_of(make_run(tmp_path / "run"), tmp_path / "sheet.png"))
    assert share_of(left, KEPT_BLUE) > 0.05 > 0.001 > share_of(right, KEPT_BLUE)
    assert share_of(right, REJECTED_YELLOW) > 0.05 > 0.001 > share_of(left, REJECTED_YELLOW)


def test_equal_runs_give_equal_sheets(tmp_path):
    for name in ("one", "two"):
        sheet_of(make_run(tmp_path / name), tmp_path / f"{name}.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_clips_of_one_verdict_take_both_sides(tmp_path):
    tables = small_tables()
    tables["clips"] = tables["clips"][:2]
    left, right = halves(sheet_of(make_run(tmp_path / "run", tables), tmp_path / "sheet.png"))
    assert share_of(left, KEPT_BLUE) > 0.05
    assert share_of(right, (42, 157, 143)) > 0.05


def test_max_clips_bounds_the_sheet(tmp_path):
    output = make_run(tmp_path / "run")
    all_clips, two = (sheet_of(output, tmp_path / f"{n}.png", n) for n in (12, 2))
    assert two.width == all_clips.width and two.height < all_clips.height
    with pytest.raises(ValueError, match="at least 2"):
        make_contact_sheet(output, str(tmp_path / "none.png"), 1)


def test_long_hostile_names_lost_images_and_empty_runs(tmp_path):
    tables = small_tables()
    for clip in tables["clips"]:
        clip["source_uri"] = "/v/" + "long name \n\u202e" * 40 + ".mp4"
    assert sheet_of(make_run(tmp_path / "a", tables, images=False), tmp_path / "a.png").height > 500
    empty = {"videos": [], "clips": [], "shots": [], "failures": []}
    assert sheet_of(make_run(tmp_path / "b", empty), tmp_path / "b.png").height > 100
    with pytest.raises(OutputError):
        make_contact_sheet(str(tmp_path / "nothing"), str(tmp_path / "c.png"))
