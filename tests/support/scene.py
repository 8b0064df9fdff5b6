"""Films of a textured room with true poses, depth, moving pixels and flow.

Rays are cast against boxes and balls in plain numpy, so equal arguments give equal bytes. The world is in
meters, x right, y down, z away from where the cameras start; pixel centers lie at integer coordinates.
`tests.support.films` holds the camera motions that can be filmed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Matrix = NDArray[np.float64]
TEXTURE_PX = 2048
TEXELS_PER_M = 200.0
NUM_TEXTURES = 4
NEAR_M = 0.05
# Which two coordinates of a face carry its texture, by the axis of its normal.
FACE_AXES = ((2, 1), (0, 2), (0, 1))
# Pieces of texture that do not show the same twice on the six faces of a room.
ROOM_TEXTURES = (2, 3, 0, 1, 2, 3)
FACE_LIGHT = np.array([[0.82, 0.9], [1.0, 0.78], [0.95, 0.86]], np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A box or ball; seen from inside if it is a room.

    Attributes:
      half_size: of a box in its own axes; three times the radius for a ball.
      center: at time 0.
      velocity: meters per second.
      spin: radians per second about the vertical.
      heading: radians about the vertical at time 0.
      seed: picks the pieces of texture on its faces.
    """

    shape: Literal["room", "box", "ball"] = "box"
    half_size: tuple[float, float, float]
    center: tuple[float, float, float]
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    spin: float = 0.0
    heading: float = 0.0
    color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    seed: int = 0

    @property
    def moves(self) -> bool:
        return any(self.velocity) or self.spin != 0

    def placed(self, time_s: float) -> tuple[Matrix, Floats]:
        """World-from-body rotation (3, 3) and center (3,) at a time."""
        center = np.array(self.center) + time_s * np.array(self.velocity)
        return rotation("y", self.heading + time_s * self.spin), center


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Bodies, the room first, and the relative size of the texture's grain."""

    bodies: tuple[Body, ...]
    grain: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One exposure: a scene at a time, through a camera.

    Attributes:
      cam_from_world: (7,) tx ty tz qx qy qz qw.
      intrinsics_px: (4,) fx fy cx cy.
      size: (width, height) in pixels.
    """

    scene: Scene
    time_s: float
    cam_from_world: Floats
    intrinsics_px: Floats
    size: tuple[int, int]


def rotation(axis: Literal["x", "y", "z"], angle_rad: float) -> Matrix:
    """Right-handed rotation (3, 3) about a coordinate axis."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    k = "xyz".index(axis)
    i, j = (k + 1) % 3, (k + 2) % 3
    matrix = np.eye(3)
    matrix[[i, j], [i, j]], matrix[i, j], matrix[j, i] = c, -s, s
    return matrix


def to_matrix(quaternion: Floats) -> Matrix:
    """(3, 3) of a unit quaternion x y z w."""
    x, y, z, w = quaternion
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + 2 * w * cross + 2 * cross @ cross)


def to_quaternion(matrix: Matrix) -> Floats:
    """Unit quaternion x y z w, w >= 0, of a rotation."""
    k = np.array(
        [
            [matrix[0, 0] - matrix[1, 1] - matrix[2, 2], 0, 0, 0],
            [matrix[1, 0] + matrix[0, 1], matrix[1, 1] - matrix[0, 0] - matrix[2, 2], 0, 0],
            [matrix[2, 0] + matrix[0, 2], matrix[2, 1] + matrix[1, 2], matrix[2, 2] - matrix[0, 0] - matrix[1, 1], 0],
            [matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1], np.trace(matrix)],
        ]
    )
    quaternion = np.linalg.eigh(k / 3)[1][:, -1]  # the eigenvector of the largest eigenvalue (Bar-Itzhack 2000)
    return np.asarray(quaternion if quaternion[3] >= 0 else -quaternion)


def look_from(center: Floats, world_from_cam: Matrix) -> Floats:
    """cam_from_world (7,) of a camera with this center and these axes as columns."""
    cam_from_world = world_from_cam.T
    return np.concatenate([-cam_from_world @ center, to_quaternion(cam_from_world)])


