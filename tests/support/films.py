"""Rendered films with known camera motion: one per motion word, and hard ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.rendering import write_video
from tests.support.scene import Body, Floats, Matrix, Scene, View, draw, look_from, measure, rotation

# Where a camera is and how it is turned: center (3,) and axes as columns (3, 3), in the world.
Pose = tuple[Floats, Matrix]
Path6 = Callable[[float], Pose]

START = np.array([0.3, -0.1, -3.4])
SPEED_M_S = 0.5
TURN_RAD_S = np.deg2rad(12.0)
EXPOSURES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """What to film, and how.

    Attributes:
      path: pose of the camera at a time.
      focal: focal length in image widths at a time.
      exposure_s: how long a frame is exposed; motion blurs it.
      clock: the time that is shown at a time; a constant one freezes the image.
      light: brightness at a time, 0 for black.
    """

    scene: Scene
    path: Path6
    focal: Callable[[float], float] = lambda t: 0.866
    exposure_s: float = 0.0
    clock: Callable[[float], float] = lambda t: t
    light: Callable[[float], float] = lambda t: 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """A rendered clip with its truth.

    Attributes:
      frames: (h, w, 3) uint8 RGB each.
      times_s: (n,).
      cam_from_world: (n, 7) tx ty tz qx qy qz qw.
      intrinsics_px: (n, 4) fx fy cx cy.
      depth_m: (n, h, w) float32 z-depth.
      moving: (n, h, w) bool, pixels of moving bodies.
      views: what each frame shows.
    """

    frames: list[NDArray[np.uint8]]
    times_s: Floats
    cam_from_world: Floats
    intrinsics_px: Floats
    depth_m: NDArray[np.float32]
    moving: NDArray[np.bool_]
    views: tuple[View, ...]


def furnished_room(moving: int = 0) -> Scene:
    """A room of 8 x 3.2 x 10 meters with furniture and moving objects."""
    bodies = [Body(shape="room", half_size=(4.0, 1.6, 5.0), center=(0.0, 0.0, 0.0))]
    rng = np.random.default_rng(5)
    for seed, (x, z, half) in enumerate(
        (
            (-2.6, 2.2, (0.6, 0.9, 0.5)),
            (2.7, 3.1, (0.8, 1.1, 0.4)),
            (0.4, 3.9, (1.0, 0.5, 0.6)),
            (-1.1, 0.6, (0.5, 0.35, 0.4)),
            (1.6, 0.4, (0.4, 0.45, 0.7)),
            (-3.2, -1.0, (0.4, 1.2, 0.6)),
            (3.3, -1.2, (0.5, 0.7, 0.8)),
            (0.2, -0.6, (0.3, 0.25, 0.3)),
        ),
        start=1,
    ):
        color = tuple(rng.uniform(0.7, 1.15, 3))
        heading = float(rng.uniform(-0.6, 0.6))
        bodies.append(Body(half_size=half, center=(x, 1.6 - half[1], z), heading=heading, color=color, seed=seed))
    movers = (
        Body(shape="ball", half_size=(0.4, 0.4, 0.4), center=(-1.6, 0.2, 0.2), velocity=(0.45, 0.0, 0.1), seed=21),
        Body(half_size=(0.35, 0.5, 0.3), center=(1.5, 0.3, 1.6), velocity=(-0.3, 0.0, -0.25), spin=0.5, seed=22),
        Body(half_size=(0.3, 0.3, 0.3), center=(0.2, -0.5, 1.0), velocity=(0.1, 0.2, 0.3), spin=-0.8, seed=23),
    )
    return Scene(bodies=tuple(bodies) + movers[:moving])


def crowd() -> Scene:
    """A room that is nearly hidden by boxes with independent motions."""
    rng = np.random.default_rng(9)
    bodies = [furnished_room().bodies[0]]
    for seed in range(30, 72):
        column, row = (seed - 30) % 7, (seed - 30) // 7
        center = (-2.1 + 0.7 * column, -1.5 + 0.6 * row, -1.2 + float(rng.uniform(-0.3, 0.3)))
        x, y, z = rng.uniform(-0.12, 0.12, 3)
        half = (0.42, 0.36, 0.2)
        bodies.append(Body(half_size=half, center=center, velocity=(x, y, z), spin=0.1, seed=seed))
    return Scene(bodies=tuple(bodies))


def street() -> Scene:
    """160 meters of street between houses, with one car driving ahead and one coming."""
    rng = np.random.default_rng(13)
    bodies = [Body(shape="room", half_size=(30.0, 12.0, 90.0), center=(0.0, -10.4, 60.0))]
    z = -20.0
    while z < 130:
        for side in (-1, 1):
            half = (2.0, float(rng.uniform(2.5, 5)), float(rng.uniform(3, 5)))
            at = (side * float(rng.uniform(7, 9)), 1.6 - half[1], z + float(rng.uniform(0, 3)))
            color = tuple(rng.uniform(0.6, 1.2, 3))
            bodies.append(Body(half_size=half, center=at, color=color, seed=len(bodies) + 40))
        z += 12
    ahead = Body(half_size=(0.9, 0.7, 2.0), center=(0.3, 0.9, 12.0), velocity=(0.0, 0.0, 9.0), seed=90)
    coming = Body(half_size=(0.9, 0.7, 2.0), center=(-3.2, 0.9, 60.0), velocity=(0.0, 0.0, -8.0), seed=91)
    return Scene(bodies=(*bodies, ahead, coming), grain=4.0)


def moving_path(
    *, along: Sequence[float] = (0, 0, 0), turn: Sequence[float] = (0, 0, 0), start: Floats = START
) -> Path6:
    """Steady velocity (m/s) and angular velocity (rad/s) in the first camera's axes."""
    base = rotation("y", 0.08) @ rotation("x", -0.04)

    def path(t: float) -> Pose:
        turned = rotation("y", turn[1] * t) @ rotation("x", turn[0] * t) @ rotation("z", turn[2] * t)
        return start + base @ (np.array(along, np.float64) * t), base @ turned

    return path


