from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.failures import ItemError
from models.captions.motion_labels import (
    MotionLabelSettings,
    MotionSegment,
    label_motion,
    label_plain,
    label_voted,
    to_instructions,
)
from models.captions.motion_labels.vocabulary import AXES, LABELS, OPPOSITES, STAY
from tests.support.camera_paths import fly, matrix, move_world, poses_from, quaternion, steady, wander
from tests.support.paths import DATA, NO_DATA

SEQUENCES = DATA / "sequences"

# The camera's own motion (x right, y down, z forward; turning by the right hand) that earns each word.
MOTIONS = {
    "Dolly In": ((0, 0, 1), (0, 0, 0)),
    "Dolly Out": ((0, 0, -1), (0, 0, 0)),
    "Truck Right": ((1, 0, 0), (0, 0, 0)),
    "Truck Left": ((-1, 0, 0), (0, 0, 0)),
    "Pedestal Down": ((0, 1, 0), (0, 0, 0)),
    "Pedestal Up": ((0, -1, 0), (0, 0, 0)),
    "Pan Right": ((0, 0, 0), (0, 1, 0)),
    "Pan Left": ((0, 0, 0), (0, -1, 0)),
    "Tilt Up": ((0, 0, 0), (1, 0, 0)),
    "Tilt Down": ((0, 0, 0), (-1, 0, 0)),
    "Roll CW": ((0, 0, 0), (0, 0, 1)),
    "Roll CCW": ((0, 0, 0), (0, 0, -1)),
    "Stay": ((0, 0, 0), (0, 0, 0)),
}
ELSEWHERE = {"start": (4.0, -2.0, 7.0), "start_quaternion": tuple(quaternion((1, -2, 0.5), 2.2))}


def move(words, speed=0.3, turn=15.0):
    velocity = speed * np.sum([MOTIONS[w][0] for w in words], axis=0)
    return velocity, turn * np.sum([MOTIONS[w][1] for w in words], axis=0)


def perform(*acts, rate=5.0, **start):
    """Times and poses of a camera that does one act after another: (seconds, words...)."""
    ends = np.cumsum([act[0] for act in acts])
    motions = [move(act[1:]) for act in acts]

    def now(t):
        return motions[min(int(np.searchsorted(ends, t, side="right")), len(acts) - 1)]

    times_s = np.arange(round(ends[-1] * rate) + 1) / rate
    return times_s, fly(times_s, lambda t: now(t)[0], lambda t: now(t)[1], **start)


def label(performance, scene_depth=1.0, **options):
    times_s, poses = performance
    return label_motion(poses, times_s=times_s, scene_depth=scene_depth, **options)


def words_of(labels):
    return [set(segment.labels) for segment in labels.segments]


def test_the_vocabulary_is_that_of_the_data_set():
    assert set(LABELS) == set(MOTIONS) and len(LABELS) == 13
    assert {OPPOSITES[OPPOSITES[w]] for w in LABELS if w != STAY} == set(LABELS) - {STAY}


@pytest.mark.parametrize("word", LABELS)
@pytest.mark.parametrize("start", [{}, ELSEWHERE])
def test_each_word_from_its_motion(word, start):
    labels = label(perform((3, word), **start))
    assert labels.segments == (MotionSegment(start_ordinal=0, end_ordinal=15, labels=(word,)),)
    assert labels.instructions == {"0->15": [word]}


@pytest.mark.parametrize("word", LABELS)
def test_each_word_in_the_reference_from_a_camera_that_starts_at_the_origin(word):
    _, poses = perform((8, word))
    for segments in (label_voted(poses), label_plain(poses)):
        assert {w for s in segments for w in s.labels} <= {word, STAY}
        assert segments[-1].labels == (word,)


def test_the_reference_takes_a_pan_far_from_the_origin_for_travel():
    times_s, poses = perform((8, "Pan Right"), start=(0.0, 0.0, 20.0))
    assert {w for s in label_voted(poses) for w in s.labels} - {"Pan Right", STAY}
    assert words_of(label((times_s, poses))) == [{"Pan Right"}]


@pytest.mark.parametrize(
    "words",
    [
        ("Dolly In", "Pan Left"),
        ("Truck Right", "Pan Left"),
        ("Dolly Out", "Pedestal Up", "Tilt Down"),
        ("Pedestal Up", "Pan Right", "Roll CCW"),
        ("Dolly In", "Truck Left", "Pan Right", "Tilt Up"),
    ],
)
def test_words_at_the_same_time_come_in_a_fixed_order(words):
    labels = label(perform((4, *words), **ELSEWHERE))
    assert [s.labels for s in labels.segments] == [words]