def draw(view: View, samples: int = 2) -> NDArray[np.uint8]:
    """(h, w, 3) RGB, with samples x samples filtered rays a pixel."""
    width, height = view.size
    steps = (np.arange(samples) + 0.5) / samples - 0.5
    u = (np.arange(width)[:, None] + steps).ravel()
    v = (np.arange(height)[:, None] + steps).ravel()
    fine = _shade(view, *_pixel_rays(view, *np.meshgrid(u, v), np.float32), samples)
    parts = fine.reshape(height, samples, width, samples, 3)
    mean = sum(parts[:, i, :, j] for i in range(samples) for j in range(samples)) / np.float32(samples**2)
    return np.rint(np.clip(mean, 0, 255)).astype(np.uint8)


def measure(view: View) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Depth (h, w) float32 in meters and moving pixels (h, w), at pixel centers."""
    hits = _cast(view, *_pixel_rays(view, *_pixel_grid(view), np.float64))
    moves = np.array([body.moves for body in view.scene.bodies])
    return hits.depth.astype(np.float32), moves[hits.body]


def forward_flow(first: View, second: View) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Positions of one view's pixels in another view of the same scene.

    Returns:
      Flow (h, w, 2) in pixels, and visible (h, w): inside the second view and not hidden there.
    """
    origin, rays = _pixel_rays(first, *_pixel_grid(first), np.float64)
    hits = _cast(first, origin, rays)
    points = origin + rays * hits.depth[..., None]
    for k, body in enumerate(first.scene.bodies):
        if body.moves:
            (r0, c0), (r1, c1) = body.placed(first.time_s), body.placed(second.time_s)
            chosen = hits.body == k
            points[chosen] = (points[chosen] - c0) @ r0 @ r1.T + c1
    in_camera = points @ to_matrix(second.cam_from_world[3:]).T + second.cam_from_world[:3]
    fx, fy, cx, cy = second.intrinsics_px
    z = in_camera[..., 2]
    ahead = np.where(z > NEAR_M, z, np.nan)
    u, v = fx * in_camera[..., 0] / ahead + cx, fy * in_camera[..., 1] / ahead + cy
    flow = np.stack([u, v], -1) - np.stack(_pixel_grid(first), -1)
    inside = (u >= 0) & (v >= 0) & (u <= second.size[0] - 1) & (v <= second.size[1] - 1)
    seen = _cast(second, *_pixel_rays(second, np.nan_to_num(u), np.nan_to_num(v), np.float64), on_grid=False)
    visible = inside & (seen.depth > z - 1e-4 * np.abs(z))
    return flow.astype(np.float32), visible


@dataclass(slots=True)
class _Hits:
    depth: NDArray[Any]
    body: NDArray[np.intp]


def _pixel_grid(view: View) -> tuple[Floats, Floats]:
    u, v = np.meshgrid(np.arange(view.size[0], dtype=np.float64), np.arange(view.size[1], dtype=np.float64))
    return u, v


