"""One line of plain language for the motion of a clip's camera."""

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

# A sentence tells at most so many phases, none shorter: what is shorter goes to a neighbor.
MAX_PHASES = 4
MIN_PHASE_S = 0.8
# And so many words of a phase, none much weaker than the strongest.
MAX_WORDS = 3
MIN_STRENGTH_SHARE = 0.1

# Translation in scene depths and per second, rotation in degrees and per second.
SLIGHT = (0.15, 12.0)
QUICK = (0.6, 30.0)
SLOW = (0.08, 5.0)


def describe_motion(segments: Sequence[MotionSegment], steps: MotionSteps) -> str:
    """Tells the motion in one sentence, such as "The camera dollies in and pans slightly left, then stays still."

    Args:
      segments: at least one; together they span the poses of `steps`, or the first of them.
      steps: the motion between the poses: how far and how fast decides about slightly, slowly and quickly.
    """
    phases = _shorten([(s.start_ordinal, s.end_ordinal, s.labels) for s in segments], steps)
    phases = _merge_equal([(start, end, _choose(start, end, labels, steps)) for start, end, labels in phases])
    clauses, before = [], frozenset[str]()
    for start, end, labels in phases:
        now = frozenset(labels) - {STAY}
        verbs = [_tell(word, start, end, steps) for word in labels if word in now]
        if not now:
            clauses.append("stays still")
        elif before and before < now:
            clauses.append("also " + _join(v for v, word in zip(verbs, labels, strict=True) if word not in before))
        elif now < before:
            clauses.append("only " + _join(verbs))
        else:
            clauses.append(_join(verbs))
        before = now
    return f"The camera {', then '.join(clauses)}."


Phase = tuple[int, int, tuple[str, ...]]


def _shorten(phases: list[Phase], steps: MotionSteps) -> list[Phase]:
    """Gives the shortest phases to their neighbors until few are left and none is very short."""

    def duration_s(phase: Phase) -> float:
        return float(steps.times_s[phase[1]] - steps.times_s[phase[0]])

    phases = _merge_equal(phases)
    while len(phases) > 1:
        shortest = min(range(len(phases)), key=lambda i: duration_s(phases[i]))
        if len(phases) <= MAX_PHASES and duration_s(phases[shortest]) >= MIN_PHASE_S:
            break
        start, end, labels = phases.pop(shortest)
        sides = [i for i in (shortest - 1, shortest) if 0 <= i < len(phases)]
        taker = max(sides, key=lambda i: (len(set(phases[i][2]) & set(labels)), duration_s(phases[i])))
        old = phases[taker]
        phases[taker] = (min(start, old[0]), max(end, old[1]), old[2])
        phases = _merge_equal(phases)
    return phases


def _merge_equal(phases: list[Phase]) -> list[Phase]:
    merged: list[Phase] = []
    for phase in phases:
        if merged and set(merged[-1][2]) == set(phase[2]):
            phase = (merged.pop()[0], phase[1], phase[2])
        merged.append(phase)
    return merged


def _choose(start: int, end: int, labels: tuple[str, ...], steps: MotionSteps) -> tuple[str, ...]:
    """The words that matter in a phase, in the order of `labels`."""
    if labels == (STAY,):
        return labels
    strength = {w: _amount(w, start, end, steps) / SLIGHT[_kind(w)] for w in labels}
    least = MIN_STRENGTH_SHARE * max(strength.values())
    best = sorted(labels, key=lambda w: -strength[w])[:MAX_WORDS]
    return tuple(w for w in labels if w in best and strength[w] >= least)


def _kind(word: str) -> int:
    return int(AXIS_OF[word] >= NUM_TRANSLATIONS)


def _amount(word: str, start: int, end: int, steps: MotionSteps) -> float:
    return abs(float(steps.moved[start:end, AXIS_OF[word]].sum()))


def _tell(word: str, start: int, end: int, steps: MotionSteps) -> str:
    kind = _kind(word)
    amount = _amount(word, start, end, steps)
    rate = amount / float(steps.times_s[end] - steps.times_s[start])
    verb, direction = VERBS[word]
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