def test_acts_one_after_another_without_lag():
    labels = label(perform((3, "Dolly In"), (3, "Pan Left"), (3, STAY), (3, "Pan Right"), **ELSEWHERE))
    times_s = np.arange(61) / 5
    on = {w: [s for s in labels.segments if w in s.labels] for w in ("Dolly In", "Pan Left", "Pan Right")}
    spans = {w: (times_s[s[0].start_ordinal], times_s[s[-1].end_ordinal]) for w, s in on.items()}
    expected = {"Dolly In": (0, 3), "Pan Left": (3, 6), "Pan Right": (9, 12)}
    for word, (start, end) in expected.items():
        assert spans[word] == (pytest.approx(start, abs=0.61), pytest.approx(end, abs=0.61)), word
        assert [s.end_ordinal for s in on[word][:-1]] == [s.start_ordinal for s in on[word][1:]]
    assert {STAY} in words_of(labels)


@pytest.mark.parametrize("rate", [4.0, 10.0, 24.0, 30.0])
def test_the_rate_of_the_poses_does_not_matter(rate):
    acts = ((3, "Dolly In", "Pan Left"), (3, "Truck Left"), (2, STAY), (3, "Tilt Up", "Roll CW"))
    first, second = label(perform(*acts)), label(perform(*acts, rate=rate))
    assert first.sentence == second.sentence

    def lasting_s(labels, rate):
        seconds = dict.fromkeys((w for s in labels.segments for w in s.labels), 0.0)
        for segment in labels.segments:
            for word in segment.labels:
                seconds[word] += (segment.end_ordinal - segment.start_ordinal) / rate
        return seconds

    a, b = lasting_s(first, 5.0), lasting_s(second, rate)
    assert a.keys() == b.keys()
    assert all(a[w] == pytest.approx(b[w], abs=0.46) for w in a)


@given(st.integers(0, 40), st.floats(0.02, 3.0), st.tuples(*[st.floats(-1, 1)] * 3), st.tuples(*[st.floats(-9, 9)] * 3))
@settings(max_examples=40, deadline=None)
def test_the_world_frame_and_the_signs_of_quaternions_do_not_matter(seed, speed, turn, shift):
    times_s = np.arange(30) / 5
    poses = wander(30, seed, speed).astype(np.float64)
    poses[:, 3:] /= np.linalg.norm(poses[:, 3:], axis=1, keepdims=True)
    turn = np.add(turn, (0, 0, 1.5))
    moved = move_world(poses, quaternion(turn, np.linalg.norm(turn)), np.asarray(shift))
    moved[seed % 30 :: 3, 3:] *= -1
    assert label((times_s, moved)) == label((times_s, poses))


@given(st.integers(0, 40), st.floats(0.05, 3.0))
@settings(max_examples=40, deadline=None)
def test_the_clip_played_backwards_has_the_opposite_words(seed, speed):
    times_s = np.arange(30) / 5
    poses = wander(30, seed, speed)
    forwards, backwards = label((times_s, poses)), label((times_s, poses[::-1]))
    mirrored = [
        (29 - s.end_ordinal, 29 - s.start_ordinal, {OPPOSITES.get(w, w) for w in s.labels})
        for s in reversed(backwards.segments)
    ]
    assert mirrored == [(s.start_ordinal, s.end_ordinal, set(s.labels)) for s in forwards.segments]


@given(st.integers(0, 60), st.floats(0.02, 3.0), st.integers(2, 60))
@settings(max_examples=40, deadline=None)
def test_segments_span_the_clip_and_contradict_nowhere(seed, speed, count):
    labels = label((np.arange(count) / 5, wander(count, seed, speed)))
    ends = [s.end_ordinal for s in labels.segments]
    assert [s.start_ordinal for s in labels.segments] == [0, *ends[:-1]] and ends[-1] == count - 1
    for segment in labels.segments:
        assert set(segment.labels) <= set(LABELS) and 1 <= len(segment.labels) <= 4
        assert not any(OPPOSITES.get(w) in segment.labels for w in segment.labels)
        assert STAY not in segment.labels or segment.labels == (STAY,)
    assert all(a.labels != b.labels for a, b in zip(labels.segments, labels.segments[1:], strict=False))


