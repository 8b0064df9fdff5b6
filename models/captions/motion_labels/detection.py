"""Words for the motion of a camera, whatever the world frame, the scale and the rate of its poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.arrays import BoolArray, Float64Array
from models.captions.motion_labels.segments import MotionSegment, merge_steps, to_instructions
from models.captions.motion_labels.sentences import describe_motion
from models.captions.motion_labels.settings import MotionLabelSettings
from models.captions.motion_labels.steps import MotionSteps, measure_steps
from models.captions.motion_labels.vocabulary import NUM_TRANSLATIONS, name_directions

DEFAULT_SETTINGS = MotionLabelSettings()
# Sums of durations are not exact: what lasts as long as the limit is not shorter than it.
TIME_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionLabels:
    """The words of a clip.

    Attributes:
      segments: stretches with equal words, in order, from the first pose to the last without gaps.
      sentence: the same in one line of plain language; None with fewer than two poses.
      reason: why there is no sentence, else None.
    """

    segments: tuple[MotionSegment, ...]
    sentence: str | None
    reason: str | None = None

    @property
    def instructions(self) -> dict[str, list[str]]:
        """The object of SpatialVID's instructions.json: "start->end" (ordinals of poses) to words."""
        return to_instructions(self.segments)


def label_motion(
    cam_from_world: npt.ArrayLike,
    *,
    times_s: npt.ArrayLike,
    scene_depth: float | None,
    has_translation: bool = True,
    settings: MotionLabelSettings = DEFAULT_SETTINGS,
) -> MotionLabels:
    """Finds the words for the motion of a clip's camera.

    Speeds in the camera's own axes are averaged over time without lag. A word counts where its speed reaches
    the threshold, and around that while it stays near it, for at least `min_word_s`; and only when it is no
    mere fraction of a stronger motion of its kind.

    Args:
      cam_from_world: (n, 7) [tx ty tz qx qy qz qw], n >= 1.
      times_s: (n,) increasing times of the poses, seconds.
      scene_depth: typical (median) depth of the clip's scene in the poses' unit of length; may be None without
        translation.
      has_translation: false when the poses are known to share one center: no word of translation is given.
      settings: thresholds and durations.

    Raises:
      ValueError: for wrong shapes, times that do not increase, a depth that is not positive.
      ItemError: `BadPoses` for poses that are not finite or not rigid.
    """
    steps = measure_steps(cam_from_world, times_s=times_s, scene_depth=scene_depth, has_translation=has_translation)
    if len(steps.moved) == 0:
        return MotionLabels(segments=(), sentence=None, reason="one pose shows no motion")
    signs = _find_directions(steps, settings)
    segments = merge_steps([name_directions(row) for row in signs])
    return MotionLabels(segments=segments, sentence=describe_motion(segments, steps))


def _find_directions(steps: MotionSteps, settings: MotionLabelSettings) -> npt.NDArray[np.int8]:
    """(n - 1, 6) signs along the axes: which words hold from each pose to the next."""
    thresholds = np.repeat([settings.translation_threshold, settings.rotation_threshold], NUM_TRANSLATIONS)
    scores = steps.smooth_rates(settings.smoothing_s) / thresholds
    sizes = np.abs(scores)
    kinds = sizes.reshape(-1, 2, NUM_TRANSLATIONS)
    strongest = np.repeat(kinds.max(axis=2), NUM_TRANSLATIONS, axis=1)
    starts = sizes >= np.maximum(1.0, settings.min_share * strongest)
    holds = sizes >= settings.stay_share * np.maximum(1.0, settings.min_share * strongest)
    signs = np.zeros(scores.shape, dtype=np.int8)
    for axis in range(scores.shape[1]):
        for sign in (1, -1):
            side = sign * scores[:, axis] > 0
            on = _hold(starts[:, axis] & side, holds[:, axis] & side)
            on = _drop_short(on, scores[:, axis] * sign, steps.durations_s, settings.min_word_s)
            signs[on, axis] = sign
    ranks = np.argsort(np.argsort(-np.where(signs, sizes, 0.0), axis=1, kind="stable"), axis=1)
    signs[ranks >= settings.max_words] = 0
    return signs


def _runs(flags: BoolArray) -> list[tuple[int, int]]:
    """Half-open stretches of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _hold(starts: BoolArray, holds: BoolArray) -> BoolArray:
    """The stretches of `holds` in which somewhere `starts` is true, so forwards and backwards in time alike."""
    on = np.zeros_like(holds)
    for start, end in _runs(holds):
        on[start:end] = starts[start:end].any()
    return on


def _drop_short(on: BoolArray, forward: Float64Array, durations_s: Float64Array, min_s: float) -> BoolArray:
    """Closes short gaps in which the motion does not reverse, then drops short stretches."""
    on = on.copy()
    min_s -= TIME_TOLERANCE
    for start, end in _runs(~on):
        inner = start > 0 and end < len(on)
        if inner and durations_s[start:end].sum() < min_s and (forward[start:end] > 0).all():
            on[start:end] = True
    for start, end in _runs(on):
        if end - start < len(on) and durations_s[start:end].sum() < min_s:
            on[start:end] = False
    return on
