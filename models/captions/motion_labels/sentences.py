"""Camera motion of a clip in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from models.captions.motion_labels.segments import MotionSegment
from models.captions.motion_labels.steps import MotionSteps
from models.captions.motion_labels.vocabulary import AXES, NUM_TRANSLATIONS, STAY

VERBS = {
    "Dolly In": ("dollies", "in"),
    "Dolly Out": ("dollies", "out"),
    "Truck Right": ("trucks", "right"),
    "Truck Left": ("trucks", "left"),
    "Pedestal Down": ("pedestals", "down"),
    "Pedestal Up": ("pedestals", "up"),
    "Pan Right": ("pans", "right"),
    "Pan Left": ("pans", "left"),
    "Tilt Up": ("tilts", "up"),
    "Tilt Down": ("tilts", "down"),
    "Roll CW": ("rolls", "clockwise"),
    "Roll CCW": ("rolls", "counter-clockwise"),
}
AXIS_OF = {word: i for i, axis in enumerate(AXES) for word in (axis.positive, axis.negative)}

# A sentence has at most so many phases; a shorter phase is merged into a neighbor.
MAX_PHASES = 4
MIN_PHASE_S = 0.8
# Labels of a phase, and their minimum strength relative to the strongest.
MAX_LABELS = 3
MIN_STRENGTH_SHARE = 0.1

# Translation in scene depths and per second, rotation in degrees and per second.
SLIGHT = (0.15, 12.0)
QUICK = (0.6, 30.0)
SLOW = (0.08, 5.0)


def describe_motion(segments: Sequence[MotionSegment], steps: MotionSteps) -> str:
    """Camera motion in one sentence.

    Such as "The camera dollies in and pans slightly left, then stays still."

    Args:
      segments: at least one; together they span the poses of `steps`, or the first of them.
      steps: motion between the poses; amount and speed decide on "slightly", "slowly" and "quickly".
    """
    phases = _merge_short([(s.start_ordinal, s.end_ordinal, s.labels) for s in segments], steps)
    phases = _merge_equal([(start, end, _main_labels(start, end, labels, steps)) for start, end, labels in phases])
    clauses, before = [], frozenset[str]()
    for start, end, labels in phases:
        now = frozenset(labels) - {STAY}
        verbs = [_verb_phrase(label, start, end, steps) for label in labels if label in now]
        if not now:
            clauses.append("stays still")
        elif before and before < now:
            clauses.append("also " + _join(v for v, label in zip(verbs, labels, strict=True) if label not in before))
        elif now < before:
            clauses.append("only " + _join(verbs))
        else:
            clauses.append(_join(verbs))
        before = now
    return f"The camera {', then '.join(clauses)}."


Phase = tuple[int, int, tuple[str, ...]]


def _merge_short(phases: list[Phase], steps: MotionSteps) -> list[Phase]:
    """Merges the shortest phases into neighbors until `MAX_PHASES` and `MIN_PHASE_S` hold."""

    def duration_s(phase: Phase) -> float:
        return float(steps.times_s[phase[1]] - steps.times_s[phase[0]])

    phases = _merge_equal(phases)
    while len(phases) > 1:
        shortest = min(range(len(phases)), key=lambda i: duration_s(phases[i]))
        if len(phases) <= MAX_PHASES and duration_s(phases[shortest]) >= MIN_PHASE_S:
            break
        start, end, labels = phases.pop(shortest)
        sides = [i for i in (shortest - 1, shortest) if 0 <= i < len(phases)]
        target = max(sides, key=lambda i: (len(set(phases[i][2]) & set(labels)), duration_s(phases[i])))
        old = phases[target]
        phases[target] = (min(start, old[0]), max(end, old[1]), old[2])
        phases = _merge_equal(phases)
    return phases


def _merge_equal(phases: list[Phase]) -> list[Phase]:
    merged: list[Phase] = []
    for phase in phases:
        if merged and set(merged[-1][2]) == set(phase[2]):
            phase = (merged.pop()[0], phase[1], phase[2])
        merged.append(phase)
    return merged


def _main_labels(start: int, end: int, labels: tuple[str, ...], steps: MotionSteps) -> tuple[str, ...]:
    """The strongest labels of a phase, in the order of `labels`."""
    if labels == (STAY,):
        return labels
    strength = {w: _amount(w, start, end, steps) / SLIGHT[_kind(w)] for w in labels}
    min_strength = MIN_STRENGTH_SHARE * max(strength.values())
    best = sorted(labels, key=lambda w: -strength[w])[:MAX_LABELS]
    return tuple(w for w in labels if w in best and strength[w] >= min_strength)


def _kind(label: str) -> int:
    """0 for a translation, 1 for a rotation."""
    return int(AXIS_OF[label] >= NUM_TRANSLATIONS)


def _amount(label: str, start: int, end: int, steps: MotionSteps) -> float:
    return abs(float(steps.motion[start:end, AXIS_OF[label]].sum()))


def _verb_phrase(label: str, start: int, end: int, steps: MotionSteps) -> str:
    kind = _kind(label)
    amount = _amount(label, start, end, steps)
    rate = amount / float(steps.times_s[end] - steps.times_s[start])
    verb, direction = VERBS[label]
    if rate >= QUICK[kind]:
        verb += " quickly"
    elif amount < SLIGHT[kind]:
        verb += " slightly"
    elif rate < SLOW[kind]:
        verb += " slowly"
    return f"{verb} {direction}"


def _join(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