@given(st.floats(0.01, 100))
@settings(max_examples=15, deadline=None)
def test_only_translation_relative_to_the_depth_of_the_scene_counts(scale):
    times_s, poses = perform((2, "Dolly In"), (2, "Truck Right", "Pan Left"))
    scaled = poses.copy()
    scaled[:, :3] *= scale
    assert label((times_s, scaled), scene_depth=scale) == label((times_s, poses))


def test_a_far_scene_makes_slow_travel_no_motion():
    performance = steady(velocity=(0, 0, 0.3))
    assert words_of(label(performance, scene_depth=1.0)) == [{"Dolly In"}]
    assert words_of(label(performance, scene_depth=100.0)) == [{STAY}]


def test_the_thresholds_are_speeds():
    for rate in (5.0, 30.0):
        for factor, word in ((0.9, STAY), (1.1, "Truck Left")):
            assert words_of(label(steady(velocity=(-0.03 * factor, 0, 0), rate=rate))) == [{word}]
        for factor, word in ((0.9, STAY), (1.1, "Tilt Down")):
            assert words_of(label(steady(turn_deg_s=(-2.5 * factor, 0, 0), rate=rate))) == [{word}]
    slow = MotionLabelSettings(rotation_threshold=1.0)
    assert words_of(label(steady(turn_deg_s=(0, 1.1, 0)), settings=slow)) == [{"Pan Right"}]


def test_a_dolly_a_little_off_the_axis_is_a_dolly():
    assert words_of(label(steady(velocity=(0.2, 0.1, 1.0)))) == [{"Dolly In"}]
    assert words_of(label(steady(velocity=(0.5, 0.1, 1.0)))) == [{"Dolly In", "Truck Right"}]


def test_at_most_four_words_and_those_the_strongest():
    performance = steady(velocity=(0.35, 0.3, 0.4), turn_deg_s=(7, 15, 30))
    assert words_of(label(performance)) == [{"Dolly In", "Truck Right", "Pedestal Down", "Roll CW"}]
    one = MotionLabelSettings(max_words=1)
    assert words_of(label(performance, settings=one)) == [{"Dolly In"}]


def test_short_words_are_dropped_and_short_gaps_closed():
    jolt = perform((2, STAY), (0.3, "Pan Left"), (2, STAY), rate=30)
    pause = perform((2, "Pan Left"), (1.0, STAY), (2, "Pan Left"), rate=30)
    short, long = MotionLabelSettings(min_word_s=0.05), MotionLabelSettings(min_word_s=1.2)
    assert words_of(label(jolt, settings=short)) == [{STAY}, {"Pan Left"}, {STAY}]
    assert words_of(label(jolt, settings=long)) == [{STAY}]
    assert words_of(label(pause, settings=short)) == [{"Pan Left"}, {STAY}, {"Pan Left"}]
    assert words_of(label(pause, settings=long)) == [{"Pan Left"}]


def test_a_gap_in_which_the_motion_reverses_stays():
    turned = perform((2, "Pan Left"), (0.8, "Pan Right"), (2, "Pan Left"), rate=30)
    labels = label(turned, settings=MotionLabelSettings(min_word_s=1.2))
    assert words_of(labels) == [{"Pan Left"}, {STAY}, {"Pan Left"}]


@pytest.mark.parametrize("rate", [5.0, 30.0])
def test_shake_is_no_motion(rate):
    times_s, poses = steady(seconds=6, rate=rate)
    noise = np.random.default_rng(3)
    poses[:, :3] += noise.normal(0, 0.002, (len(poses), 3))
    poses[:, 3:] += noise.normal(0, 0.0005, (len(poses), 4))
    poses[:, 3:] /= np.linalg.norm(poses[:, 3:], axis=1, keepdims=True)
    assert words_of(label((times_s, poses))) == [{STAY}]


def test_a_fast_turn_past_half_a_circle_keeps_its_direction():
    assert words_of(label(steady(turn_deg_s=(0, 170, 0), seconds=10))) == [{"Pan Right"}]
    assert words_of(label(steady(turn_deg_s=(0, -170, 0), seconds=10, **ELSEWHERE))) == [{"Pan Left"}]


