"""Outlined masks in the whole job, by a double: what reaches tables and shards."""

from __future__ import annotations

import numpy as np
import pytest

from beam_pipeline.cli.main import main
from explore.outputs import read_manifest, read_table
from models.registry import ResolvedModel
from storage.shard_members import read_masks
from storage.store import Store
from tests.support.films import write_film
from transforms import segmentation as stage_module
from transforms.handlers import segmentation as handler_module

ARGUMENTS = [
    "--set=thresholds.limits={motion_score: null, luminance_score: null, ocr_score: null, aesthetic_score: null}",
    "--set=text.model=none",
    "--set=analysis.clips={min_s: 0.4, trim_start_s: 0, trim_end_s: 0}",
    "--set=annotate.masks={model: sam2.1-hiera-large, device: cpu, propagate: true}",
    "--no-progress",
    "--direct_num_workers=1",
]


class Columns:
    """Outlines whole columns of pixels; carries the last frame's to the first."""

    halvings = 0

    def refine(self, frames_rgb_u8, is_moving):
        assert len(frames_rgb_u8) == len(is_moving)
        return np.broadcast_to(is_moving.any(axis=1, keepdims=True), is_moving.shape).copy()

    def propagate(self, frames_rgb_u8, masks):
        carried = masks.copy()
        carried[0] |= masks[-1]
        return carried


def test_outlined_masks_take_the_place_of_the_regions(tmp_path, monkeypatch):
    found = ResolvedModel(paths={"sam2.1_hiera_large.pt": "/x"}, digest="cd" * 32)
    monkeypatch.setattr(stage_module, "check_mask_model", lambda settings: found)
    monkeypatch.setattr(handler_module, "load_mask_model", lambda settings: Columns())
    write_film(tmp_path / "film.mp4", "still, moving things", seconds=2.0, fps=10)
    assert main(["--input", str(tmp_path / "film.mp4"), "--output", str(tmp_path / "out"), *ARGUMENTS]) == 0
    (row,) = read_table(str(tmp_path / "out"), "clips").to_pylist()
    assert row["masks_model"] == "sam2.1-hiera-large@cdcdcdcdcdcdcdcd"
    (shard,) = [f["path"] for f in read_manifest(Store(str(tmp_path / "out"))) if "shards/" in f["path"]]
    wds = pytest.importorskip("webdataset")
    (sample,) = wds.WebDataset([str(tmp_path / "out" / shard)], shardshuffle=False)
    masks = read_masks(sample["dyn_masks.npz"])
    np.testing.assert_array_equal(masks.any(axis=1), masks.all(axis=1))
    assert row["dynamic_ratio"] == pytest.approx(masks.mean(), abs=1e-6) and masks.any()
    assert (masks[0] >= masks[-1]).all()
