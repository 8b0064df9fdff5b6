"""Input of a captioner (the measured clip) and its output (the caption draft)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.captions.motion import CameraPath
from models.captions.vocabulary import UNKNOWN, VOCABULARY, clean_tag, is_out_of_vocabulary, normalize_tag


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredClip:
    """Measured values of a clip.

    None where a stage did not run or has no value.

    Attributes:
      width, height: upright frame, pixels.
      duration_s: seconds.
      luminance: mean luminance of the sample images, 0 to 255.
      darkest, brightest: smallest and largest mean luminance of a frame, 0 to 255.
      text_share: largest share of a sample image that text covers, 0 to 1.
      moving_share: mean share of the image with moving objects, 0 to 1.
      motion_sentence: camera motion in one sentence.
      pose_reason: why there are no camera poses.
      path: camera motion and its labels.
    """

    width: int
    height: int
    duration_s: float
    luminance: float
    darkest: float
    brightest: float
    text_share: float | None = None
    moving_share: float | None = None
    motion_sentence: str | None = None
    pose_reason: str | None = None
    path: CameraPath | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionDraft:
    """Texts and raw tags of a clip.

    Attributes:
      scene_summary, scene_description, camera_motion, shot_immersion: None where the captioner writes none.
      seen_motion: camera motion from the vision step, before it is corrected by the poses.
      tags: raw value by tag: the keys of `VOCABULARY` and "scene_subtype".
    """

    scene_summary: str | None = None
    scene_description: str | None = None
    camera_motion: str | None = None
    shot_immersion: str | None = None
    seen_motion: str | None = None
    motion_trends: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    def normalized_tags(self) -> dict[str, str]:
        """Tags in the closed vocabulary, and the free `scene_subtype`."""
        tags = {tag: normalize_tag(tag, self.tags.get(tag)) for tag in VOCABULARY}
        return tags | {"scene_subtype": clean_tag(self.tags.get("scene_subtype")).title() or UNKNOWN}

    def odd_tags(self) -> tuple[str, ...]:
        """`<tag>=<raw value>` of each raw value outside the vocabulary."""
        raw = [(tag, self.tags[tag]) for tag in VOCABULARY if tag in self.tags]
        return tuple(f"{tag}={value}" for tag, value in raw if is_out_of_vocabulary(tag, value))