def test_told_that_there_is_no_translation_it_tells_of_none():
    times_s, poses = perform((3, "Dolly In"), (3, "Truck Left", "Pan Left"), **ELSEWHERE)
    labels = label((times_s, poses), scene_depth=None, has_translation=False)
    assert {w for s in labels.segments for w in s.labels} == {STAY, "Pan Left"}
    assert labels.sentence == "The camera stays still, then pans left."


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_poses(count):
    times_s, poses = steady(velocity=(0, 0, 1), seconds=(count - 1) / 5)
    labels = label((times_s, poses))
    if count == 1:
        assert labels.segments == () and labels.instructions == {} and labels.sentence is None and labels.reason
    else:
        assert labels.instructions == {f"0->{count - 1}": ["Dolly In"]} and labels.reason is None
    assert to_instructions(label_voted(poses)) == ({} if count == 1 else {"0->1": ["Stay"]})
    assert to_instructions(label_plain(poses)) == ({"0->1": ["Dolly In"]} if count == 3 else {})


@pytest.mark.parametrize("labeler", [label_voted, label_plain, lambda p: label((np.arange(len(p)), p)).segments])
def test_equal_poses_stay(labeler):
    assert {s.labels for s in labeler(np.repeat(wander(1, 4), 12, axis=0))} == {(STAY,)}


@pytest.mark.parametrize("labeler", [label_voted, label_plain, lambda p: label((np.arange(len(p)), p))])
def test_broken_poses_are_refused(labeler):
    for column, value in ((1, np.nan), (5, np.inf), (6, -4.0)):
        poses = wander(6, 1)
        poses[3, column] = value
        with pytest.raises(ItemError) as caught:
            labeler(poses)
        assert caught.value.error_class == "BadPoses"


@pytest.mark.parametrize("depth", [None, 0.0, -1.0, float("nan"), float("inf")])
def test_translation_needs_the_depth_of_the_scene(depth):
    with pytest.raises(ValueError, match="scene_depth"):
        label(steady(velocity=(0, 0, 1)), scene_depth=depth)


@pytest.mark.parametrize(
    "acts, sentence",
    [
        (((4, STAY),), "The camera stays still."),
        (((4, "Dolly In"),), "The camera dollies in."),
        (((0.8, "Truck Left"),), "The camera trucks left."),
        (((0.6, "Roll CCW"),), "The camera rolls slightly counter-clockwise."),
        (((4, "Dolly In", "Pan Left"), (3, STAY)), "The camera dollies in and pans left, then stays still."),
        (((3, "Dolly In"), (3, "Dolly In", "Tilt Up")), "The camera dollies in, then also tilts up."),
        (((3, "Dolly In", "Tilt Up"), (3, "Dolly In")), "The camera dollies in and tilts up, then only dollies in."),
        (
            ((3, "Pan Left"), (3, "Pan Right"), (3, "Pan Left"), (3, "Pan Right"), (9, "Tilt Up")),
            "The camera pans left, then pans right, then pans left, then tilts up.",
        ),
    ],
)
def test_sentences(acts, sentence):
    assert label(perform(*acts)).sentence == sentence


@pytest.mark.parametrize(
    "velocity, turn, sentence",
    [
        ((0, 0, 0.05), (0, 0, 0), "The camera dollies slowly in."),
        ((0, 0, 0.8), (0, 0, 0), "The camera dollies quickly in."),
        ((0, 0, 0), (0, 3, 0), "The camera pans slowly right."),
        ((0, 0, 0), (0, 60, 0), "The camera pans quickly right."),
        ((0.3, 0, 0), (0, -2.9, 0), "The camera trucks right and pans slightly left."),
    ],
)
def test_sentences_tell_how_fast(velocity, turn, sentence):
    seconds = 4.0 if "slightly" in sentence else 6.0
    assert label(steady(velocity, turn, seconds)).sentence == sentence


def test_a_sentence_leaves_out_what_matters_least():
    labels = label(steady((0.59, 0, 0), (0, 2.6, 0), seconds=10))
    assert words_of(labels) == [{"Truck Right", "Pan Right"}] and labels.sentence == "The camera trucks right."
    labels = label(steady((0.3, 0, 0.4), (0, 10, 25), seconds=4))
    assert words_of(labels) == [{"Dolly In", "Truck Right", "Pan Right", "Roll CW"}]
    assert labels.sentence == "The camera dollies in, trucks right and rolls clockwise."


