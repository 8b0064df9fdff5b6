"""Random scenes of rendered clips, with static and moving bodies.

They are built around the camera's motion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from benchmarks.testbed.camera_motions import CameraMotion
from benchmarks.testbed.raster import Quads
from benchmarks.testbed.textures import KINDS, TEXTURE_PX
from core.arrays import Float64Array

CLEARANCE_M = 0.6
Vector = Sequence[float] | Float64Array
Move = Callable[[float], tuple[Float64Array, Float64Array]]
"""Rotation (3, 3) and translation (3,) of a moving part at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Quads, and what moves those with a `mover`."""

    quads: Quads
    moves: tuple[Move, ...]

    def at(self, time_s: float) -> Quads:
        """Returns the quads at a time."""
        quads = self.quads
        arrays = {name: getattr(quads, name).copy() for name in ("center", "u", "v")}
        for k, move in enumerate(self.moves):
            rotation, translation = move(time_s)
            chosen = quads.mover == k
            for name, values in arrays.items():
                values[chosen] = values[chosen] @ rotation.T + (translation if name == "center" else 0)
        return replace(quads, **arrays)


class SceneBuilder:
    """Collects quads around a camera's motion, and leaves the camera room.

    Attributes:
      rng: of the clip.
      motion: of the camera.
      detail: texels per meter of the textures.
      ground: y of the ground.
    """

    def __init__(self, rng: np.random.Generator, motion: CameraMotion, detail: float, ground: float) -> None:
        self.rng, self.motion, self.detail, self.ground = rng, motion, detail, ground
        self.moves: list[Move] = []
        self._rows: list[dict[str, object]] = []

    @property
    def low(self) -> Float64Array:
        """(3,) least coordinates of the camera's trajectory."""
        return np.asarray(self.motion.centers.min(0))

    @property
    def high(self) -> Float64Array:
        return np.asarray(self.motion.centers.max(0))

    def blocks_camera(self, center: Vector, radius: float) -> bool:
        """Whether a body would come too near to the trajectory."""
        return bool(np.linalg.norm(self.motion.centers[::12] - center, axis=1).min() < radius + CLEARANCE_M)

    def quad(
        self,
        center: Vector,
        u: Vector,
        v: Vector,
        texture: str,
        *,
        color: Vector = (1, 1, 1),
        cutout: int = -1,
        closed: bool = False,
        mirror: bool = False,
        mover: int = -1,
        detail: float | None = None,
    ) -> None:
        """Adds a parallelogram; see `Quads`."""
        half = np.array([np.linalg.norm(u), np.linalg.norm(v)]) * (detail or self.detail)
        self._rows.append(
            {
                "center": center,
                "u": u,
                "v": v,
                "texture": KINDS.index(texture),
                "texel": self.rng.uniform(0, TEXTURE_PX, 2),
                "texels": half,
                "color": color,
                "cutout": cutout,
                "closed": closed,
                "mirror": mirror,
                "mover": mover,
            }
        )

    def box(
        self,
        center: Vector,
        half: Vector,
        textures: Sequence[str],
        *,
        heading: float = 0.0,
        mover: int = -1,
        inside: bool = False,
        detail: float | None = None,
    ) -> None:
        """Adds the six faces of a box that is turned about the vertical.

        Faces are visible from outside or from inside.
        """
        color = self.rng.uniform(0.7, 1.15, 3)
        for axis in range(3):
            for sign in (-1, 1):
                across = [(axis + 1) % 3, (axis + 2) % 3]
                if sign * (-1 if inside else 1) < 0:
                    across.reverse()
                # Texture axes lie along the horizontal and the vertical.
                u, v = (turned(heading, np.eye(3)[a] * half[a]) for a in across)
                light = 1.0 - 0.1 * axis + 0.06 * sign
                shift = turned(heading, np.eye(3)[axis] * sign * half[axis])
                texture = textures[int(self.rng.integers(len(textures)))]
                self.quad(
                    np.asarray(center) + shift,
                    u,
                    v,
                    texture,
                    color=color * light,
                    closed=True,
                    mover=mover,
                    detail=detail,
                )

    def build(self) -> Scene:
        columns = {f.name: np.array([row[f.name] for row in self._rows]) for f in fields(Quads)}
        floats = {name: columns[name].astype(np.float64) for name in ("center", "u", "v")}
        narrow = {name: columns[name].astype(np.float32) for name in ("texel", "texels", "color")}
        return Scene(quads=Quads(**{**columns, **floats, **narrow}), moves=tuple(self.moves))


