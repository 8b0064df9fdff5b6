"""The renderer's truth is true: poses, depth, flow, masks and images agree with each other."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.support.films import MOTION_WORDS, TAKES, Film, film, view_of, write_film
from tests.support.scene import Floats, View, draw, forward_flow, look_from, measure, rotation, to_matrix, to_quaternion

SMALL = (160, 90)


def reproject(depth_m: Floats, first: View, second: View) -> Floats:
    """Flow (h, w, 2) of a static scene by depth and two poses."""
    height, width = depth_m.shape
    v, u = np.mgrid[:height, :width].astype(np.float64)
    fx, fy, cx, cy = first.intrinsics_px
    points = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones_like(u)], -1) * depth_m[..., None]
    world = (points - first.cam_from_world[:3]) @ to_matrix(first.cam_from_world[3:])
    x, y, z = np.moveaxis(world @ to_matrix(second.cam_from_world[3:]).T + second.cam_from_world[:3], -1, 0)
    fx, fy, cx, cy = second.intrinsics_px
    return np.stack([fx * x / z + cx - u, fy * y / z + cy - v], -1)


def gray(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def test_quaternions_turn_as_their_matrices() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b, c = rng.uniform(-4, 4, 3)
        matrix = rotation("y", a) @ rotation("x", b) @ rotation("z", c)
        quaternion = to_quaternion(matrix)
        assert np.linalg.norm(quaternion) == pytest.approx(1)
        assert np.allclose(to_matrix(quaternion), matrix, atol=1e-12)
    assert np.allclose(to_quaternion(rotation("z", np.pi / 2)), [0, 0, np.sqrt(0.5), np.sqrt(0.5)])
    assert np.allclose(rotation("x", 0.3) @ [0, 1, 0], [0, np.cos(0.3), np.sin(0.3)])


def test_a_camera_is_where_it_was_put() -> None:
    axes = rotation("y", 0.4) @ rotation("z", -0.2)
    pose = look_from(np.array([1.0, 2.0, 3.0]), axes)
    assert np.allclose(-to_matrix(pose[3:]).T @ pose[:3], [1, 2, 3])
    assert np.allclose(to_matrix(pose[3:]).T, axes)


@pytest.mark.parametrize("name", ["handheld, moving things", "orbit", "driving", "dolly with zoom"])
def test_flow_of_what_stands_still_follows_from_depth_and_poses(name: str) -> None:
    first, second = (view_of(TAKES[name][0], t, SMALL) for t in (0.5, 0.7))
    depth_m, moving = measure(first)
    flow, visible = forward_flow(first, second)
    error = np.linalg.norm(flow - reproject(depth_m.astype(np.float64), first, second), axis=-1)
    assert error[~moving].max() < 1e-3
    assert not moving.any() or np.median(error[moving]) > 0.1
    assert 0.3 < visible.mean() < 1


def test_visible_points_have_the_second_views_depth() -> None:
    first, second = (view_of(TAKES["handheld"][0], t, SMALL) for t in (0.5, 1.1))
    (depth_m, _), (second_m, _) = measure(first), measure(second)
    flow, visible = forward_flow(first, second)
    v, u = np.mgrid[: SMALL[1], : SMALL[0]].astype(np.float32)
    landed = cv2.remap(second_m, u + flow[..., 0], v + flow[..., 1], cv2.INTER_LINEAR)
    fx, fy, cx, cy = first.intrinsics_px
    points = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones_like(u)], -1) * depth_m[..., None]
    world = (points - first.cam_from_world[:3]) @ to_matrix(first.cam_from_world[3:])
    expected = world @ to_matrix(second.cam_from_world[3:])[2] + second.cam_from_world[2]
    close = np.abs(landed / expected - 1) < 0.02
    assert close[visible].mean() > 0.97
    assert close[~visible].mean() < 0.5


@pytest.mark.parametrize("name", ["handheld", "orbit", "driving"])
def test_tracking_recovers_the_flow(name: str) -> None:
    first, second = (view_of(TAKES[name][0], t, (320, 180)) for t in (0.5, 0.5 + 1 / 30))
    flow, visible = forward_flow(first, second)
    a, b = gray(draw(first)), gray(draw(second))
    corners = cv2.goodFeaturesToTrack(a, 500, 0.01, 5)
    assert len(corners) > 200
    options = {"winSize": (15, 15), "maxLevel": 3, "criteria": (3, 40, 0.001)}
    tracked, found, _ = cv2.calcOpticalFlowPyrLK(a, b, corners, None, **options)
    at = corners.reshape(-1, 2).astype(int)
    good = (found.ravel() == 1) & visible[at[:, 1], at[:, 0]]
    error = np.linalg.norm((tracked - corners).reshape(-1, 2) - flow[at[:, 1], at[:, 0]], axis=1)[good]
    assert np.median(np.linalg.norm(flow, axis=-1)) > 0.3
    assert np.median(error) < 0.1


def test_equal_arguments_give_equal_bytes() -> None:
    a, b = (film("handheld, moving things", seconds=0.4, size=SMALL, noise=2.0) for _ in range(2))
    assert all(np.array_equal(x, y) for x, y in zip(a.frames, b.frames, strict=True))
    assert a.depth_m.tobytes() == b.depth_m.tobytes()
    assert a.moving.tobytes() == b.moving.tobytes()


def moved(made: Film) -> tuple[Floats, Floats]:
    """The last camera's center, optical axis and x axis, in the first's axes."""
    first, last = made.cam_from_world[0], made.cam_from_world[-1]
    relative = to_matrix(first[3:]) @ to_matrix(last[3:]).T
    return first[:3] - relative @ last[:3], relative


@pytest.mark.parametrize(
    ("word", "axis", "sign"),
    [
        ("Dolly In", 2, 1),
        ("Dolly Out", 2, -1),
        ("Truck Right", 0, 1),
        ("Truck Left", 0, -1),
        ("Pedestal Down", 1, 1),
        ("Pedestal Up", 1, -1),
    ],
)
def test_words_of_translation(word: str, axis: int, sign: int) -> None:
    center, relative = moved(film(word, seconds=1, fps=2, size=(32, 18)))
    assert center[axis] == pytest.approx(0.25 * sign)
    assert np.abs(np.delete(center, axis)).max() < 1e-9
    assert np.allclose(relative, np.eye(3))


@pytest.mark.parametrize(
    ("word", "column", "row", "sign"),
    [
        ("Pan Right", 2, 0, 1),  # the optical axis goes to the right
        ("Pan Left", 2, 0, -1),
        ("Tilt Up", 2, 1, -1),  # the optical axis goes up, y being down
        ("Tilt Down", 2, 1, 1),
        ("Roll CW", 0, 1, 1),  # the right-hand axis goes down
        ("Roll CCW", 0, 1, -1),
    ],
)
def test_words_of_rotation(word: str, column: int, row: int, sign: int) -> None:
    center, relative = moved(film(word, seconds=1, fps=2, size=(32, 18)))
    assert np.abs(center).max() < 1e-9
    assert relative[row, column] == pytest.approx(sign * np.sin(np.deg2rad(6)))


def test_all_takes_can_be_filmed() -> None:
    assert set(MOTION_WORDS) < set(TAKES)
    assert len(MOTION_WORDS) == 13
    for name in TAKES:
        made = film(name, seconds=2, fps=1, size=(48, 27))
        assert len(made.frames) == 2
        assert made.frames[0].std() > 10, name
        assert (made.depth_m > 0.05).all() and (made.depth_m < 250).all(), name


def test_moving_shares() -> None:
    assert not film("handheld", seconds=1, fps=2, size=SMALL).moving.any()
    assert 0.03 < film("handheld, moving things", seconds=1, fps=2, size=SMALL).moving.mean() < 0.4
    assert film("everything moves", seconds=2, fps=1, size=SMALL).moving.mean() > 0.85


def test_black_frozen_and_cut() -> None:
    black = film("black", seconds=3, fps=2, size=SMALL)
    assert [frame.max() == 0 for frame in black.frames] == [False, False, True, True, False, False]
    frozen = film("frozen", seconds=3, fps=4, size=SMALL)
    same = [np.array_equal(a, b) for a, b in zip(frozen.frames, frozen.frames[1:], strict=False)]
    assert same == [False] * 4 + [True] * 4 + [False] * 3
    cut = film("cut", seconds=0.2, fps=20, size=SMALL)
    steps = [np.abs(a.astype(float) - b).mean() for a, b in zip(cut.frames, cut.frames[1:], strict=False)]
    assert steps[1] > 1.3 * max(steps[0], steps[2])
    blurred, sharp = film("blurred", seconds=1, fps=2, size=SMALL), film("handheld", seconds=1, fps=2, size=SMALL)
    assert (
        cv2.Laplacian(gray(blurred.frames[1]), cv2.CV_64F).var()
        < 0.3 * cv2.Laplacian(gray(sharp.frames[1]), cv2.CV_64F).var()
    )


def test_zoom_changes_the_focal_length_only() -> None:
    made = film("zoom", seconds=2, fps=2, size=SMALL)
    assert (np.diff(made.intrinsics_px[:, 0]) > 0).all()
    assert np.ptp(made.cam_from_world, axis=0).max() == 0


def test_films_become_videos(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = write_film(tmp_path / "truck.mp4", "Truck Left", seconds=0.2)
    capture = cv2.VideoCapture(str(tmp_path / "truck.mp4"))
    ok, frame = capture.read()
    assert ok and frame.shape == (180, 320, 3)
    assert np.abs(frame[..., ::-1].astype(float) - made.frames[0]).mean() < 12