def test_one_sentence_tells_the_main_of_much():
    performance = perform(*[(1.5, word) for word in LABELS], rate=10)
    sentence = label(performance).sentence
    assert sentence.count(", then ") == 3 and sentence.endswith(".")


def test_a_drive_from_true_poses():
    path = SEQUENCES / "kitti_1" / "poses.tum"
    if not path.exists():
        pytest.skip(NO_DATA)
    rows = np.loadtxt(path)[::2]
    labels = label((rows[:, 0], poses_from(rows[:, 1:4], rows[:, 4:])), scene_depth=15.0)
    assert labels.instructions == {f"0->{len(rows) - 1}": ["Dolly In"]}
    assert labels.sentence == "The camera dollies quickly in."


# (poses, seed, speed of the path): what utils/get_instructions_enhanced.py and utils/get_instructions.py of SpatialVID
# (revision 5228326b; scipy 1.15.2) write for the float32 poses and the path length of utils/evaluation.py.
REFERENCE = {
    (24, 16, 0.2): (
        """{"0->5": ["Pan Left", "Roll CCW"], "5->9": ["Pan Left", "Roll CCW", "Dolly In", "Pedestal Down"],
        "9->11": ["Dolly In", "Pedestal Down", "Pan Left", "Roll CCW"], "11->12": ["Stay"], "12->17": ["Truck Left"],
        "17->18": ["Truck Left", "Tilt Up"], "18->19": ["Truck Left"], "19->20": ["Truck Left", "Tilt Up"],
        "20->23": ["Truck Left"]}""",
        """{"0->1": ["Stay"], "1->5": ["Pan Left", "Roll CCW"], "5->6": ["Roll CCW"], "6->11": ["Stay"]}""",
    ),
    (24, 26, 1.0): (
        """{"0->3": ["Stay"], "3->6": ["Truck Right", "Pedestal Down"], "6->8": ["Pedestal Down", "Tilt Down"],
        "8->9": ["Tilt Down", "Pedestal Down"], "9->15": ["Tilt Down"], "15->20": ["Tilt Down", "Roll CCW"],
        "20->23": ["Roll CCW", "Tilt Down"]}""",
        """{"0->1": ["Truck Right", "Pedestal Down"], "1->3": ["Dolly In", "Truck Right", "Pedestal Down"],
        "3->6": ["Dolly In", "Truck Right", "Pedestal Down", "Tilt Down"],
        "6->9": ["Dolly In", "Pedestal Down", "Pan Left", "Tilt Down", "Roll CCW"],
        "9->11": ["Dolly In", "Truck Left", "Pedestal Down", "Pan Left", "Tilt Down", "Roll CCW"]}""",
    ),
    (75, 18, 0.2): (
        """{"0->3": ["Pan Left", "Tilt Down", "Roll CCW"], "3->6": ["Pan Left", "Roll CCW", "Tilt Down"],
        "6->7": ["Roll CCW", "Pan Left", "Tilt Down"], "7->8": ["Pan Left", "Roll CCW", "Truck Right", "Tilt Down"],
        "8->9": ["Roll CCW", "Pan Left"], "9->13": ["Roll CCW", "Pan Left", "Pedestal Down"],
        "13->15": ["Roll CCW", "Pedestal Down", "Pan Left"], "15->17": ["Pedestal Down", "Roll CCW"],
        "17->23": ["Pedestal Down"], "23->24": ["Stay"], "24->31": ["Roll CW"], "31->40": ["Roll CW", "Pan Right"],
        "40->41": ["Roll CW", "Pan Right", "Tilt Up"], "41->44": ["Pan Right", "Roll CW", "Tilt Up"],
        "44->48": ["Pan Right", "Tilt Up", "Roll CW"], "48->49": ["Tilt Up", "Pan Right"],
        "49->50": ["Pan Right", "Tilt Up"], "50->54": ["Tilt Up", "Pan Right"], "54->56": ["Tilt Up"],
        "56->59": ["Tilt Up", "Pedestal Up"], "59->60": ["Pedestal Up", "Tilt Up"], "60->68": ["Pedestal Up"],
        "68->69": ["Pedestal Up", "Dolly Out"], "69->74": ["Dolly Out", "Pedestal Up"]}""",
        """{"0->1": ["Stay"], "1->5": ["Pan Left", "Tilt Down", "Roll CCW"],
        "5->6": ["Pedestal Down", "Pan Left", "Tilt Down", "Roll CCW"],
        "6->10": ["Pedestal Down", "Pan Left", "Roll CCW"], "10->13": ["Stay"], "13->15": ["Roll CW"],
        "15->18": ["Pan Right", "Roll CW"], "18->26": ["Pan Right", "Tilt Up", "Roll CW"],
        "26->29": ["Pan Right", "Tilt Up"], "29->32": ["Tilt Up"], "32->33": ["Stay"], "33->37": ["Tilt Up"]}""",
    ),
}


