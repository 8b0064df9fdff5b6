"""Camera motion labels, independent of world frame, scale and rate of the poses."""

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
# Rounding error of sums of durations.
TIME_TOLERANCE_S = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionLabels:
    """Camera motion labels of a clip.

    Attributes:
      segments: consecutive segments with equal labels, from the first pose to the last without gaps.
      sentence: the motion in one sentence; None with fewer than two poses.
      reason: why there is no sentence, else None.
    """

    segments: tuple[MotionSegment, ...]
    sentence: str | None
    reason: str | None = None

    @property
    def instructions(self) -> dict[str, list[str]]:
        """The object of SpatialVID's instructions.json: "start->end" (ordinals of poses) to labels."""
        return to_instructions(self.segments)


def label_motion(
    cam_from_world: npt.ArrayLike,
    *,
    times_s: npt.ArrayLike,
    scene_depth: float | None,
    has_translation: bool = True,
    settings: MotionLabelSettings = DEFAULT_SETTINGS,
) -> MotionLabels:
    """Camera motion labels of a clip, by hysteresis thresholds on smoothed velocities.

    Velocities are in the camera's axes. A label starts where its speed reaches the threshold, holds while the speed
    is at least `stay_share` of it, and lasts at least `min_word_s`. It needs at least `min_share` of the strongest
    translation (or rotation).

    Args:
      cam_from_world: (n, 7) [tx ty tz qx qy qz qw], n >= 1.
      times_s: (n,) increasing times of the poses, seconds.
      scene_depth: median depth of the clip's scene in the poses' unit of length; may be None without translation.
      has_translation: false when the poses share one camera center: no translation label is given.
      settings: thresholds and durations.

    Raises:
      ValueError: for wrong shapes, times that do not increase, a depth that is not positive.
      ItemError: `BadPoses` for poses that are not finite or not rigid.
    """
    steps = measure_steps(cam_from_world, times_s=times_s, scene_depth=scene_depth, has_translation=has_translation)
    if len(steps.motion) == 0:
        return MotionLabels(segments=(), sentence=None, reason="one pose shows no motion")
    signs = _find_directions(steps, settings)
    segments = merge_steps([name_directions(row) for row in signs])
    return MotionLabels(segments=segments, sentence=describe_motion(segments, steps))


def _find_directions(steps: MotionSteps, settings: MotionLabelSettings) -> npt.NDArray[np.int8]:
    """(n - 1, 6) signs of labeled motion along `AXES`; 0 for none."""
    thresholds = np.repeat([settings.translation_threshold, settings.rotation_threshold], NUM_TRANSLATIONS)
    scores = steps.smooth_rates(settings.smoothing_s) / thresholds
    magnitudes = np.abs(scores)
    kinds = magnitudes.reshape(-1, 2, NUM_TRANSLATIONS)
    strongest = np.repeat(kinds.max(axis=2), NUM_TRANSLATIONS, axis=1)
    high = magnitudes >= np.maximum(1.0, settings.min_share * strongest)
    low = magnitudes >= settings.stay_share * np.maximum(1.0, settings.min_share * strongest)
    signs = np.zeros(scores.shape, dtype=np.int8)
    for axis in range(scores.shape[1]):
        for sign in (1, -1):
            has_sign = sign * scores[:, axis] > 0
            active = _hysteresis(high[:, axis] & has_sign, low[:, axis] & has_sign)
            active = _drop_short(active, scores[:, axis] * sign, steps.durations_s, settings.min_word_s)
            signs[active, axis] = sign
    ranks = np.argsort(np.argsort(-np.where(signs, magnitudes, 0.0), axis=1, kind="stable"), axis=1)
    signs[ranks >= settings.max_words] = 0
    return signs


def _runs(flags: BoolArray) -> list[tuple[int, int]]:
    """Half-open runs of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _hysteresis(high: BoolArray, low: BoolArray) -> BoolArray:
    """The runs of `low` that contain a true value of `high`, symmetric in time."""
    active = np.zeros_like(low)
    for start, end in _runs(low):
        active[start:end] = high[start:end].any()
    return active


def _drop_short(active: BoolArray, velocity: Float64Array, durations_s: Float64Array, min_s: float) -> BoolArray:
    """Closes short gaps in which the motion does not reverse, then drops short runs."""
    active = active.copy()
    min_s -= TIME_TOLERANCE_S
    for start, end in _runs(~active):
        is_inner = start > 0 and end < len(active)
        if is_inner and durations_s[start:end].sum() < min_s and (velocity[start:end] > 0).all():
            active[start:end] = True
    for start, end in _runs(active):
        if end - start < len(active) and durations_s[start:end].sum() < min_s:
            active[start:end] = False
    return active
