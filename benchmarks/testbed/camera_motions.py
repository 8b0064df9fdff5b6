"""Random camera motions of rendered clips, sampled densely: positions, angles, zoom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.arrays import Float64Array

SAMPLES_HZ = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraMotion:
    """A sampled motion. The world is in meters: x right, y down, z forward.

    Attributes:
      times_s: (m,), from before the first frame to behind the last one.
      centers: (m, 3) camera centers in the world.
      angles: (m, 3) pitch, yaw and roll in radians: the rotation is Ry(yaw) Rx(pitch) Rz(roll), world from camera.
      zoom: (m,) factor of the focal length.
    """

    times_s: Float64Array
    centers: Float64Array
    angles: Float64Array
    zoom: Float64Array

    def poses(self, times_s: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Returns centers (n, 3) and rotations world from camera (n, 3, 3)."""
        centers, angles = self._at(self.centers, times_s), self._at(self.angles, times_s)
        (cx, cy, cz), (sx, sy, sz) = np.cos(angles).T, np.sin(angles).T
        rows = [
            [cy * cz + sy * sx * sz, -cy * sz + sy * sx * cz, sy * cx],
            [cx * sz, cx * cz, -sx],
            [-sy * cz + cy * sx * sz, sy * sz + cy * sx * cz, cy * cx],
        ]
        return centers, np.moveaxis(np.array(rows), -1, 0)

    def zoom_at(self, time_s: float) -> float:
        return float(np.interp(time_s, self.times_s, self.zoom))

    def _at(self, values: Float64Array, times_s: Float64Array) -> Float64Array:
        return np.stack([np.interp(times_s, self.times_s, column) for column in values.T], -1)


def cam_from_world(centers: Float64Array, world_from_cam: Float64Array) -> Float64Array:
    """Returns poses (n, 7) tx ty tz qx qy qz qw."""
    rotations = np.swapaxes(world_from_cam, 1, 2)
    translations = -np.einsum("nij,nj->ni", rotations, centers)
    return np.concatenate([translations, [_quaternion(r) for r in rotations]], axis=1)


def _quaternion(r: Float64Array) -> Float64Array:
    """(4,) x y z w of a rotation, by its largest component (Shepperd 1978)."""
    squares = np.array(
        [
            1 + r[0, 0] - r[1, 1] - r[2, 2],
            1 - r[0, 0] + r[1, 1] - r[2, 2],
            1 - r[0, 0] - r[1, 1] + r[2, 2],
            1 + np.trace(r),
        ]
    )
    skew = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    k = int(squares.argmax())
    if k == 3:
        q = np.append(skew, squares[3])
    else:
        q = np.append(r[k] + r[:, k], skew[k])
        q[k] = squares[k]
    return np.asarray(q / np.linalg.norm(q))


def make_motion(kind: str, rng: np.random.Generator, seconds: float, focal_mm: float) -> CameraMotion:
    """Returns a random motion of a kind in `MOTIONS`.

    Long lenses turn less, as people hold them.
    """
    margin_s = 0.2
    times = np.arange(-margin_s, seconds + margin_s, 1 / SAMPLES_HZ)
    calm = min(1.0, (35 / focal_mm) ** 0.8)
    centers, angles, zoom, hand = MOTIONS[kind](rng, times, seconds, calm)
    return CameraMotion(
        times_s=times,
        centers=centers + hand * 0.03 * _sway(rng, times, 0.3, 1.8),
        angles=angles + hand * calm * np.radians(1.3) * _sway(rng, times, 0.3, 2.4),
        zoom=zoom,
    )


Motion = tuple[Float64Array, Float64Array, Float64Array, float]
"""Centers, angles, zoom, and how much the hand shakes."""


