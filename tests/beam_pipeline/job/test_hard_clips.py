"""Clips that are hard to annotate: no crash, reasons for missing values, neighbors unaffected."""

from __future__ import annotations

import io
import json
from fractions import Fraction

import cv2
import numpy as np
import pytest
import webdataset as wds

from beam_pipeline.cli.main import main
from explore.outputs import read_accounting, read_manifest, read_table
from storage.shard_members import is_empty_member
from storage.store import Store
from tests.support.films import film
from tests.support.rendering import write_video

FPS, SIZE = 5, (256, 144)


def gray(level, count=12):
    return [np.full((144, 256, 3), level, np.uint8)] * count


def clips():
    """Frames by the name of what is hard about them."""
    orbit = film("orbit", seconds=2.4, fps=FPS, size=SIZE).frames
    handheld = film("handheld", seconds=2.4, fps=FPS, size=SIZE).frames
    return {
        "neighbor": orbit,
        "black": gray(0),
        "black inside": [*orbit[:5], *gray(0, 4), *orbit[9:]],
        "frozen": [orbit[0]] * 12,
        "cut inside": [*orbit[:6], *(frame[:, ::-1] for frame in handheld[6:])],
        "extreme blur": [cv2.GaussianBlur(frame, (0, 0), 25) for frame in handheld],
        "three frames": orbit[:3],
        "everything moves": film("everything moves", seconds=4.0, fps=FPS, size=(320, 180)).frames,
        "portrait": [np.ascontiguousarray(np.rot90(frame)) for frame in orbit],
        "noise": [np.random.default_rng(k).integers(0, 256, (144, 256, 3), np.uint8) for k in range(12)],
    }


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hard")
    for name, frames in clips().items():
        write_video(folder / f"{name.replace(' ', '_')}.mp4", frames, fps=Fraction(FPS))
    output = folder / "out"
    arguments = ["--config=annotate", "--no-progress", "--direct_num_workers=1"]
    assert main(["--input", str(folder / "*.mp4"), "--output", str(output), *arguments]) == 0
    accounting = read_accounting(str(output))
    assert accounting.problems() == [] and accounting.clips_kept == len(clips()) and accounting.failure_rows == 0
    shards = [str(output / f["path"]) for f in read_manifest(Store(str(output))) if "shards/" in f["path"]]
    samples = {sample["__key__"]: sample for sample in wds.WebDataset(shards, shardshuffle=False)}
    table = read_table(str(output), "clips").to_pylist()
    return {
        row["source_uri"].rsplit("/", 1)[-1][:-4].replace("_", " "): (row, samples[row["clip_id"]]) for row in table
    }


@pytest.mark.parametrize("name", ["black", "black inside", "cut inside", "extreme blur", "everything moves", "noise"])
def test_poses_that_cannot_be_told_are_not_claimed(rows, name):
    row, sample = rows[name]
    assert row["pose_ok"] is False and len(row["pose_reason"]) > 15
    assert row["depth_reason"] and row["masks_reason"]
    assert all(is_empty_member(name, sample[name]) for name in ("depth.npz", "dyn_masks.npz", "instructions.json"))
    assert row["move_dist"] is None and row["motion_sentence"] is None
    assert len(np.load(io.BytesIO(sample["poses.npy"]))) == row["num_annotated_frames"]


def test_columns_tell_bad_clips_from_good_ones(rows):
    tracked = {name: row["pose_tracked_share"] for name, (row, _) in rows.items()}
    assert tracked["black"] == 0 and tracked["noise"] < 0.4 and tracked["extreme blur"] < 0.4
    assert min(tracked["neighbor"], tracked["portrait"]) > 0.6


def test_a_frozen_image_is_a_camera_that_stands_still(rows):
    row, _ = rows["frozen"]
    assert (row["pose_ok"], row["camera_motion_kind"], row["move_dist"]) == (True, "static", 0.0)
    assert row["motion_sentence"] == "The camera stays still."


def test_a_few_frames_do_no_harm(rows):
    row, _ = rows["three frames"]
    assert row["num_annotated_frames"] == 3
    assert row["pose_ok"] or row["pose_reason"]


@pytest.mark.parametrize("name", ["neighbor", "portrait"])
def test_their_neighbors_are_annotated_in_full(rows, name):
    row, sample = rows[name]
    assert row["pose_ok"] and row["pose_registered_share"] == 1
    assert not any(is_empty_member(name, sample[name]) for name in ("depth.npz", "dyn_masks.npz", "instructions.json"))
    with np.load(io.BytesIO(sample["depth.npz"])) as file:
        assert file["depth"].shape == (12, 256, 144) if name == "portrait" else (12, 144, 256)
    assert json.loads(sample["json"])["clip_width"] == (144 if name == "portrait" else 256)
