"""Annotation through the whole job, on rendered films with known truth."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import webdataset as wds

from beam_pipeline.cli.main import main
from beam_pipeline.runners.engines import make_options, threads_per_clip
from core.thresholds import SPATIALVID_LIMITS, Limit, ThresholdSettings
from explore.clips import ShardReader, find_clips
from explore.export.formats import export_clips
from explore.filmstrips import make_filmstrip
from explore.outputs import read_accounting, read_manifest, read_table
from explore.rethreshold import rethreshold
from explore.view.shown_clip import ShownClip
from models.geometry.trajectory import measure_trajectory
from storage.store import Store
from tests.support.films import film, write_film
from tests.support.rendering import write_video

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
    assert row["pose_tracked_share"] > 0.6
    assert 0 < row["pose_focal_sigma"] < 0.1
    assert 0 < row["depth_reprojection_error"] < 0.1
    assert (row["pose_num_windows"], row.get("pose_scale_drift"), row.get("pose_join_offset")) == (1, None, None)


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
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_without_a_pose_model_nothing_is_annotated(orbit, tmp_path):
    assert run(orbit[0], tmp_path / "out", "--set=annotate.pose.model=none") == 0
    (row,) = clips_of(tmp_path / "out").values()
    assert row["status"] == "kept" and row["pose_ok"] is None
    assert read_accounting(str(tmp_path / "out")).problems() == []


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
    assert read_accounting(str(output)).problems() == []
    nothing = {name: None for name in SPATIALVID_LIMITS}
    looser = rethreshold(str(output), ThresholdSettings(limits=nothing | {"dynamic_ratio": Limit(max=1.0)}))
    assert looser.newly_kept == (rows["black"]["clip_id"],)
    assert looser.unscored == ()


@pytest.fixture(scope="module")
def taken_as_they_are(orbit, tmp_path_factory):
    """A run with --config=annotate over clips that people may have."""
    folder = tmp_path_factory.mktemp("annotate")
    videos = folder / "videos"
    videos.mkdir()
    path, made = orbit
    (videos / "orbit.mp4").symlink_to(path)
    write_video(videos / "matroska.mkv", made.frames, fps=Fraction(10))
    write_video(videos / "one.mp4", made.frames[:1])
    write_film(videos / "cut.mp4", "cut", seconds=3.0, fps=5)
    # Frames at 0, 1, 4, 5, 8, 9, ... thirtieths of a second.
    slow_and_fast = [4 * (k // 2) + k % 2 for k in range(len(made.frames))]
    write_video(videos / "variable.mp4", made.frames, pts=slow_and_fast, time_base=Fraction(1, 30))
    (videos / "broken.mp4").write_bytes(b"\0" * 5000)
    fx, fy, cx, cy = (2 * made.intrinsics_px[0]).tolist()
    rows = [{"uri": f"videos/{p.name}", "id": p.stem} for p in sorted(videos.iterdir())]
    write_video(videos / "known.mp4", [cv2.resize(f, (640, 360)) for f in made.frames], fps=Fraction(10))
    rows.append({"uri": "videos/known.mp4", "id": "known", "fx": fx, "fy": fy, "cx": cx, "cy": cy})
    manifest = folder / "clips.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = folder / "out"
    arguments = ["--config=annotate", "--set=annotate.intrinsics=fix", "--no-progress", "--direct_num_workers=1"]
    assert main(["--input", str(manifest), "--output", str(output), *arguments]) == 0
    return videos, output


def test_each_video_is_one_kept_clip_with_all_its_frames(taken_as_they_are):
    _, output = taken_as_they_are
    accounting = read_accounting(str(output))
    assert accounting.problems() == []
    assert (accounting.videos, accounting.videos_failed, accounting.clips_kept, accounting.clips_rejected) == (
        7,
        1,
        6,
        0,
    )
    rows = {row["video_id"]: row for row in read_table(str(output), "clips").to_pylist()}
    frames = {"orbit": 30, "matroska": 30, "one": 1, "cut": 15, "variable": 30, "known": 30}
    assert {key: row["num_frames"] for key, row in rows.items()} == frames
    assert all(row["start_frame"] == 0 and row["shot_index"] == 0 for row in rows.values())
    assert {key: row["clip_is_copy"] for key, row in rows.items()} == dict.fromkeys(frames, True) | {"matroska": False}
    assert [row["pose_ok"] for row in (rows["orbit"], rows["matroska"], rows["cut"], rows["one"])] == [1, 1, 1, 0]
    assert rows["cut"]["pose_reason"] and rows["one"]["pose_reason"]


def test_the_bytes_of_an_mp4_are_taken_over(taken_as_they_are):
    videos, output = taken_as_they_are
    samples = samples_of(output)
    for name in ("orbit", "one", "cut", "variable", "known"):
        assert samples[f"{name}_00000"]["mp4"] == (videos / f"{name}.mp4").read_bytes()
    with av.open(io.BytesIO(samples["matroska_00000"]["mp4"])) as container:
        assert sum(1 for _ in container.decode(video=0)) == 30


def test_times_are_those_of_the_timestamps(taken_as_they_are):
    sample = samples_of(taken_as_they_are[1])["variable_00000"]
    frames, times = npy(sample["frames.npy"])[:, 1], npy(sample["times.npy"])
    assert np.allclose(times, (4 * (frames // 2) + frames % 2) / 30)
    assert len(np.unique(np.round(np.diff(times), 6))) > 1


def test_known_intrinsics_of_a_manifest_are_kept(taken_as_they_are, orbit):
    rows = npy(samples_of(taken_as_they_are[1])["known_00000"]["intrinsics.npy"])
    assert np.allclose(rows, 2 * orbit[1].intrinsics_px[0], rtol=0.01)


def test_every_frame_may_be_annotated(orbit, tmp_path):
    arguments = ["--config=annotate", "--set=annotate.fps=source", "--no-progress", "--direct_num_workers=1"]
    assert main(["--input", str(orbit[0]), "--output", str(tmp_path / "out"), *arguments]) == 0
    (sample,) = samples_of(tmp_path / "out").values()
    assert npy(sample["frames.npy"]).tolist() == [[k, k] for k in range(30)]
    assert json.loads(sample["json"])["pose_ok"]


def test_every_frame_may_have_a_pose(orbit, tmp_path):
    arguments = ["--config=annotate", "--set=annotate.poses_every_frame=true", "--set=annotate.fps=2.5"]
    output = tmp_path / "out"
    assert main(["--input", str(orbit[0]), "--output", str(output), *arguments, *KEEP_ALL[3:]]) == 0
    (sample,) = samples_of(output).values()
    dense, poses, frames = (npy(sample[f"{name}.npy"]) for name in ("poses_dense", "poses", "frames"))
    assert dense.shape == (30, 7) and len(poses) == 8
    assert np.array_equal(dense[frames[:, 1]], poses)
    assert json.loads(sample["json"])["pose_dense_refined_share"] > 0.9


def test_of_a_long_clip_the_part_with_poses_is_kept_and_told(tmp_path):
    made = film("handheld", seconds=5.0, size=(256, 144))
    frames = [np.zeros_like(f) if k in (8, 9) else f for k, f in enumerate(made.frames)]
    write_video(tmp_path / "walk.mp4", frames, fps=Fraction(5))
    windows = ["--set=annotate.window_frames=16", "--set=annotate.window_overlap_frames=4"]
    output = tmp_path / "out"
    arguments = ["--config=annotate", *windows, "--no-progress", "--direct_num_workers=1"]
    assert main(["--input", str(tmp_path / "walk.mp4"), "--output", str(output), *arguments]) == 0
    (row,) = find_clips(str(output))
    clip = ShardReader(str(output)).read(row)
    assert (row["pose_ok"], row["pose_registered_share"], row["pose_num_windows"]) == (True, 0.52, 1)
    assert row["pose_reason"].startswith("of 25 annotated frames only those from 12 to 24 have poses: in the window of")
    assert row["depth_reason"] is None and row["masks_reason"] is None
    assert clip.trajectory.has_pose.tolist() == [k >= 12 for k in range(25)]
    assert clip.depth.is_valid.any(axis=(1, 2)).tolist() == [k >= 12 for k in range(25)]
    # Metrics and words are about those frames.
    spans = [tuple(map(int, span.split("->"))) for span in clip.instructions]
    assert (spans[0][0], spans[-1][1]) == (12, 24)
    assert row["motion_sentence"].startswith("From 2.4 s to 4.8 s: The camera ")
    assert row["camera_motion_caption"].startswith("From 2.4 s to 4.8 s: The camera ")
    true = measure_trajectory(made.cam_from_world[12:], times_s=made.times_s[12:])
    assert row["rot_angle"] == pytest.approx(true.rot_angle, rel=0.05)
    assert row["dynamic_ratio"] == pytest.approx(clip.is_moving[12:].mean())
    # What shows and exports the clip gets along with it.
    assert ShownClip(clip).camera(11) is None and len(ShownClip(clip).camera_path()) == 13
    assert set(make_filmstrip(clip).strips) == {"image", "depth", "moving"}
    assert export_clips(str(output), "colmap", str(tmp_path / "colmap")).clips == 1
    assert len(list((tmp_path / "colmap").rglob("images/*.jpg"))) == 13


@pytest.mark.parametrize(("workers", "threads"), [(1, 4), (2, 2), (3, 1), (8, 1)])
def test_workers_share_the_cores(monkeypatch, workers, threads):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert threads_per_clip(make_options([f"--direct_num_workers={workers}"])) == threads
    assert threads_per_clip(make_options(["--runner=DataflowRunner"])) == 1


def test_threads_do_not_change_a_byte(orbit, tmp_path):
    found = []
    for threads in (1, 3):
        output = tmp_path / str(threads)
        assert run(orbit[0], output, f"--set=annotate.num_threads={threads}", "--set=annotate.fps=2.5") == 0
        (sample,) = samples_of(output).values()
        found.append({name: data for name, data in sample.items() if name != "json" and name[0] != "_"})
    assert found[0] == found[1] and "depth.npz" in found[0]
    # Nor what a result is called, so that it is reused.
    names = [sorted(p.name for p in (tmp_path / t).rglob("*-depth.npz")) for t in ("1", "3")]
    assert names[0] == names[1] != []
