"""Caption file of a clip in the layouts of SpatialVID's release and repository."""

from __future__ import annotations

import json
from typing import Any, Literal

from models.captions.draft import CaptionDraft

Layout = Literal["published", "repository"]


def caption_file(draft: CaptionDraft, layout: Layout, model: str) -> bytes:
    """Caption and tags as JSON.

    Args:
      draft: texts and raw tags.
      layout: "published": keys of SpatialVID's released files; "repository": keys that its code writes.
      model: name of the captioner; only in the repository's layout.
    """
    tags = draft.normalized_tags()
    scene_type = {"first": tags["scene_type"], "second": tags["scene_subtype"]}
    rest = {"timeOfDay": tags["time_of_day"], "weather": tags["weather"], "crowdDensity": tags["crowd_density"]}
    value: dict[str, Any]
    if layout == "published":
        value = {
            "SceneSummary": draft.scene_summary,
            "SceneDescription": draft.scene_description,
            "CameraMotion": draft.camera_motion,
            "ShotImmersion": draft.shot_immersion,
            "MotionTrends": list(draft.motion_trends),
            "CategoryTags": {"sceneType": scene_type, "brightness": tags["brightness"], **rest},
        }
    else:
        value = {
            "CamMotion": draft.seen_motion,
            "SceneDesc": draft.scene_description,
            "OptCamMotion": draft.camera_motion,
            "SceneSummary": draft.scene_summary,
            "MotionTrends": list(draft.motion_trends),
            "SceneTags": list(draft.keywords),
            "ShotImmersion": draft.shot_immersion,
            "LLM": model,
            "CategoryTag": {"sceneType": scene_type, "lighting": tags["brightness"], **rest},
        }
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