def level_path(speed_m_s: float) -> Path6:
    """Straight along the street at one height, looking slightly sideways and down."""
    axes = rotation("y", 0.08) @ rotation("x", -0.04)
    return lambda t: (np.array([0, 0, speed_m_s * t]), axes)


def shaken(path: Path6, *, meters: float, degrees: float, seed: int = 3) -> Path6:
    """A path with the smooth random shaking of a hand."""
    rng = np.random.default_rng(seed)
    hertz, phase = rng.uniform(0.15, 1.6, (6, 4)), rng.uniform(0, 2 * np.pi, (6, 4))
    gain = np.repeat([meters, np.deg2rad(degrees)], 3) / 2

    def path_of(t: float) -> Pose:
        center, axes = path(t)
        swing = gain * (np.sin(2 * np.pi * hertz * t + phase) / (1 + hertz)).sum(1)
        turned = rotation("y", swing[4]) @ rotation("x", swing[3]) @ rotation("z", swing[5])
        return center + axes @ swing[:3], axes @ turned

    return path_of


def orbit_path(rad_s: float = 0.2, radius_m: float = 3.0) -> Path6:
    """Around a point in the room, which stays in the middle of the image."""
    target = np.array([0.0, 0.2, 0.2])

    def path(t: float) -> Pose:
        axes = rotation("y", -0.5 + rad_s * t) @ rotation("x", -0.1)
        return target - axes @ np.array([0, 0, radius_m]), axes

    return path


_ROOM = furnished_room()
_LINES = {
    "Dolly In": (0, 0, 1),
    "Dolly Out": (0, 0, -1),
    "Truck Right": (1, 0, 0),
    "Truck Left": (-1, 0, 0),
    "Pedestal Down": (0, 1, 0),
    "Pedestal Up": (0, -1, 0),
}
_TURNS = {
    "Pan Right": (0, 1, 0),
    "Pan Left": (0, -1, 0),
    "Tilt Up": (1, 0, 0),
    "Tilt Down": (-1, 0, 0),
    "Roll CW": (0, 0, 1),
    "Roll CCW": (0, 0, -1),
}