def _pixel_rays(view: View, u: Floats, v: Floats, dtype: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Camera center (3,) and rays (..., 3) in the world, with z = 1."""
    fx, fy, cx, cy = view.intrinsics_px
    cam_from_world = to_matrix(view.cam_from_world[3:])
    x, y = ((u - cx) / fx)[..., None], ((v - cy) / fy)[..., None]
    rays = x * cam_from_world[0] + y * cam_from_world[1] + cam_from_world[2]
    return (-view.cam_from_world[:3] @ cam_from_world).astype(dtype), rays.astype(dtype)


def _cast(view: View, origin: NDArray[Any], rays: NDArray[Any], on_grid: bool = True) -> _Hits:
    depth = np.full(rays.shape[:2], np.inf, rays.dtype)
    nearest = np.zeros(rays.shape[:2], np.intp)
    for k, body in enumerate(view.scene.bodies):
        turn, center = body.placed(view.time_s)
        window = _window(view, body, depth.shape) if on_grid and body.shape != "room" else (slice(None), slice(None))
        part = rays[window]
        if not part.size:
            continue
        local = part if body.shape == "room" else part @ turn.astype(rays.dtype)
        start = ((origin - center) @ turn).astype(rays.dtype)
        reach = _reach_ball(body, start, local) if body.shape == "ball" else _reach_box(body, start, local)
        closer = (reach > NEAR_M) & (reach < depth[window])
        depth[window][closer] = reach[closer]
        nearest[window][closer] = k
    return _Hits(depth, nearest)


def _reach_box(body: Body, start: NDArray[Any], rays: NDArray[Any]) -> NDArray[Any]:
    """Ray parameter at a box's first face, or a room's last; inf if missed."""
    enter, leave = None, None
    for axis in range(3):
        direction = rays[..., axis]
        direction = np.where(np.abs(direction) < 1e-9, np.asarray(1e-9, rays.dtype), direction)
        center, reach = -start[axis] / direction, body.half_size[axis] / np.abs(direction)
        low, high = center - reach, center + reach
        enter = low if enter is None else np.maximum(enter, low)
        leave = high if leave is None else np.minimum(leave, high)
    assert enter is not None and leave is not None
    if body.shape == "room":
        return np.asarray(leave)
    return np.where(enter < leave, enter, np.asarray(np.inf, rays.dtype))


def _reach_ball(body: Body, start: NDArray[Any], rays: NDArray[Any]) -> NDArray[Any]:
    radius = body.half_size[0]
    length2 = np.einsum("...i,...i->...", rays, rays)
    middle = -(rays @ start) / length2
    nearest = start + middle[..., None] * rays
    inner = radius**2 - np.einsum("...i,...i->...", nearest, nearest)
    half = np.sqrt(np.maximum(inner, 0) / length2)
    return np.where(inner > 0, middle - half, np.asarray(np.inf, rays.dtype))


def _window(view: View, body: Body, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The part of the ray grid that a body can be in."""
    turn, center = body.placed(view.time_s)
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T
    corners = (signs * body.half_size) @ turn.T + center
    corners = corners @ to_matrix(view.cam_from_world[3:]).T + view.cam_from_world[:3]
    if corners[:, 2].max() <= NEAR_M:
        return slice(0, 0), slice(0, 0)
    if corners[:, 2].min() <= NEAR_M:
        return slice(None), slice(None)
    fx, fy, cx, cy = view.intrinsics_px
    found = []
    for axis, (focal, middle) in enumerate(((fx, cx), (fy, cy))):
        at = focal * corners[:, axis] / corners[:, 2] + middle
        scale = shape[1 - axis] // view.size[axis]
        low, high = (int(np.clip(x, -1, view.size[axis])) for x in (np.floor(at.min()), np.ceil(at.max())))
        found.append(slice(max(low, 0) * scale, (high + 1) * scale))
    return found[1], found[0]


def _shade(view: View, origin: NDArray[Any], rays: NDArray[Any], samples: int) -> NDArray[np.float32]:
    hits = _cast(view, origin, rays)
    flat_rays, flat_depth, flat_body = rays.reshape(-1, 3), hits.depth.ravel(), hits.body.ravel()
    color = np.empty(flat_rays.shape, np.float32)
    pixel_m = np.float32(1 / (view.intrinsics_px[0] * samples))
    for k, body in enumerate(view.scene.bodies):
        chosen = np.flatnonzero(flat_body == k)
        if len(chosen):
            turn, center = body.placed(view.time_s)
            ray, depth = flat_rays.take(chosen, 0) @ turn.astype(np.float32), flat_depth.take(chosen)
            local = ((origin - center) @ turn).astype(np.float32) + ray * depth[:, None]
            length = np.sqrt(np.einsum("ij,ij->i", ray, ray))
            color[chosen] = _paint(body, local, ray, length, length * depth * pixel_m, view.scene.grain)
    return color.reshape(rays.shape)


def _paint(
    body: Body,
    local: NDArray[Any],
    ray: NDArray[Any],
    length: NDArray[Any],
    footprint_m: NDArray[Any],
    grain: float,
) -> NDArray[np.float32]:
    """Colors (m, 3) of surface points (m, 3) in a body's axes."""
    scaled = local / np.array(body.half_size, np.float32)
    axis = np.abs(scaled).argmax(1)
    across = np.arange(len(axis)) * 3 + axis
    positive = scaled.ravel().take(across) > 0
    if body.shape == "ball":
        slant = np.abs(np.einsum("ij,ij->i", scaled, ray)) / length
    else:
        slant = np.abs(ray.ravel().take(across)) / length
    # An ellipse's area decides: blurring for its longer axis would wash out slanted walls.
    level = np.log2(footprint_m * np.float32(TEXELS_PER_M / grain)) - np.log2(np.maximum(slant, 0.05)) / 2
    color = np.empty((len(local), 3), np.float32)
    rng = np.random.default_rng([body.seed, 7])
    for face in range(6):
        layer, shift = int(rng.integers(NUM_TEXTURES)), rng.uniform(0, TEXTURE_PX, 2).astype(np.float32)
        if body.shape == "room":
            layer, shift = ROOM_TEXTURES[face], np.array([0, 700 * (face > 3)], np.float32)
        chosen = np.flatnonzero((axis == face // 2) & (positive == bool(face % 2)))
        if len(chosen):
            u, v = FACE_AXES[face // 2]
            texel = np.stack([local[:, u].take(chosen), local[:, v].take(chosen)], 1)
            texel = texel * np.float32(TEXELS_PER_M / grain) + shift
            light = FACE_LIGHT[face // 2, face % 2] * np.array(body.color, np.float32)
            color[chosen] = _sample(layer, texel, level.take(chosen)) * light
    return color


def _sample(layer: int, texel: NDArray[np.float32], level: NDArray[np.float32]) -> NDArray[np.float32]:
    """Trilinear look-up (m, 3) in a pyramid that repeats itself in all directions."""
    pyramid = _texture(layer)
    level = np.clip(level, 0, len(pyramid) - 1)
    color = np.zeros((len(texel), 3), np.float32)
    for k in range(int(level.min()), int(np.ceil(level.max())) + 1):
        weight = 1 - np.abs(level - k)
        chosen = np.flatnonzero(weight > 0)
        if not len(chosen):
            continue
        rows = -(-len(chosen) // 1024)
        grid = np.zeros((rows * 1024, 2), np.float32)
        grid[: len(chosen)] = (texel.take(chosen, 0) + 0.5) / 2**k - 0.5
        x, y = np.moveaxis(grid.reshape(rows, 1024, 2), -1, 0)
        picked = np.asarray(cv2.remap(pyramid[k], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP))
        part = picked.reshape(-1, 3)[: len(chosen)] * weight.take(chosen)[:, None]
        color[chosen] = color.take(chosen, 0) + part
    return color


@lru_cache(maxsize=NUM_TEXTURES)
def _texture(layer: int) -> tuple[NDArray[np.uint8], ...]:
    """Periodic noise of all scales, (size, size, 3), then halves down to 8 pixels."""
    rng = np.random.default_rng([layer, 11])
    image = rng.normal(0, 20, (4, 4, 3)).astype(np.float32)
    while len(image) < TEXTURE_PX:
        # Color in what is large, as in the world; the rest is gray.
        channels = 3 if len(image) <= 64 else 1
        image = _doubled(image + rng.normal(0, 12, (*image.shape[:2], channels)).astype(np.float32))
    margin = 260
    canvas = np.zeros((TEXTURE_PX + margin, TEXTURE_PX + margin, 3), np.float32)
    for _ in range(900):
        x, y = rng.integers(0, TEXTURE_PX, 2)
        w, h = np.exp(rng.uniform(np.log(8), np.log(margin), 2)).astype(int)
        canvas[y : y + h, x : x + w] += rng.uniform(-20, 20, 3) + rng.uniform(-55, 55)
    canvas[:margin] += canvas[TEXTURE_PX:]
    canvas[:, :margin] += canvas[:, TEXTURE_PX:]
    image += canvas[:TEXTURE_PX, :TEXTURE_PX]
    # A soft limit: many patches may lie on each other, and a hard one would leave flat areas.
    pyramid = [128 + 110 * image / np.sqrt(110**2 + image**2)]
    while len(pyramid[-1]) > 8:
        last = pyramid[-1]
        pyramid.append((last[::2, ::2] + last[1::2, ::2] + last[::2, 1::2] + last[1::2, 1::2]) / 4)
    return tuple(np.rint(step).astype(np.uint8) for step in pyramid)


def _doubled(image: NDArray[np.float32]) -> NDArray[np.float32]:
    wrapped = np.pad(image, ((2, 2), (2, 2), (0, 0)), "wrap")
    return np.asarray(cv2.resize(wrapped, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)[4:-4, 4:-4], np.float32)
