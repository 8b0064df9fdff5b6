from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from models.captions import CaptionSettings, MeasuredClip, caption_file, compose_caption
from models.captions.motion import CameraPath, expand_instructions
from models.captions.motion_labels.steps import MotionSteps
from models.captions.settings import EmbeddedSettings

CLIP = MeasuredClip(width=1280, height=720, duration_s=4.0, luminance=120.0, darkest=110.0, brightest=125.0)
PUBLISHED = ["SceneSummary", "SceneDescription", "CameraMotion", "ShotImmersion", "MotionTrends", "CategoryTags"]


def a_path(has_translation=True):
    """Two seconds forward, one of panning left by 30 degrees, one at rest."""
    moved = np.zeros((4, 6))
    moved[:2, 0] = 0.2
    moved[2, 3] = -30
    return CameraPath(
        steps=MotionSteps(times_s=np.arange(5.0), motion=moved),
        labels=expand_instructions({"0->2": ["Dolly In"], "2->3": ["Pan Left"], "3->4": ["Stay"]}, 5),
        has_translation=has_translation,
        dist_level=2,
        turns=1,
    )


def compose(**changes):
    return compose_caption(dataclasses.replace(CLIP, **changes), EmbeddedSettings())


def test_what_is_not_known_is_not_said():
    draft = compose()
    assert draft.camera_motion is None
    assert draft.shot_immersion is None
    assert draft.motion_trends == ()
    assert set(draft.normalized_tags().values()) == {"Bright", "Unknown"}
    assert "move" not in draft.scene_summary + draft.scene_description
    assert "text" not in (draft.scene_summary + draft.scene_description).lower()


@pytest.mark.parametrize(("luminance", "brightness"), [(90, "Bright"), (75, "Unknown"), (60, "Dim/Dark")])
def test_brightness_follows_the_luminance(luminance, brightness):
    assert compose(luminance=luminance).normalized_tags()["brightness"] == brightness


def test_what_was_measured_is_said():
    draft = compose(moving_share=0.2, text_share=0.1, width=720, height=1280, brightest=200.0)
    assert draft.scene_summary == (
        "A bright portrait-format shot of 4.0 seconds in which much of the image moves and text is visible."
    )
    assert "About 20 % of it moves. Text covers up to 10 % of it." in draft.scene_description
    assert "changes between 110 and 200" in draft.scene_description


def test_the_camera_is_told_from_its_poses():
    draft = compose(path=a_path(), motion_sentence="The camera dollies in, then pans left.")
    assert draft.camera_motion == (
        "The camera dollies in, then pans left. From first to last it turns by 30 degrees to the left. "
        "Its path bends once."
    )
    assert draft.motion_trends == ("forward translate", "pan left", "static viewpoint")


def test_motion_between_two_times_is_cut_at_them():
    stretch = a_path().between(1.0, 2.5)
    assert stretch.motion == pytest.approx((0.2, 0, 0, -15, 0, 0))
    assert stretch.labels == ("Dolly In", "Pan Left")
    assert a_path().tags() == ("forward",)


def test_a_camera_at_one_place_is_stationary():
    path = dataclasses.replace(a_path(), labels=expand_instructions({"0->4": ["Pan Left"]}, 5))
    assert path.tags() == ("stationary",)


def test_files_have_the_published_keys_or_the_repositorys():
    draft = compose()
    published = json.loads(caption_file(draft, "published", "m"))
    assert list(published) == PUBLISHED
    assert list(published["CategoryTags"]) == ["sceneType", "brightness", "timeOfDay", "weather", "crowdDensity"]
    assert published["MotionTrends"] == []
    ours = json.loads(caption_file(draft, "repository", "some model"))
    assert ours["LLM"] == "some model"
    assert ours["CategoryTag"]["lighting"] == "Bright"
    assert list(ours)[:3] == ["CamMotion", "SceneDesc", "OptCamMotion"]


def test_limits_of_brightness_must_not_cross():
    with pytest.raises(ValueError, match="dim_to"):
        CaptionSettings(embedded={"bright_from": 50, "dim_to": 60})