# Motion words first: the camera does just that, all the time.
TAKES: dict[str, tuple[Take, ...]] = {
    word: (Take(scene=_ROOM, path=moving_path(along=[SPEED_M_S * x for x in unit])),) for word, unit in _LINES.items()
}
TAKES |= {
    word: (Take(scene=_ROOM, path=moving_path(turn=[TURN_RAD_S * x for x in unit])),) for word, unit in _TURNS.items()
}
MOTION_WORDS = (*TAKES, "Stay")
_HANDHELD = Take(scene=_ROOM, path=shaken(moving_path(along=(0.25, 0.0, 0.2)), meters=0.2, degrees=4))
_PAN = moving_path(turn=(0, TURN_RAD_S, 0))
_STILL = moving_path()
TAKES |= {
    "Stay": (Take(scene=_ROOM, path=_STILL),),
    "handheld": (_HANDHELD,),
    "handheld, moving things": (replace(_HANDHELD, scene=furnished_room(moving=3)),),
    "orbit": (Take(scene=furnished_room(moving=1), path=orbit_path()),),
    "rotation with shake": (Take(scene=_ROOM, path=shaken(_PAN, meters=0.0, degrees=3)),),
    "still, moving things": (Take(scene=furnished_room(moving=3), path=_STILL),),
    "driving": (Take(scene=street(), path=shaken(level_path(9.0), meters=0.02, degrees=0.6)),),
    "zoom": (Take(scene=_ROOM, path=_STILL, focal=lambda t: 0.7 * 1.2**t),),
    "dolly with zoom": (Take(scene=_ROOM, path=moving_path(along=(0, 0, 0.5)), focal=lambda t: 0.7 * 1.15**t),),
    "everything moves": (Take(scene=crowd(), path=shaken(_STILL, meters=0.05, degrees=1)),),
    "cut": (_HANDHELD, Take(scene=street(), path=moving_path(along=(0, 0, 6), start=np.zeros(3)))),
    "frozen": (replace(_HANDHELD, clock=lambda t: t if t < 1 else max(1.0, t - 1)),),
    "black": (replace(_HANDHELD, light=lambda t: 0.0 if 1 <= t < 2 else 1.0),),
    "blurred": (replace(_HANDHELD, path=shaken(_STILL, meters=0.3, degrees=16), exposure_s=0.15),),
}


def film(
    takes: str | Sequence[Take],
    *,
    seconds: float = 4.0,
    fps: float = 5.0,
    size: tuple[int, int] = (320, 180),
    noise: float = 0.0,
) -> Film:
    """Films takes one after another, each for its equal share of the time.

    Args:
      takes: a name in `TAKES`, or takes.
      seconds: length of the film.
      fps: frames per second.
      size: (width, height) in pixels.
      noise: standard deviation of the sensor's noise, in gray levels.
    """
    takes = TAKES[takes] if isinstance(takes, str) else takes
    num = round(seconds * fps)
    rng = np.random.default_rng(17)
    frames, views = [], []
    for k in range(num):
        share = k * len(takes) // num
        take, t = takes[share], k / fps - share * seconds / len(takes)
        views.append(view_of(take, t, size))
        image = _expose(take, t, size) * take.light(t)
        frames.append(np.rint(np.clip(image + noise * rng.normal(size=image.shape), 0, 255)).astype(np.uint8))
    depth, moving = zip(*(measure(view) for view in views), strict=True)
    return Film(
        frames=frames,
        times_s=np.arange(num) / fps,
        cam_from_world=np.stack([view.cam_from_world for view in views]),
        intrinsics_px=np.stack([view.intrinsics_px for view in views]),
        depth_m=np.stack(depth),
        moving=np.stack(moving),
        views=tuple(views),
    )


def view_of(take: Take, time_s: float, size: tuple[int, int]) -> View:
    """What a take shows at a time."""
    t = take.clock(time_s)
    focal = take.focal(t) * size[0]
    intrinsics = np.array([focal, focal, (size[0] - 1) / 2, (size[1] - 1) / 2])
    return View(
        scene=take.scene, time_s=t, cam_from_world=look_from(*take.path(t)), intrinsics_px=intrinsics, size=size
    )


def write_film(path: str | Path, takes: str | Sequence[Take], *, seconds: float = 4.0, fps: int = 25) -> Film:
    """Films takes at 320 x 180 and writes them as a video."""
    made = film(takes, seconds=seconds, fps=fps)
    write_video(path, made.frames, fps=Fraction(fps))
    return made


def _expose(take: Take, time_s: float, size: tuple[int, int]) -> NDArray[np.float64]:
    if take.exposure_s == 0:
        return draw(view_of(take, time_s, size)).astype(np.float64)
    offsets = ((np.arange(EXPOSURES) + 0.5) / EXPOSURES - 0.5) * take.exposure_s
    parts = [draw(view_of(take, time_s + float(offset), size), samples=1) for offset in offsets]
    return np.asarray(np.mean(parts, axis=0))
