"""Clips read from shards by SQL and id, with described files."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.cameras import invert_poses, to_world, unproject
from explore.clips import ShardReader, find_clips
from explore.outputs import OutputError, read_table
from storage.store import Store


def test_clips_are_found_by_sql(annotated):
    ids = [row["clip_id"] for row in find_clips(annotated.path)]
    assert ids == ["aaaa_00000", "aaaa_00001", "bbbb_00000", "bbbb_00001"]
    assert [r["clip_id"] for r in find_clips(annotated.path, "traj_turns = 1 OR camera_motion_kind = 'rotation'")] == [
        "aaaa_00000",
        "bbbb_00000",
    ]
    with pytest.raises(OutputError, match="no_such_column"):
        find_clips(annotated.path, "no_such_column > 1")


def test_a_clip_has_its_files(annotated):
    reader = ShardReader(annotated.path)
    clip, still = reader.read_all(find_clips(annotated.path, "clip_id IN ('aaaa_00000', 'bbbb_00001')"))
    made = annotated.films["aaaa_00000"]
    assert np.array_equal(clip.trajectory.frames, [0, 2, 4, 6, 8, 10])
    assert np.allclose(clip.trajectory.cam_from_world, made.cam_from_world[::2])
    assert clip.trajectory.has_pose.all()
    assert clip.is_moving.shape == clip.depth.depth.shape == (6, 54, 96)
    assert clip.caption["CategoryTags"]["sceneType"]["first"] == "Interior"
    assert (still.trajectory, still.depth, still.is_moving, still.caption, still.instructions) == (
        None,
        None,
        None,
        None,
        {},
    )


def test_images_are_the_requested_frames(annotated):
    clip = ShardReader(annotated.path).read(find_clips(annotated.path)[0])
    made = annotated.films["aaaa_00000"]
    for index, image in zip((1, 7), clip.images((1, 7)), strict=True):
        errors = [np.abs(image.astype(int) - frame).mean() for frame in made.frames]
        assert int(np.argmin(errors)) == index and errors[index] < 12
    assert next(clip.images([0], 96)).shape == (54, 96, 3)
    with pytest.raises(OutputError, match="no frame 99"):
        list(clip.images([0, 99]))


def test_depth_and_poses_of_two_frames_give_the_same_points(annotated):
    """Points of one frame, projected into the other camera, have its depth there."""
    clip = ShardReader(annotated.path).read(find_clips(annotated.path)[1])
    trajectory, maps = clip.trajectory, clip.depth
    sx, sy, ox, oy = maps.map_from_clip
    rows, columns = np.nonzero(maps.is_valid[0])
    pixels = np.stack([(columns - ox) / sx, (rows - oy) / sy], axis=1)
    world = to_world(
        unproject(maps.depth[0, rows, columns], trajectory.intrinsics_px[0], pixels), trajectory.cam_from_world[0]
    )
    seen = to_world(world, invert_poses(trajectory.cam_from_world[4]))
    fx, fy, cx, cy = trajectory.intrinsics_px[4]
    u = np.rint((seen[:, 0] / seen[:, 2] * fx + cx) * sx + ox).astype(int)
    v = np.rint((seen[:, 1] / seen[:, 2] * fy + cy) * sy + oy).astype(int)
    inside = (u >= 0) & (u < 96) & (v >= 0) & (v < 54) & (seen[:, 2] > 0)
    error = np.abs(maps.depth[4, v[inside], u[inside]].astype(float) / seen[inside, 2] - 1)
    assert np.median(error) < 0.01


def test_rejected_clips_and_damaged_shards_are_errors(annotated, tmp_path):
    rows = read_table(annotated.path, "clips").to_pylist()
    rejected = next(row for row in rows if row["status"] == "rejected")
    with pytest.raises(OutputError, match="rejected, not kept"):
        ShardReader(annotated.path).read(rejected)
    copy = tmp_path / "copy"
    shutil.copytree(annotated.path, copy)
    row = find_clips(str(copy))[0]
    shard = copy / row["shard"]
    with tarfile.open(shard, "w") as tar:
        member = tarfile.TarInfo("../evil.json")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"{}"))
    with pytest.raises(OutputError, match="which is no file of a clip"):
        ShardReader(str(copy)).read(row)
    shard.write_bytes(b"no tar at all" * 100)
    with pytest.raises(OutputError, match="cannot be read"):
        ShardReader(str(copy)).read(row)
    shard.unlink()
    with pytest.raises(OutputError, match="is gone"):
        ShardReader(str(copy)).read(row)


def test_shards_are_read_from_any_store(annotated):
    remote = Store("memory://annotated")
    for path in Path(annotated.path).rglob("*"):
        if path.is_file():
            remote.write_bytes(path.relative_to(annotated.path).as_posix(), path.read_bytes(), "")
    clip = ShardReader("memory://annotated").read(find_clips("memory://annotated")[0])
    assert clip.trajectory.has_pose.all()


def test_data_sets_of_earlier_versions_are_read(annotated, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(annotated.path, copy)
    (part,) = (copy / "clips.parquet").iterdir()
    pq.write_table(pq.read_table(part).drop_columns(["scene_summary", "motion_tags"]), part)
    assert read_table(str(copy), "clips", ["scene_summary", "clip_id"])["scene_summary"].null_count == 5
    assert {row["motion_tags"] for row in find_clips(str(copy))} == {None}
