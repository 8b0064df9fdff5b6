from __future__ import annotations

import numpy as np
import pytest

from models.flow.dis import FlowCache
from models.geometry.posed_frames import PosedFrames
from models.segmentation.residual_motion import moving_masks
from tests.support.films import film

SIZE = (192, 108)


def masks_of(made):
    frames = PosedFrames.downscaled(made.frames, made.cam_from_world, made.intrinsics_px[0], SIZE)
    flows = FlowCache(frames.gray, lambda source, target: frames.rigid_flow(source, target, np.float32(0)))
    return moving_masks(frames, flows, None)


@pytest.mark.slow
def test_moving_objects_before_a_static_camera_are_found():
    made = film("still, moving things", seconds=1.2, fps=10, size=SIZE)
    found = masks_of(made)
    assert found.shape == made.moving.shape
    middle = slice(2, -2)
    assert (found & made.moving)[middle].sum() > 0.5 * made.moving[middle].sum()
    assert (found & made.moving)[middle].sum() > 0.3 * found[middle].sum()


@pytest.mark.slow
def test_a_static_scene_before_a_rotating_camera_has_none():
    assert masks_of(film("Pan Right", seconds=1.2, fps=10, size=SIZE)).mean() < 0.02
