"""Annotation through the whole job, on rendered films with known truth."""

from __future__ import annotations

import importlib.util
import io
import json
import sys

import numpy as np
import pytest
import webdataset as wds

from beam_pipeline.commands import main
from core.policy import SPATIALVID_LIMITS, Limit, ThresholdSettings
from core.store import Store
from explore.outputs import Accounting, read_manifest, read_table
from explore.rethreshold import rethreshold
from tests.films import write_film

KEEP_ALL = [
    "--set=thresholds.limits={motion_score: null, luminance_score: null, ocr_score: null, aesthetic_score: null}",
    "--set=text.model=none",
    "--set=analysis.clips={min_s: 0.4, trim_start_s: 0, trim_end_s: 0}",
    "--no-progress",
    "--direct_num_workers=1",
]


def run(inputs, output, *arguments):
    return main(["--input", str(inputs), "--output", str(output), *KEEP_ALL, *arguments])


def clips_of(output):
    """The clip rows by the name of their video."""
    rows = read_table(str(output), "clips").to_pylist()
    return {row["source_uri"].rsplit("/", 1)[-1].removesuffix(".mp4"): row for row in rows}


def samples_of(output):
    """What WebDataset finds in the shards, by clip id."""
    shards = [str(output / f["path"]) for f in read_manifest(Store(str(output))) if "shards/" in f["path"]]
    return {sample["__key__"]: sample for sample in wds.WebDataset(shards, shardshuffle=False)} if shards else {}


def npy(data):
    return np.load(io.BytesIO(data), allow_pickle=False)


@pytest.fixture(scope="module")
def orbit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("orbit")
    made = write_film(folder / "orbit.mp4", "orbit", seconds=3.0, fps=10)
    return folder / "orbit.mp4", made


def test_each_annotated_frame_has_a_time(orbit, tmp_path):
    path, made = orbit
    assert run(path, tmp_path / "out") == 0
    (sample,) = samples_of(tmp_path / "out").values()
    row = json.loads(sample["json"])
    frames, times = npy(sample["frames.npy"]), npy(sample["times.npy"])
    assert row["pose_ok"] and row["num_annotated_frames"] == len(frames) == len(times) == 15
    assert np.allclose(times, made.times_s[frames[:, 1]])
    with np.load(io.BytesIO(sample["depth.npz"])) as depth:
        known = depth["sigma_permille"] < 255
        assert np.array_equal(known, depth["valid"])
        assert 0 < np.median(depth["sigma_permille"][known]) < 250


needs_colmap = pytest.mark.skipif(importlib.util.find_spec("pycolmap") is None, reason="pycolmap is not installed")


@needs_colmap
def test_colmap_finds_the_poses_when_asked(orbit, tmp_path):
    outputs = [tmp_path / "first", tmp_path / "again"]
    for output in outputs:
        assert run(orbit[0], output, "--set=annotate.pose.model=colmap") == 0
    first, again = (next(iter(samples_of(output).values())) for output in outputs)
    row = json.loads(first["json"])
    assert row["pose_ok"] and row["dist_level"] is not None
    assert first["poses.npy"] == again["poses.npy"]


def test_a_missing_colmap_ends_the_run_before_anything_happens(orbit, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    assert run(orbit[0], tmp_path / "out", "--set=annotate.pose.model=colmap") == 2
    assert "pip install 'pycolmap" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_a_pose_model_nothing_is_annotated(orbit, tmp_path):
    assert run(orbit[0], tmp_path / "out", "--set=annotate.pose.model=none") == 0
    (row,) = clips_of(tmp_path / "out").values()
    assert row["status"] == "kept" and row["pose_ok"] is None
    assert Accounting.of(str(tmp_path / "out")).problems() == []


def test_limits_on_the_annotation_reject_after_it(orbit, tmp_path):
    (tmp_path / "videos").mkdir()
    write_film(tmp_path / "videos" / "black.mp4", "black", seconds=3.0, fps=5)
    (tmp_path / "videos" / "orbit.mp4").symlink_to(orbit[0])
    output = tmp_path / "out"
    # The analysis would cut the film at the black frames.
    whole = "--set=analysis.shots.mode=reference"
    assert run(tmp_path / "videos", output, whole, "--set=thresholds.limits.pose_ok.min=1") == 0
    rows = clips_of(output)
    assert (rows["orbit"]["status"], rows["orbit"]["rejection_reasons"]) == ("kept", [])
    assert (rows["black"]["status"], rows["black"]["rejection_reasons"]) == ("rejected", ["pose_ok below 1"])
    assert rows["black"]["pose_reason"] and rows["black"]["shard"] is None and rows["black"]["clip_num_frames"]
    assert set(samples_of(output)) == {rows["orbit"]["clip_id"]}
    assert Accounting.of(str(output)).problems() == []
    nothing = {name: None for name in SPATIALVID_LIMITS}
    looser = rethreshold(str(output), ThresholdSettings(limits=nothing | {"dynamic_ratio": Limit(max=1.0)}))
    assert looser.newly_kept == (rows["black"]["clip_id"],)
    assert looser.unscored == ()
