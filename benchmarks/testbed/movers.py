"""Moving people and vehicles of rendered scenes."""

from __future__ import annotations

import numpy as np

from benchmarks.testbed.scenes import Move, SceneBuilder, rotation_y
from core.arrays import Float64Array

SMOOTHING_S = 0.6
# Half sizes and centers in meters of a person's parts, pivots above them; the limbs swing.
BODY = (((0.22, 0.32, 0.14), (0, -1.1, 0)), ((0.11, 0.14, 0.12), (0, -1.6, 0)))
LIMBS = (
    ((0.08, 0.4, 0.09), (-0.11, -0.8, 0), 1.0),
    ((0.08, 0.4, 0.09), (0.11, -0.8, 0), -1.0),
    ((0.06, 0.3, 0.06), (-0.3, -1.4, 0), -0.8),
    ((0.06, 0.3, 0.06), (0.3, -1.4, 0), 0.8),
)
CLOTHES = ("patches", "letters", "noise", "wood", "plaster")


def add_movers(b: SceneBuilder, share: float, focal: float, aspect: float) -> None:
    """Adds people and cars that cover about a share of the image.

    Args:
      b: the scene's builder.
      share: of the image's area, 0 to 1.
      focal: in image widths.
      aspect: width over height.
    """
    rng = b.rng
    pitch, height_m = np.median(b.motion.angles[:, 0]), b.ground - np.median(b.motion.centers[:, 1])
    # A camera that looks down sees the ground where its optical axis meets it.
    reach_m = height_m / np.tan(-pitch) - 0.8 if pitch < -0.2 else 0.0
    # Bodies hide each other, and are partly out of view.
    wanted, covered, column = -1.6 * np.log(1 - share), 0.0, 0
    while covered < wanted and column < 16:
        ahead_m = reach_m + float(rng.uniform(1.1, 2.8)) * max(1.0, focal)
        distance_m = np.hypot(ahead_m, height_m) if reach_m else ahead_m
        covered += 0.6 * focal / distance_m * min(1.7 * focal * aspect / distance_m, 0.8)
        # Spread evenly over the image by the golden ratio.
        offset_m = ((0.5 + 0.618 * column + rng.uniform(0, 0.1)) % 1 - 0.5) * 0.9 / focal * distance_m
        _person(b, _accompany(b, offset_m, ahead_m))
        column += 1
    for _ in range(int(rng.integers(1, 4)) if share > 0 else 0):
        _vehicle(b)


def _accompany(b: SceneBuilder, offset_m: float, distance_m: float) -> Move:
    """Walks ahead of the camera, where it looks, at about a distance, with some wandering."""
    motion, rng = b.motion, b.rng
    step = max(1, len(motion.times_s) // 60)
    times = motion.times_s[::step]
    width = max(1, int(SMOOTHING_S / (times[1] - times[0])))
    kernel = np.ones(2 * width + 1) / (2 * width + 1)
    smooth = [
        np.convolve(np.pad(x[::step], width, "edge"), kernel, "valid") for x in (*motion.centers.T, motion.angles[:, 1])
    ]
    hertz, phase = rng.uniform(0.1, 0.5, 2), rng.uniform(0, 6.3, 2)
    wander = 0.12 * distance_m * np.sin(2 * np.pi * hertz * times[:, None] + phase)
    yaw = smooth[3]
    x = smooth[0] + np.sin(yaw) * (distance_m + wander[:, 1]) + np.cos(yaw) * (offset_m + wander[:, 0])
    z = smooth[2] + np.cos(yaw) * (distance_m + wander[:, 1]) - np.sin(yaw) * (offset_m + wander[:, 0])
    facing = float(rng.uniform(0, 6.3))

    def move(time_s: float) -> tuple[Float64Array, Float64Array]:
        at = np.array([np.interp(time_s, times, x), b.ground, np.interp(time_s, times, z)])
        return rotation_y(facing + 0.4 * np.sin(time_s)), at

    return move


def _person(b: SceneBuilder, walk: Move) -> None:
    """Adds a person with swinging limbs."""
    rng = b.rng
    clothes = [str(x) for x in rng.choice(CLOTHES, 2)]
    hertz, phase = rng.uniform(0.7, 1.2), rng.uniform(0, 6.3)
    b.moves.append(walk)
    for half, center in BODY:
        b.box(center, half, clothes, mover=len(b.moves) - 1, detail=300)
    for half, pivot, swing in LIMBS:
        b.moves.append(_swinging(walk, np.array(pivot, np.float64), 0.5 * swing, hertz, phase))
        b.box((0, half[1], 0), half, clothes, mover=len(b.moves) - 1, detail=300)


def _swinging(walk: Move, pivot: Float64Array, amplitude: float, hertz: float, phase: float) -> Move:
    def move(time_s: float) -> tuple[Float64Array, Float64Array]:
        rotation, at = walk(time_s)
        angle = amplitude * np.sin(2 * np.pi * hertz * time_s + phase)
        c, s = np.cos(angle), np.sin(angle)
        return rotation @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]), at + rotation @ pivot

    return move


def _vehicle(b: SceneBuilder) -> None:
    """Adds a box on wheels that crosses the scene in a straight line."""
    rng = b.rng
    half = rng.uniform([0.3, 0.3, 0.5], [0.8, 0.7, 1.5])
    direction = rng.uniform(0, 2 * np.pi)
    velocity = rng.uniform(0.3, 2.5) * np.array([np.sin(direction), 0, np.cos(direction)])
    start = (b.low + b.high) / 2 + rng.uniform([-4, 0, 2], [4, 0, 9])
    start[1] = b.ground - half[1] - 0.05
    times = b.motion.times_s[::24]
    positions = start + times[:, None] * velocity
    separation = np.linalg.norm(positions - b.motion.centers[::24], axis=1).min()
    if separation > np.linalg.norm(half) + 0.8:
        b.moves.append(lambda time_s: (rotation_y(direction), start + time_s * velocity))
        b.box((0, 0, 0), half, [str(x) for x in rng.choice(CLOTHES, 2)], mover=len(b.moves) - 1)
