"""Prompts: versioned text files, and the text that describes measured camera motion in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from string import Template

from core.digest import digest_bytes
from models.captions.answers import RefinedAnswer, SceneAnswer, TagAnswer
from models.captions.draft import MeasuredClip
from models.captions.motion import CameraPath, MotionSpan

VERSION = "v1"
STEPS = ("system", "vision", "refine", "tags")
MAX_SPANS = 24
MAX_NUMBER = 99.99
MIN_SPAN_S = 0.25
LEVELS = ("static", "slight", "moderate", "long", "very long")


@lru_cache(maxsize=len(STEPS))
def read_prompt(step: str) -> str:
    """The text of a step's prompt, with `$name` where a value belongs."""
    return resources.files("models.captions").joinpath("prompts", f"{step}.{VERSION}.txt").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def prompts_id() -> str:
    """Version and digest of all prompts and answer schemas, as outputs name them."""
    schemas = [answer.json_schema() for answer in (SceneAnswer, RefinedAnswer, TagAnswer)]
    text = "\0".join([*map(read_prompt, STEPS), json.dumps(schemas, sort_keys=True)])
    return f"{VERSION}@{digest_bytes(text.encode())[:12]}"


def fill(step: str, **values: str) -> str:
    """A step's prompt with its values filled in."""
    return Template(read_prompt(step)).substitute(values)


def describe_measured_motion(clip: MeasuredClip, times_s: Sequence[float]) -> str:
    """Measured camera motion as text lines.

    One line for the clip, then between neighboring images and after the last.

    Numbers are bounded and in the axes of the camera at that moment; translations are in scene depths, which makes
    clips comparable.

    Args:
      clip: measured values.
      times_s: increasing times of the sampled images, seconds.
    """
    path = clip.path
    if path is None:
        return f"No path of the camera: {clip.pose_reason or 'it could not be measured'}. Leave unsure directions out."
    lines = [_describe_path(path)]
    if clip.motion_sentence:
        lines.append(f"In short: {clip.motion_sentence}")
    lines.append(
        "By time (motion words; travel in scene depths: 1 is the typical distance from the camera to the scene; "
        "all as seen from the camera at that moment):"
    )
    stride = -(-max(1, len(times_s) - 1) // MAX_SPANS)
    edges = [*times_s[:-1:stride], times_s[-1]]
    if (last_pose_s := float(path.steps.times_s[-1])) - edges[-1] >= MIN_SPAN_S:
        edges.append(last_pose_s)
    lines += [f"- {_describe_span(path.between(a, b), path.has_translation)}" for a, b in pairwise(edges)]
    return "\n".join(lines)


def _describe_path(path: CameraPath) -> str:
    if not path.has_translation:
        return "The camera stays in one place (distance level 0: static); it can only turn."
    level = path.dist_level if path.dist_level is not None else 0
    turns = "" if path.turns is None else f"; turns of the path: {path.turns}"
    return f"Distance level {level} of {len(LEVELS) - 1}: {LEVELS[level]} path{turns}."


def _describe_span(span: MotionSpan, has_translation: bool) -> str:
    times = f"{span.start_s:.1f} s to {span.end_s:.1f} s"
    if not span.labels:
        return f"{times}: not known"
    forward, right, down, pan, tilt, roll = span.motion
    seconds = max(span.end_s - span.start_s, 1e-6)
    parts = []
    if has_translation:
        speed = (forward**2 + right**2 + down**2) ** 0.5 / seconds
        parts.append(
            f"moves {_amount(forward, 'forward', 'backward')}, {_amount(right, 'right', 'left')}, "
            f"{_amount(down, 'down', 'up')} ({_number(speed)} a second)"
        )
    angular_speed = (pan**2 + tilt**2 + roll**2) ** 0.5 / seconds
    parts.append(
        f"turns {_degrees(pan, 'right', 'left')}, {_degrees(tilt, 'up', 'down')}, "
        f"{_degrees(roll, 'clockwise', 'counter-clockwise')} ({min(angular_speed, 999):.0f} degrees a second)"
    )
    return f"{times}: {', '.join(span.labels)}; {'; '.join(parts)}"


def _number(value: float) -> str:
    return f"{min(abs(value), MAX_NUMBER):.2f}"


def _amount(value: float, positive: str, negative: str) -> str:
    return f"{_number(value)} {positive if value >= 0 else negative}"


def _degrees(value: float, positive: str, negative: str) -> str:
    return f"{min(abs(value), 999):.0f} degrees {positive if value >= 0 else negative}"