def turned(heading: float, vector: Vector) -> Float64Array:
    """A vector (..., 3) after a rotation about the vertical, which takes z to x."""
    return np.asarray(np.asarray(vector, np.float64) @ rotation_y(heading).T)


def rotation_y(angle: float) -> Float64Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def make_scene(kind: str, rng: np.random.Generator, motion: CameraMotion) -> SceneBuilder:
    """Returns the static part of a random scene of a kind in `SCENES`."""
    detail, eye_m = {"street": (60, 1.6), "garden": (90, 1.5), "lake": (60, 1.7)}.get(kind, (150, 1.4))
    # Orbits and drones have their own heights: the ground is below the lowest point.
    builder = SceneBuilder(rng, motion, detail, float(motion.centers[:, 1].max()) + (eye_m if kind != "table" else 0.5))
    SCENES[kind](builder)
    return builder


def _room(b: SceneBuilder, *, plain: bool = False, glass: int = 0) -> None:
    rng = b.rng
    low, high = b.low - rng.uniform(1.6, 3.5, 3), b.high + rng.uniform(1.6, 3.5, 3)
    low[1], high[1] = b.low[1] - rng.uniform(0.9, 1.6), b.ground
    center, half = (low + high) / 2, (high - low) / 2
    walls = ["plaster"] if plain else [str(rng.choice(["noise", "patches", "bricks", "plaster"]))]
    b.box(center, half, walls, inside=True)
    b.quad([center[0], b.ground - 0.01, center[2]], [half[0], 0, 0], [0, 0, half[2]], str(rng.choice(FLOORS)))
    for _ in range(int(rng.integers(2, 4) if plain else rng.integers(6, 14))):
        _on_wall(b, center, half, str(rng.choice(["letters", "patches", "foliage"])), mirror=False)
    for _ in range(glass):
        _on_wall(b, center, half, "plaster", mirror=True)
    _furnish(b, low, high, int(rng.integers(2, 5) if plain else rng.integers(8, 22)), (0.2, 0.7))


def _on_wall(b: SceneBuilder, center: Float64Array, half: Float64Array, texture: str, *, mirror: bool) -> None:
    rng = b.rng
    axis, sign = int(rng.choice([0, 2])), int(rng.choice([-1, 1]))
    along = 2 - axis
    size = rng.uniform(0.6, 1.4, 2) if mirror else rng.uniform(0.2, 0.6, 2)
    at = center + np.eye(3)[axis] * sign * (half[axis] - rng.uniform(0.02, 0.06))
    at = at + np.eye(3)[along] * rng.uniform(-0.8, 0.8) * half[along]
    at[1] = center[1] + rng.uniform(-0.4, 0.3) * half[1]
    b.quad(at, np.eye(3)[along] * size[0], [0, min(size[1], 0.55 * half[1]), 0], texture, mirror=mirror, detail=220)


def _furnish(b: SceneBuilder, low: Vector, high: Vector, count: int, sizes: tuple[float, float]) -> None:
    """Boxes on the ground, with smaller ones on some of them."""
    rng = b.rng
    for _ in range(count):
        half = rng.uniform(*sizes, 3)
        x, z = rng.uniform(low[0], high[0]), rng.uniform(low[2], high[2])
        center = np.array([x, b.ground - half[1], z])
        if b.blocks_camera(center, float(np.linalg.norm(half))):
            continue
        heading = rng.uniform(0, np.pi)
        b.box(center, half, rng.choice(OBJECTS, 2).tolist(), heading=heading)
        if rng.random() < 0.6:
            small = half * rng.uniform(0.2, 0.5, 3)
            top = center - [0, half[1] + small[1], 0]
            if not b.blocks_camera(top, float(np.linalg.norm(small))):
                b.box(top, small, rng.choice(OBJECTS, 2).tolist(), heading=heading + 0.5)


def _ground(b: SceneBuilder, texture: str, size: float = 120.0, *, mirror: bool = False) -> None:
    middle = (b.low + b.high) / 2
    b.quad([middle[0], b.ground, middle[2]], [size, 0, 0], [0, 0, size], texture, mirror=mirror)


