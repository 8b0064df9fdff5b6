"""What a captioner is given of a clip, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.captions.motion import CameraPath
from models.captions.vocabulary import UNKNOWN, VOCABULARY, clean_tag, is_odd, normalize_tag


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredClip:
    """What earlier steps measured of a clip; None where a step did not run or found nothing.

    Attributes:
      width, height: upright picture, pixels.
      duration_s: seconds.
      luminance: mean luminance of the sample images, 0 to 255; `darkest` and `brightest` over all frames.
      text_share: share of the picture under text in the worst sample image.
      moving_share: mean share of the picture that moves by itself.
      motion_sentence: the camera's motion in one line.
      pose_reason: why there are no poses.
      path: the camera's motion in numbers and words.
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
      scene_summary, scene_description, camera_motion, shot_immersion: None where nothing is known to say.
      seen_motion: the camera's motion as the vision step saw it, before the poses corrected it.
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
        """The tags in the closed vocabulary, and the free `scene_subtype`."""
        tags = {tag: normalize_tag(tag, self.tags.get(tag)) for tag in VOCABULARY}
        return tags | {"scene_subtype": clean_tag(self.tags.get("scene_subtype")).title() or UNKNOWN}

    def odd_tags(self) -> tuple[str, ...]:
        """`<tag>=<raw value>` of each value that was not one of the vocabulary."""
        given = [(tag, self.tags[tag]) for tag in VOCABULARY if tag in self.tags]
        return tuple(f"{tag}={value}" for tag, value in given if is_odd(tag, value))
