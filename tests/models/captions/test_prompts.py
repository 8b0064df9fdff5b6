from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from models.captions.answers import RefinedAnswer, SceneAnswer, TagAnswer
from models.captions.draft import MeasuredClip
from models.captions.motion import CameraPath, expand_instructions
from models.captions.motion_labels.steps import measure_steps
from models.captions.prompts import STEPS, describe_measured_motion, fill, prompts_id, read_prompt
from models.geometry.camera_path import interpolate_missing_poses

IDENTITY = [0, 0, 0, 0, 0, 0, 1.0]


def poses_ahead(step=0.1, count=11):
    """A camera that moves forward, from the world's origin on."""
    poses = np.tile(IDENTITY, (count, 1))
    poses[:, 2] = -step * np.arange(count)
    return poses


def path_of(poses, instructions, has_translation=True, scene_depth=2.0, **facts):
    times_s = 0.2 * np.arange(len(poses))
    filled = interpolate_missing_poses(poses, times_s)
    steps = measure_steps(filled, times_s=times_s, scene_depth=scene_depth, has_translation=has_translation)
    labels = expand_instructions(instructions, len(poses))
    return CameraPath(
        steps=steps, labels=labels, has_translation=has_translation, **{"dist_level": 2, "turns": 0, **facts}
    )


def tell(path, times_s=(0.0, 1.0, 2.0), **changes):
    clip = {"width": 64, "height": 36, "duration_s": 2.0, "luminance": 99.0, "darkest": 90.0, "brightest": 110.0}
    return describe_measured_motion(MeasuredClip(**clip, path=path, **changes), times_s)


def test_a_path_from_the_origin_is_told_in_scene_depths_of_the_current_camera():
    told = tell(path_of(poses_ahead(), {"0->10": ["Dolly In"]}), motion_sentence="The camera dollies in.")
    assert told.splitlines() == [
        "Distance level 2 of 4: moderate path; turns of the path: 0.",
        "In short: The camera dollies in.",
        "By time (motion words; travel in scene depths: 1 is the typical distance from the camera to the scene; "
        "all as seen from the camera at that moment):",
        "- 0.0 s to 1.0 s: Dolly In; moves 0.25 forward, 0.00 right, 0.00 down (0.25 a second); "
        "turns 0 degrees right, 0 degrees up, 0 degrees clockwise (0 degrees a second)",
        "- 1.0 s to 2.0 s: Dolly In; moves 0.25 forward, 0.00 right, 0.00 down (0.25 a second); "
        "turns 0 degrees right, 0 degrees up, 0 degrees clockwise (0 degrees a second)",
    ]


def test_what_follows_the_last_image_is_told():
    told = tell(path_of(poses_ahead(), {"0->10": ["Dolly In"]}), times_s=(0.0, 1.0, 1.9))
    assert len(told.splitlines()) == 4
    told = tell(path_of(poses_ahead(), {"0->10": ["Dolly In"]}), times_s=(0.0, 1.0))
    assert told.splitlines()[-1].startswith("- 1.0 s to 2.0 s: Dolly In; moves 0.25 forward")
    told = tell(path_of(poses_ahead(), {"0->10": ["Dolly In"]}), times_s=(0.0,))
    assert told.splitlines()[-1].startswith("- 0.0 s to 2.0 s: Dolly In; moves 0.50 forward")


def test_forward_stays_forward_after_a_turn():
    """A quarter turn to the right, then forward: to the right in world axes."""
    poses = poses_ahead(step=0.0)
    poses[5:, 3:] = [0, -np.sqrt(0.5), 0, np.sqrt(0.5)]
    poses[5:, 2] = -0.1 * np.arange(6)
    told = tell(path_of(poses, {"0->5": ["Pan Right"], "5->10": ["Dolly In"]}))
    first, second = told.splitlines()[-2:]
    assert "turns 90 degrees right" in first
    assert "0.25 forward, 0.00 right" in second
    assert "turns 0 degrees right" in second


def test_a_camera_at_one_place_is_said_to_turn_only():
    path = path_of(poses_ahead(0.0), {"0->10": ["Stay"]}, has_translation=False, scene_depth=None, dist_level=None)
    told = tell(path)
    assert "The camera stays in one place (distance level 0: static)" in told
    assert "moves" not in told
    assert "Stay" in told


def test_poses_that_are_missing_are_filled():
    poses = poses_ahead()
    poses[3:6] = np.nan
    assert tell(path_of(poses, {"0->10": ["Dolly In"]})) == tell(path_of(poses_ahead(), {"0->10": ["Dolly In"]}))


def test_before_and_behind_the_poses_nothing_is_claimed():
    path = path_of(poses_ahead(), {"0->10": ["Dolly In"]})
    steps = dataclasses.replace(path.steps, times_s=path.steps.times_s + 3.0)
    told = tell(dataclasses.replace(path, steps=steps), (0.0, 2.0, 4.0, 6.0, 8.0)).splitlines()
    assert [told[-4], told[-1]] == ["- 0.0 s to 2.0 s: not known", "- 6.0 s to 8.0 s: not known"]
    assert told[-3].startswith("- 3.0 s to 4.0 s: Dolly In; moves 0.25 forward, 0.00 right, 0.00 down (0.25 a second)")
    assert told[-2].startswith("- 4.0 s to 5.0 s: Dolly In; moves 0.25 forward")


def test_without_poses_the_reason_is_told():
    assert tell(None, pose_reason="too few points").startswith("No path of the camera: too few points.")


def test_numbers_and_lines_are_bounded():
    poses = poses_ahead(step=1e9)
    told = tell(path_of(poses, {"0->10": ["Dolly In"]}, scene_depth=1e-3), np.linspace(0, 2, 200))
    assert max(float(number) for number in re.findall(r"\d+(?:\.\d+)?", told)) <= 999
    assert len(told.splitlines()) <= 3 + 25
    assert len(tell(path_of(poses_ahead(), {"0->10": ["Stay"]}), (0.0,)).splitlines()) <= 4


def test_all_values_of_the_prompts_are_filled():
    values = dict.fromkeys(["duration", "seen_motion", "scene_description", "motion", "luminance"], "VALUE")
    for step in STEPS:
        assert "$" not in fill(step, **values)
    with pytest.raises(KeyError):
        fill("vision")
    assert prompts_id().startswith("v1@")


@pytest.mark.parametrize(("step", "answer"), [("vision", SceneAnswer), ("refine", RefinedAnswer), ("tags", TagAnswer)])
def test_prompts_and_schemas_speak_of_the_same_fields(step, answer):
    asked = re.findall(r"^(\w+):", read_prompt(step), flags=re.MULTILINE)
    assert [name for name in asked if name not in ("Camera", "Scene")] == list(answer.model_fields)
    schema = answer.json_schema()
    assert schema["required"] == list(answer.model_fields)