@pytest.mark.parametrize("path", REFERENCE)
def test_parity_gives_the_reference_words_in_its_order(path):
    poses = wander(*path)
    voted, plain = (json.loads(text) for text in REFERENCE[path])
    assert list(to_instructions(label_voted(poses)).items()) == list(voted.items())
    assert list(to_instructions(label_plain(poses)).items()) == list(plain.items())


def vote_plainly(poses, move_dist):
    """The rules of SpatialVID's enhanced instructions once more, with matrices and loops."""
    votes = {}
    for interval in (1, 3, 5):
        for alpha in (0.03, 0.05, 0.1):
            position, attitude = [poses[0, :3]], [poses[0, 3:]]
            for row in poses[1:]:
                nearer = row[3:] if attitude[-1] @ row[3:] >= 0 else -row[3:]
                mixed = alpha * nearer + (1 - alpha) * attitude[-1]
                position.append(alpha * row[:3] + (1 - alpha) * position[-1])
                attitude.append(mixed / np.linalg.norm(mixed))
            stride = int(interval**0.5 + 1)
            for i in range(0, len(poses) - interval, stride):
                a, b = matrix(attitude[i]), matrix(attitude[i + interval])
                move, turn = a.T @ (position[i] - position[i + interval]), b @ a.T
                yaw, pitch = np.arctan2(-turn[2, 0], turn[2, 2]), np.arcsin(turn[2, 1])
                roll = np.arctan2(-turn[0, 1], turn[1, 1])
                limit = interval**0.5 * max(move_dist / len(poses) / 1.1, 0.01)
                limit_rad = np.radians(1.5 * interval**0.5 / 1.8)
                found = []
                for value, least, more, less in (
                    (move[2], limit, "Dolly In", "Dolly Out"),
                    (move[0], limit, "Truck Right", "Truck Left"),
                    (move[1], limit, "Pedestal Down", "Pedestal Up"),
                    (yaw, limit_rad, "Pan Left", "Pan Right"),
                    (pitch, limit_rad, "Tilt Down", "Tilt Up"),
                    (roll, limit_rad, "Roll CCW", "Roll CW"),
                ):
                    found += [more] if value > least else [less] if value < -least else []
                for step in range(i, i + interval):
                    for word in found or ["Stay"]:
                        votes.setdefault(step, []).append(word)
    return [elect(votes[step]) for step in sorted(votes)]


def elect(ballots):
    ranked = []
    for word in sorted(dict.fromkeys(ballots), key=lambda w: -ballots.count(w)):
        if not any({word, other} in ({a.positive, a.negative} for a in AXES) for other in ranked):
            ranked.append(word)
    ranked = [word for word in ranked if word != "Stay"]
    counts = [ballots.count(word) for word in ranked]
    if len(ranked) < 2:
        return ranked or ["Stay"]
    if counts[0] >= 3 * counts[1]:
        return ranked[:1]
    return ranked[: min(4, max(2, sum(2 * count >= counts[0] for count in counts)))]


@given(st.integers(0, 400), st.floats(0.01, 3.0), st.integers(2, 50))
@settings(max_examples=40, deadline=None)
def test_parity_agrees_with_the_rules_written_plainly(seed, speed, count):
    poses = wander(count, seed, speed).astype(np.float64)
    move_dist = float(np.linalg.norm(np.diff(poses[:, :3], axis=0), axis=1).sum())
    expected = vote_plainly(poses, move_dist)
    found = [list(s.labels) for s in label_voted(poses, move_dist) for _ in range(s.start_ordinal, s.end_ordinal)]
    assert found == expected


def test_the_sign_of_a_quaternion_does_not_matter_to_the_reference_words():
    poses = wander(40, 7)
    flipped = poses.copy()
    flipped[20:, 3:] *= -1
    assert label_voted(flipped) == label_voted(poses)
    assert label_plain(flipped) == label_plain(poses)
