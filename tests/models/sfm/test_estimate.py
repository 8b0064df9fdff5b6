"""Invalid requests raise; intrinsics follow a resize."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from models.sfm.estimate import Intrinsics, PoseRequest, default_intrinsics, without_poses

CAMERA = Intrinsics(fx=100.0, fy=101.0, cx=31.5, cy=17.5)


def make_request(**changes: Any) -> PoseRequest:
    frames = [np.zeros((36, 64, 3), np.uint8)] * 3
    return PoseRequest(**{"frames": frames, "times_s": np.arange(3.0), **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": []}, "at least one"),
        ({"frames": [np.zeros((36, 64, 3), np.uint8)] * 2 + [np.zeros((36, 65, 3), np.uint8)]}, "one size"),
        ({"frames": [np.zeros((36, 64), np.uint8)] * 3}, "one size"),
        ({"frames": [np.zeros((36, 64, 3), np.float32)] * 3}, "uint8"),
        ({"times_s": np.arange(2.0)}, "3 strictly"),
        ({"times_s": np.array([0.0, 1.0, 1.0])}, "strictly"),
        ({"times_s": np.array([0.0, np.nan, 1.0])}, "strictly"),
        ({"dynamic_masks": np.zeros((3, 64, 36), bool)}, "mask"),
        ({"intrinsics_mode": "fix"}, "needs intrinsics"),
        ({"num_threads": 0}, "num_threads"),
    ],
)
def test_invalid_requests_raise(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_request(**changes)


@pytest.mark.parametrize("changes", [{"fx": 0.0}, {"fy": -1.0}, {"cx": np.nan}])
def test_invalid_intrinsics_raise(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="intrinsics"):
        Intrinsics(**{"fx": 1.0, "fy": 1.0, "cx": 0.0, "cy": 0.0, **changes})


def test_intrinsics_of_resized_images() -> None:
    image = np.zeros((36, 64), np.float32)
    image[10:14, 20:24] = 1  # center of mass at (21.5, 11.5)
    small = cv2.resize(image, (32, 9), interpolation=cv2.INTER_AREA)
    v, u = np.mgrid[:9, :32]
    seen = np.array([(small * u).sum(), (small * v).sum()]) / small.sum()
    camera = CAMERA.resized((64, 36), (32, 9))
    ray = np.array([(21.5 - CAMERA.cx) / CAMERA.fx, (11.5 - CAMERA.cy) / CAMERA.fy])
    assert seen == pytest.approx([camera.fx * ray[0] + camera.cx, camera.fy * ray[1] + camera.cy])


def test_no_poses() -> None:
    answer = without_poses(make_request(intrinsics=CAMERA, intrinsics_mode="refine"), "too dark")
    assert answer.reason == "too dark" and not answer.pose_ok and not answer.registered.any()
    assert answer.cam_from_world.shape == (3, 7) and np.isnan(answer.cam_from_world).all()
    assert answer.intrinsics_px.tolist() == [100.0, 101.0, 31.5, 17.5]
    default = without_poses(make_request(), "too dark").intrinsics_px
    assert default.tolist() == default_intrinsics((64, 36)).as_array().tolist() == [76.8, 76.8, 31.5, 17.5]