def _walk(rng: np.random.Generator, times: Float64Array, seconds: float, calm: float) -> Motion:
    """Hand-held walk in the viewing direction, with one or two fast turns."""
    yaw = np.radians(8) * calm * _sway(rng, times, 0.05, 0.4)[:, 1]
    for _ in range(int(rng.integers(0, 3))):
        turn = np.radians(rng.uniform(45, 110)) * calm * rng.choice([-1, 1])
        yaw = yaw + turn * _step(times, rng.uniform(0.15, 0.7) * seconds, rng.uniform(0.7, 1.5))
    speed = rng.uniform(0.5, 1.4) * np.ones_like(times)
    return _ahead(rng, times, yaw, speed, bob=0.03), _angles(times, yaw, rng.uniform(-0.1, 0.15)), _one(times), 1.0


def _pauses(rng: np.random.Generator, times: Float64Array, seconds: float, calm: float) -> Motion:
    """Hand-held walk that stops for one or two seconds."""
    yaw = np.radians(20) * calm * _sway(rng, times, 0.05, 0.3)[:, 1]
    stop = rng.uniform(0.25, 0.55) * seconds
    going = 1 - _step(times, stop, 0.5) + _step(times, stop + rng.uniform(1, 2), 0.5)
    centers = _ahead(rng, times, yaw, rng.uniform(0.6, 1.3) * going, bob=0.0)
    return centers, _angles(times, yaw, 0.03), _one(times), 0.7


def _orbit(rng: np.random.Generator, times: Float64Array, seconds: float, calm: float) -> Motion:
    """Around a point that stays in the middle."""
    radius = rng.uniform(2.0, 5.0)
    angle = np.radians(rng.uniform(25, 110)) * rng.choice([-1, 1]) * (times / seconds - 0.5)
    rise = rng.uniform(-0.3, 0.3) * times / seconds
    centers = np.stack([-radius * np.sin(angle), rise, -radius * np.cos(angle)], -1)
    return centers, np.stack([-rise / radius, angle, 0 * angle], -1), _one(times), rng.uniform(0, 0.6)


def _drone(rng: np.random.Generator, times: Float64Array, seconds: float, calm: float) -> Motion:
    """High, fast and smooth, looking down."""
    velocity = rng.uniform([-2, -0.8, 0.5], [2, 0.4, 4])
    yaw = np.radians(rng.uniform(-35, 35)) * calm * times / seconds
    centers = times[:, None] * velocity + 0.5 * _sway(rng, times, 0.05, 0.3)
    centers[:, 1] -= rng.uniform(4, 9)
    return centers, _angles(times, yaw, -rng.uniform(0.3, 0.8)), _one(times), 0.2


def _dolly(rng: np.random.Generator, times: Float64Array, seconds: float, calm: float) -> Motion:
    """A straight line in one direction: forward, backward, sideways or up."""
    lines = np.array([[0, 0, 1], [0, 0, -1], [1, 0, 0], [-1, 0, 0], [0, -0.5, 0.3], [0.6, 0, 0.6]])
    velocity = rng.uniform(0.25, 0.9) * lines[rng.integers(len(lines))]
    ease = seconds * _step(times, seconds / 2, seconds * rng.uniform(1.0, 1.6))
    return ease[:, None] * velocity, _angles(times, 0 * times, rng.uniform(-0.08, 0.08)), _one(times), 0.0


def _whip(rng: np.random.Generator, times: Float64Array, seconds: float, calm: float) -> Motion:
    """Slow travel with whip pans of a third of a second."""
    yaw = 0 * times
    for k in range(int(rng.integers(1, 3))):
        turn = np.radians(rng.uniform(30, 80)) * calm * rng.choice([-1, 1])
        yaw = yaw + turn * _step(times, (0.3 + 0.35 * k + rng.uniform(-0.05, 0.05)) * seconds, rng.uniform(0.3, 0.5))
    side = rng.choice([-1, 1]) * rng.uniform(0.2, 0.6)
    centers = np.stack([side * times, 0 * times, rng.uniform(0, 0.5) * times], -1)
    return centers, _angles(times, yaw, 0.0), _one(times), 0.8


