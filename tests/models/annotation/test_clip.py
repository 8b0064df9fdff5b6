"""Depth, masks and their files, on rendered films with exact truth."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import pytest

from media.clip_frames import ClipFrames
from models.annotation import ClipGeometry, annotate_frames
from models.annotation.files import map_size, read_dynamic_ratios
from models.annotation.geometry import estimation_size
from models.annotation.map_files import DepthFile, MasksFile, StoredMaps
from models.captions.motion_labels import label_motion
from models.geometry.camera_path import camera_centers, interpolate_missing_poses, registered_span
from native import se3
from storage.shard_members import masks_bytes, read_masks, read_npy
from tests.support.films import MOTION_WORDS, Film, film

pytestmark = pytest.mark.slow


@cache
def annotated(name: str, num_threads: int = 1) -> tuple[Film, ClipGeometry]:
    made = film(name, seconds=3.0)
    count = len(made.frames)
    frames = ClipFrames(rgb=tuple(made.frames), frame=np.arange(count), time_s=made.times_s, clip_size=(320, 180))
    return made, annotate_frames(frames, None, "estimate", num_threads)


@pytest.mark.parametrize("name", ["handheld", "orbit", "Truck Right"])
def test_depth_is_true_up_to_one_scale(name):
    made, found = annotated(name)
    valid = found.is_depth_valid
    assert valid.mean() > 0.7
    assert (found.depth[valid] > 0).all() and not found.depth[~valid].any()
    ratio = found.depth[valid] / made.depth_m[valid]
    error = np.abs(ratio / np.median(ratio) - 1)
    assert error.mean() < 0.03
    # The standard deviation that is told is not too small.
    assert (error < found.depth_sigma[valid]).mean() > 0.6
    # One scale for the clip and its path: depth and translation agree.
    moved, true = (
        np.linalg.norm(np.ptp(camera_centers(p), axis=0)) for p in (found.poses.cam_from_world, made.cam_from_world)
    )
    assert np.median(ratio) == pytest.approx(moved / true, rel=0.1)


@pytest.mark.parametrize(
    ("name", "least"),
    [("still, moving things", 0.85), ("orbit", 0.5), ("handheld, moving things", 0.7), ("driving", 0.2)],
)
def test_moving_things_are_marked(name, least):
    made, found = annotated(name)
    both, either = (found.is_moving & made.moving).sum(), (found.is_moving | made.moving).sum()
    assert both / either > least


@pytest.mark.parametrize("name", ["handheld", "Pan Right", "Stay"])
def test_nothing_is_marked_where_nothing_moves(name):
    assert annotated(name)[1].is_moving.mean() < 0.01


def test_maps_do_not_depend_on_the_number_of_threads():
    (_, one), (_, three) = (annotated("handheld, moving things", count) for count in (1, 3))
    for name in ("depth", "depth_sigma", "is_depth_valid", "is_moving"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name))


@pytest.mark.parametrize("word", MOTION_WORDS)
def test_each_motion_word_is_found_in_a_film_of_it(word):
    made, found = annotated(word)
    labels = label_motion(
        interpolate_missing_poses(found.poses.cam_from_world, made.times_s),
        times_s=made.times_s,
        scene_depth=found.scene_depth,
        has_translation=found.poses.motion_kind == "general",
    )
    assert {w for segment in labels.segments for w in segment.labels} == {word}


def test_clips_without_poses_have_no_depth_and_no_masks():
    _, found = annotated("black")
    assert (found.poses.pose_ok, found.depth, found.is_moving) == (False, None, None)


def test_a_turning_camera_gives_masks_but_no_depth():
    _, found = annotated("Pan Left")
    assert found.depth is None and found.is_moving is not None


def maps_of(depth, sigma, moving):
    return StoredMaps(depth=depth.astype(np.float32), depth_sigma=sigma.astype(np.float32), is_moving=moving)


def test_depth_files_say_where_a_clip_pixel_lies(tmp_path):
    depth = np.arange(2 * 90 * 160, dtype=np.float32).reshape(2, 90, 160) / 100 + 1
    depth[:, :, :80] = 0
    sigma = np.full(depth.shape, 0.0314)
    sigma[1] = 0.3
    paths = []
    for name, parts in (("whole", [slice(None)]), ("parts", [slice(0, 1), slice(1, 2)])):
        (tmp_path / name).mkdir()
        file = DepthFile(str(tmp_path / name), (160, 90), (1280, 720))
        for part in parts:
            file.add(maps_of(depth[part], sigma[part], depth[part] > 0))
        paths.append(tmp_path / name / "depth.npz")
        assert file.write(str(paths[-1]), 2.0) == 0.5
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with np.load(paths[0]) as file:
        assert file["depth"].shape == file["valid"].shape == (2, 90, 160)
        assert file["depth"].dtype == np.float16
        assert np.allclose(file["depth"], depth / 2, rtol=1e-3)
        assert np.array_equal(file["valid"], depth > 0)
        assert [np.unique(s).tolist() for s in file["sigma_permille"]] == [[31, 255], [254, 255]]
        sx, sy, ox, oy = file["map_from_clip"]
        # The corners of both images coincide.
        assert (sx * -0.5 + ox, sy * -0.5 + oy) == (-0.5, -0.5)
        assert (sx * 1279.5 + ox, sy * 719.5 + oy) == (159.5, 89.5)


def test_stored_maps_hold_what_is_in_their_pixels():
    _, found = annotated("orbit")
    maps = StoredMaps.of(found, (160, 90))
    assert maps.depth.shape == maps.is_moving.shape == (len(found.depth), 90, 160)
    assert np.isin(maps.depth[maps.depth > 0], found.depth).all()
    assert (maps.is_moving.reshape(len(maps.is_moving), -1).any(axis=1) == found.is_moving.any(axis=(1, 2))).all()
    assert StoredMaps.of(annotated("black")[1], (160, 90)) is None


def test_masks_come_back_from_their_file(tmp_path):
    masks = np.random.default_rng(0).random((3, 40, 60)) > 0.8
    masks[1] = False
    path = tmp_path / "masks.npz"
    file = MasksFile(str(path), (60, 40))
    for mask in masks:
        file.add(mask[None])
    assert file.close() == pytest.approx(masks.mean())
    assert np.allclose(read_dynamic_ratios(path.read_bytes()), masks.mean(axis=(1, 2)))
    assert np.array_equal(read_masks(path.read_bytes()), masks)
    assert path.read_bytes() == masks_bytes(masks)


def test_pickled_arrays_are_refused():
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        read_npy(buffer.getvalue())


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 360), (320, 180)), ((200, 300), (200, 300)), ((360, 640), (180, 320))]
)
def test_maps_keep_their_shape_and_are_never_enlarged(size, expected):
    assert map_size(size, 320) == expected


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [((640, 360), 100, (320, 180)), ((640, 360), 640, (640, 360)), ((640, 20), 320, (640, 20))],
)
def test_maps_are_worked_out_at_a_size_that_flow_can_do_with(size, side, expected):
    assert estimation_size(size, side) == expected


def test_missing_poses_are_filled_between_their_neighbors():
    poses = se3.exp(np.linspace(0, 1, 5)[:, None] * np.array([1.0, 2, 3, 0.1, 0.2, 0.3]))
    holes = poses.copy()
    holes[[0, 2, 4]] = np.nan
    span = registered_span(holes)
    assert (span.start, span.stop) == (1, 4)
    filled = interpolate_missing_poses(holes[span], np.arange(5.0)[span])
    assert np.allclose(filled, poses[span])
    with pytest.raises(ValueError, match="no frame has a pose"):
        registered_span(np.full((3, 7), np.nan))