def _street(b: SceneBuilder) -> None:
    rng, (low, high) = b.rng, (b.low, b.high)
    _ground(b, "noise")
    left, right = low[0] - rng.uniform(4, 9), high[0] + rng.uniform(4, 9)
    for side, x in ((-1, left), (1, right)):
        z = low[2] - 15
        while z < high[2] + 45:
            half = np.array([3.0, rng.uniform(2.5, 7), rng.uniform(2.5, 5)])
            center = np.array([x + side * (3 + rng.uniform(0, 1.5)), b.ground - half[1], z + half[2]])
            b.box(center, half, [str(rng.choice(["bricks", "noise", "patches", "tiles"]))])
            face = center[0] - side * 3.03
            for level in np.arange(1.4, 2 * half[1] - 0.8, 2.4):
                for along in np.arange(-half[2] + 1, half[2] - 0.6, 2.0):
                    glass, sign = rng.random() < 0.25, rng.random() < 0.2
                    at = [face, b.ground - level, center[2] + along]
                    texture = "letters" if sign else "plaster"
                    b.quad(at, [0, 0, 0.55], [0, 0.7, 0], texture, color=[0.5] * 3, mirror=glass, detail=120)
            z += 2 * half[2] + rng.uniform(0, 2)
        for z in np.arange(low[2] - 5, high[2] + 30, rng.uniform(5, 9)):
            _plant(b, np.array([x - side * rng.uniform(0.5, 1.5), b.ground, z]), rng.uniform(1.2, 2.2), 1)
    _furnish(b, [left, 0, low[2] - 5], [right, 0, high[2] + 25], 14, (0.3, 0.9))


def _plant(b: SceneBuilder, foot: Float64Array, half_m: float, cutout: int) -> None:
    """Two crossed cutouts of foliage."""
    center = foot - [0, half_m, 0]
    if b.blocks_camera(center, half_m):
        return
    heading = b.rng.uniform(0, np.pi)
    for turn in (0.0, np.pi / 2):
        u = turned(heading + turn, [half_m, 0, 0])
        b.quad(center, u, [0, half_m, 0], "foliage", cutout=cutout, color=b.rng.uniform(0.6, 1.2, 3), detail=180)


def _garden(b: SceneBuilder) -> None:
    rng = b.rng
    _ground(b, "foliage")
    low, high = b.low - 7, b.high + np.array([7, 7, 14])
    for _ in range(int(rng.integers(60, 110))):
        foot = np.array([rng.uniform(low[0], high[0]), b.ground, rng.uniform(low[2], high[2])])
        _plant(b, foot, rng.uniform(0.3, 1.6), int(rng.integers(4)))
    _furnish(b, low, high, 8, (0.2, 0.6))


def _lake(b: SceneBuilder) -> None:
    """Water from a shore on: ripples and reflections without depth."""
    rng = b.rng
    _ground(b, "noise")
    shore = b.low[2] + rng.uniform(1.0, 3.0)
    b.quad([0, b.ground - 0.02, shore + 20], [60, 0, 0], [0, 0, 20], "noise", color=[0.4, 0.55, 0.6], mirror=True)
    for x in np.arange(-40, 40, 2.5):
        _plant(b, np.array([x, b.ground, shore + 40 + rng.uniform(0, 8)]), rng.uniform(2, 5), int(rng.integers(4)))
    _furnish(b, b.low - 6, b.high + np.array([6, 6, 16]), int(rng.integers(12, 26)), (0.15, 0.7))


def _table(b: SceneBuilder) -> None:
    """Clutter: many small objects close by."""
    rng = b.rng
    _room(b)
    for _ in range(int(rng.integers(40, 80))):
        half = rng.uniform(0.03, 0.2, 3)
        x, z = rng.uniform(b.low[0] - 1.5, b.high[0] + 1.5), rng.uniform(b.low[2] - 1, b.high[2] + 2)
        center = np.array([x, b.ground - half[1], z])
        if not b.blocks_camera(center, -0.2):
            b.box(center, half, rng.choice(OBJECTS, 2).tolist(), heading=rng.uniform(0, 3), detail=350)


def _planar(b: SceneBuilder) -> None:
    """One wall, or a wall and a floor only."""
    rng = b.rng
    z = b.high[2] + rng.uniform(1.5, 4)
    tilt = rng.uniform(-0.3, 0.3)
    u, v = turned(tilt, [40, 0, 0]), np.array([0, 40, 0])
    b.quad([0, 0, z], u, v, str(rng.choice(["patches", "letters", "bricks", "noise"])))
    if rng.random() < 0.4:
        _ground(b, str(rng.choice(FLOORS)))


FLOORS = ("wood", "tiles", "noise", "patches")
OBJECTS = ("noise", "patches", "letters", "wood", "bricks", "foliage")
SCENES: dict[str, Callable[[SceneBuilder], None]] = {
    "room": _room,
    "plain room": lambda b: _room(b, plain=True),
    "glass room": lambda b: _room(b, glass=6),
    "street": _street,
    "garden": _garden,
    "lake": _lake,
    "table": _table,
    "planar": _planar,
}