def _rotation(rng: np.random.Generator, times: Float64Array, seconds: float, calm: float) -> Motion:
    """Nearly a pure rotation, which slowly translates."""
    yaw = np.radians(rng.uniform(40, 120)) * calm * rng.choice([-1, 1]) * times / seconds
    pitch = np.radians(10) * calm * _sway(rng, times, 0.1, 0.4)[:, 0]
    centers = times[:, None] * rng.normal(0, 0.05, 3) + 0.02 * _sway(rng, times, 0.2, 0.7)
    return centers, np.stack([pitch, yaw, 0 * yaw], -1), _one(times), rng.uniform(0, 0.5)


def _zoom(rng: np.random.Generator, times: Float64Array, seconds: float, calm: float) -> Motion:
    """A zoom while travelling."""
    centers, angles, _, hand = (_dolly if rng.random() < 0.4 else _handheld)(rng, times, seconds, calm)
    share = _step(times, rng.uniform(0.3, 0.7) * seconds, rng.uniform(0.3, 1.0) * seconds)
    return centers, angles, rng.uniform(1.15, 1.9) ** (share * rng.choice([-1, 1])), hand


def _handheld(rng: np.random.Generator, times: Float64Array, seconds: float, calm: float) -> Motion:
    """Wandering about a place, looking around."""
    centers = rng.uniform(0.3, 0.9) * _sway(rng, times, 0.05, 0.35) * [1, 0.3, 1]
    angles = np.radians(rng.uniform(8, 25)) * calm * _sway(rng, times, 0.05, 0.4) * [0.5, 1, 0.25]
    return centers, angles, _one(times), 1.0


def _drive(rng: np.random.Generator, times: Float64Array, seconds: float, calm: float) -> Motion:
    """A car's view ahead or to the side."""
    yaw = np.radians(rng.uniform(-25, 25)) * calm * _step(times, seconds / 2, seconds)
    centers = _ahead(rng, times, yaw, rng.uniform(3, 8) * np.ones_like(times), bob=0.0)
    look = rng.choice([0.0, 0.0, 0.6, -0.6])
    return centers, _angles(times, yaw + look, 0.0), _one(times), 0.15


MOTIONS: dict[str, Callable[[np.random.Generator, Float64Array, float, float], Motion]] = {
    "walk": _walk,
    "pauses": _pauses,
    "orbit": _orbit,
    "drone": _drone,
    "dolly": _dolly,
    "whip pan": _whip,
    "rotation": _rotation,
    "zoom": _zoom,
    "handheld": _handheld,
    "drive": _drive,
}


def _one(times: Float64Array) -> Float64Array:
    return np.ones_like(times)


def _step(times: Float64Array, middle: float, duration: float) -> Float64Array:
    """Smooth step from 0 to 1."""
    share = np.clip((times - middle) / duration + 0.5, 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


def _sway(rng: np.random.Generator, times: Float64Array, low_hz: float, high_hz: float) -> Float64Array:
    """(m, 3) smooth random motion of about unit size."""
    hertz, phase = rng.uniform(low_hz, high_hz, (3, 5)), rng.uniform(0, 2 * np.pi, (3, 5))
    waves = np.sin(2 * np.pi * hertz * times[:, None, None] + phase) * (low_hz / hertz) ** 0.5
    return np.asarray(waves.sum(-1) / 1.6)


def _angles(times: Float64Array, yaw: Float64Array, pitch: float) -> Float64Array:
    return np.stack([pitch + 0 * times, yaw, 0 * times], -1)


def _ahead(
    rng: np.random.Generator, times: Float64Array, yaw: Float64Array, speed: Float64Array, bob: float
) -> Float64Array:
    """Camera centers of a walk in the viewing direction, with the bobbing of steps."""
    step = speed[:, None] * np.stack([np.sin(yaw), 0 * yaw, np.cos(yaw)], -1) / SAMPLES_HZ
    centers = np.cumsum(step, axis=0)
    centers[:, 1] += bob * np.sin(2 * np.pi * rng.uniform(1.6, 2.1) * times)
    return centers
