"""Captioner without a model: composes sentences and tags from measured values alone."""

from __future__ import annotations

from models.captions.draft import CaptionDraft, MeasuredClip
from models.captions.settings import EmbeddedSettings
from models.captions.vocabulary import DIM, UNKNOWN

MODEL_NAME = "embedded-v1"

# Shares of the image below which text or motion is negligible, and above which motion is large.
NEGLIGIBLE_SHARE, LARGE_SHARE = 0.01, 0.15
ROTATIONS = (("to the right", "to the left"), ("up", "down"), ("clockwise", "counter-clockwise"))
MIN_ROTATION_DEG = 5.0
SQUARE_TOLERANCE = 0.05
"""Largest difference of the aspect ratio from 1 for a square format."""


def compose_caption(clip: MeasuredClip, settings: EmbeddedSettings) -> CaptionDraft:
    """Caption and tags of a clip from its measured values.

    Scene type, time of day, weather and crowd density are not measured: they are "Unknown". `shot_immersion` is None.
    """
    brightness = _brightness(clip, settings)
    path = clip.path
    return CaptionDraft(
        scene_summary=_summary(clip, brightness),
        scene_description=_description(clip, brightness),
        camera_motion=_camera(clip),
        motion_trends=path.trends() if path else (),
        tags={"brightness": brightness},
    )


def _brightness(clip: MeasuredClip, settings: EmbeddedSettings) -> str:
    if clip.luminance >= settings.bright_from:
        return "Bright"
    return DIM if clip.luminance <= settings.dim_to else UNKNOWN


def _format(clip: MeasuredClip) -> str:
    ratio = clip.width / clip.height
    if abs(ratio - 1) < SQUARE_TOLERANCE:
        return "square"
    return "landscape-format" if ratio > 1 else "portrait-format"


def _light(brightness: str) -> str:
    return {"Bright": "bright", DIM: "dim"}.get(brightness, "moderately lit")


def _summary(clip: MeasuredClip, brightness: str) -> str:
    parts = []
    if clip.moving_share is not None:
        parts.append(
            "hardly anything moves"
            if clip.moving_share < NEGLIGIBLE_SHARE
            else "much of the image moves"
            if clip.moving_share > LARGE_SHARE
            else "part of the image moves"
        )
    if clip.text_share is not None and clip.text_share >= NEGLIGIBLE_SHARE:
        parts.append("text is visible")
    tail = f" in which {' and '.join(parts)}" if parts else ""
    return f"A {_light(brightness)} {_format(clip)} shot of {clip.duration_s:.1f} seconds{tail}."


def _description(clip: MeasuredClip, brightness: str) -> str:
    light = f"The image is {_light(brightness)}, with a mean luminance of {clip.luminance:.0f} of 255"
    if clip.brightest - clip.darkest >= 20:
        light += f", and changes between {clip.darkest:.0f} and {clip.brightest:.0f} over time"
    sentences = [f"{light}."]
    if clip.moving_share is not None:
        sentences.append(
            "Hardly anything in it moves."
            if clip.moving_share < NEGLIGIBLE_SHARE
            else f"About {_percent(clip.moving_share)} of it moves."
        )
    if clip.text_share is not None:
        sentences.append(
            "No text was found in it."
            if clip.text_share < NEGLIGIBLE_SHARE
            else f"Text covers up to {_percent(clip.text_share)} of it."
        )
    return " ".join(sentences)


def _camera(clip: MeasuredClip) -> str | None:
    path = clip.path
    if path is None or not clip.motion_sentence:
        return None
    sentences = [clip.motion_sentence]
    rotations = zip(path.totals().motion[3:], ROTATIONS, strict=True)
    if large := [f"{abs(a):.0f} degrees {words[a < 0]}" for a, words in rotations if abs(a) >= MIN_ROTATION_DEG]:
        sentences.append(f"From first to last it turns by {' and '.join(large)}.")
    if path.turns:
        times = {1: "once", 2: "twice"}.get(path.turns, f"{path.turns} times")
        sentences.append(f"Its path bends {times}.")
    return " ".join(sentences)


def _percent(share: float) -> str:
    return f"{max(1, round(100 * share))} %"
