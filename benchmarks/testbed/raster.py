"""Renders textured quadrilaterals with a depth buffer.

Exact for lens distortion and rolling shutter.

A ray (x, y, 1) meets a parallelogram c + s u + t v (in camera axes) at depth z where
(s, t, 1) / z = [u v c]^-1 (x, y, 1): three values that are linear in the ray, so that a quad costs a few array
operations over its bounding box.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from benchmarks.testbed.textures import CUTOUT_PX, look_up
from core.arrays import BoolArray, Float32Array, Float64Array, Int64Array, UInt8Array

FAR_M = 1e5
SUBSAMPLES = np.array([[-0.25, -0.25], [0.25, -0.25], [-0.25, 0.25], [0.25, 0.25]], np.float32)
SKY = -1
ENVIRONMENT_TEXELS_PER_RAD = 260.0
REFLECTED_SHARE = 0.55


@dataclass(frozen=True, slots=True, kw_only=True)
class Quads:
    """Parallelograms, at one time, in meters in the world.

    center + s u + t v with |s|, |t| <= 1.

    All are at one time.

    Attributes:
      center, u, v: (n, 3) float64; u x v points out of closed bodies.
      texture: (n,) index of a texture; (n, 2) `texel` at the center and (n, 2) texels along u and v.
      color: (n, 3) factors.
      cutout: (n,) index of a shape, -1 for full quads.
      closed: (n,) bool, seen only from outside.
      mirror: (n,) bool, water or glass: reflects what is far away.
      mover: (n,) index of what moves it, -1 for static quads.
    """

    center: Float64Array
    u: Float64Array
    v: Float64Array
    texture: Int64Array
    texel: Float32Array
    texels: Float32Array
    color: Float32Array
    cutout: Int64Array
    closed: BoolArray
    mirror: BoolArray
    mover: Int64Array

    def take(self, index: Int64Array) -> Quads:
        """Returns a selection of the quads."""
        return Quads(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Camera:
    """One exposure of a camera, with rolling shutter.

    Attributes:
      size: (width, height) in pixels.
      focal_px: of square pixels, the principal point at the center.
      k1: radial distortion as in OpenCV.
      centers: (r, 3) of the camera in the world by row; r is 1 with a global shutter.
      world_from_cam: (r, 3, 3) rotations likewise.
    """

    size: tuple[int, int]
    focal_px: float
    k1: float
    centers: Float64Array
    world_from_cam: Float64Array

    @property
    def rays(self) -> Float32Array:
        """(h, w, 2) x y of undistorted rays through pixel centers."""
        return _rays(self.size, self.focal_px, self.k1)

    def project(self, points: Float64Array) -> Float64Array:
        """Returns pixels (..., 2) of points (..., 3) in camera axes with positive z."""
        ray = points[..., :2] / points[..., 2:]
        # Beyond the image, where the model would fold over, distortion no longer grows.
        radius2 = np.minimum(ray[..., :1] ** 2 + ray[..., 1:] ** 2, 2.0)
        return np.asarray(self.focal_px * ray * (1 + self.k1 * radius2) + (np.array(self.size) - 1) / 2)

    @property
    def middle(self) -> int:
        """Index of the middle row's pose."""
        return len(self.centers) // 2


@lru_cache(maxsize=2)
def _rays(size: tuple[int, int], focal_px: float, k1: float) -> Float32Array:
    grid = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), -1)
    distorted = (grid - (np.array(size) - 1) / 2) / focal_px
    rays = distorted.copy()
    for _ in range(12 if k1 else 0):
        rays = distorted / (1 + k1 * (rays**2).sum(-1, keepdims=True))
    return rays.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Surfaces:
    """Surfaces that the pixels of an exposure show.

    Attributes:
      camera: of the exposure.
      visible: (n,) index of the quads that may be in view.
      quads: these quads at the exposure's time.
      planes: (n + 1, r, 3, 3) float32: s/z, t/z, 1/z from a ray, by row; zero for the sky, which comes last.
      quad: (h, w) index in `quads` of what is at the pixel's center, -1 for the sky.
      hits: (3, h, w) float32, s/z, t/z and 1/z there; 1/z is 0 for the sky.
    """

    camera: Camera
    visible: Int64Array
    quads: Quads
    planes: Float32Array
    quad: Int64Array
    hits: Float32Array


def rasterize(quads: Quads, camera: Camera, cutouts: BoolArray) -> Surfaces:
    """Finds the nearest quad of each pixel center."""
    visible, boxes = _visible_boxes(quads, camera)
    quads = quads.take(visible)
    planes = _planes(quads, camera)
    width, height = camera.size
    found = np.full((height, width), SKY, np.int64)
    hits = np.zeros((3, height, width), np.float32)
    hits[2] = 1 / FAR_M
    x, y = camera.rays[..., 0], camera.rays[..., 1]
    if camera.k1 == 0:
        x, y = x[:1], y[:, :1]
    for k, (left, top, right, bottom) in enumerate(boxes):
        window = np.s_[top:bottom, left:right]
        rows = planes[k, top:bottom] if planes.shape[1] > 1 else planes[k]
        x_part = x[window] if len(x) > 1 else x[:, left:right]
        y_part = y[window] if y.shape[1] > 1 else y[top:bottom]
        s, t, near = (
            rows[:, i, 0, None] * x_part + (rows[:, i, 1, None] * y_part + rows[:, i, 2, None]) for i in range(3)
        )
        hit = near > hits[2][window]
        hit &= np.abs(s) <= near
        hit &= np.abs(t) <= near
        if quads.cutout[k] >= 0:
            where = np.nonzero(hit)
            hit[where] = _in_cutout(cutouts, quads.cutout[k], s[where] / near[where], t[where] / near[where])
        for buffer, values in zip(hits, (s, t, near), strict=True):
            np.copyto(buffer[window], values, where=hit)
        np.copyto(found[window], k, where=hit)
    hits[2][found == SKY] = 0
    return Surfaces(camera=camera, visible=visible, quads=quads, planes=planes, quad=found, hits=hits)


def shade(seen: Surfaces, atlas: UInt8Array, cutouts: BoolArray, time_s: float) -> Float32Array:
    """Returns colors (h, w, 3), 0 to 255.

    Pixels at the edges of quads have four samples.
    """
    height, width = seen.quad.shape
    row, column = np.divmod(np.arange(height * width), width)
    rays = seen.camera.rays.reshape(-1, 2)
    color = _colors(seen, atlas, seen.quad.ravel(), rays, seen.hits.reshape(3, -1), time_s)
    edge = np.zeros((height, width), np.bool_)
    across, down = seen.quad[:, 1:] != seen.quad[:, :-1], seen.quad[1:] != seen.quad[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    pixel = np.flatnonzero(edge)
    if len(pixel):
        fine = rays[pixel, None] + SUBSAMPLES / np.float32(seen.camera.focal_px)
        quad, hits = _nearest_of_neighbors(seen, cutouts, row[pixel], column[pixel], fine.reshape(-1, 2))
        samples = _colors(seen, atlas, quad, fine.reshape(-1, 2), hits, time_s)
        color[pixel] = (samples[::4] + samples[1::4] + samples[2::4] + samples[3::4]) / 4
    return color.reshape(height, width, 3)


def exposure_flow(seen: Surfaces, moved: Quads, camera: Camera, step: int = 4) -> Float32Array:
    """Returns the flow of surface points from the middle row's camera to another.

    Args:
      seen: what is seen.
      moved: all quads at the other camera's time.
      camera: the other one.
      step: every so many pixels of `seen` are followed.

    Returns:
      (h / step, w / step, 2) in pixels.
    """
    moved = moved.take(seen.visible)
    quad, rays = seen.quad[::step, ::step], seen.camera.rays[::step, ::step]
    s, t, near = seen.hits[:, ::step, ::step]
    far = quad == SKY
    at = np.stack([s, t, near], -1) / np.where(far, 1, near)[..., None]
    directions = np.concatenate([rays, np.ones((*rays.shape[:2], 1))], -1)
    start = seen.camera.world_from_cam[seen.camera.middle]
    pixels = []
    for quads, view in ((seen.quads, seen.camera), (moved, camera)):
        turn = view.world_from_cam[view.middle].T
        frames = turn @ np.stack([quads.u, quads.v, quads.center - view.centers[view.middle]], -1)
        frames = np.concatenate([frames, np.zeros((1, 3, 3))])
        points = np.einsum("hwij,hwj->hwi", frames[quad], at)
        points[far] = directions[far] @ (turn @ start).T
        points[..., 2] = np.maximum(points[..., 2], 1e-3)
        pixels.append(view.project(points))
    return np.asarray(pixels[1] - pixels[0], np.float32)


def _planes(quads: Quads, camera: Camera) -> Float32Array:
    to_center = quads.center[:, None] - camera.centers
    normal = np.cross(quads.u, quads.v)
    det = np.einsum("nrj,nj->nr", to_center, normal)
    det = np.where(np.abs(det) < 1e-9, 1e-9, det)
    rows = np.stack(
        [
            np.cross(quads.v[:, None], to_center),
            np.cross(to_center, quads.u[:, None]),
            np.broadcast_to(normal[:, None], to_center.shape),
        ],
        axis=2,
    )
    rows = rows / det[..., None, None] @ camera.world_from_cam
    return np.concatenate([rows, np.zeros((1, *rows.shape[1:]))]).astype(np.float32)


def _visible_boxes(quads: Quads, camera: Camera) -> tuple[Int64Array, list[list[int]]]:
    """Indices of the quads that may be in view, and their bounding boxes."""
    middle = camera.middle
    normal = np.cross(quads.u, quads.v)
    behind = np.einsum("nj,nj->n", quads.center - camera.centers[middle], normal) >= 0
    keep = ~(behind & quads.closed)
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    corners = quads.center[:, None] + signs[:, :1] * quads.u[:, None] + signs[:, 1:] * quads.v[:, None]
    rows = sorted({0, middle, len(camera.centers) - 1})
    seen = np.concatenate([(corners - camera.centers[r]) @ camera.world_from_cam[r] for r in rows], axis=1)
    z = seen[..., 2]
    pixels = camera.project(np.concatenate([seen[..., :2], np.maximum(z, 1e-3)[..., None]], -1))
    # Wide enough for lens distortion, in which straight edges bend.
    margin = 2 + 0.02 * max(camera.size) * (camera.k1 != 0)
    low = np.floor(pixels.min(1) - margin)
    high = np.ceil(pixels.max(1) + margin) + 1
    crosses = z.min(1) < 0.02
    limit = 1.1 * np.abs(camera.rays[0, 0])
    outside = z.max(1) < 0.02
    for axis in range(2):
        for sign in (-1, 1):
            outside |= (sign * seen[..., axis] > limit[axis] * z).all(1)
    low[crosses], high[crosses] = 0, np.array(camera.size)
    low, high = np.clip(low, 0, camera.size).astype(int), np.clip(high, 0, camera.size).astype(int)
    keep &= ~outside & (high > low).all(1)
    visible = np.flatnonzero(keep)
    return visible, np.concatenate([low, high], 1)[visible].tolist()


def _in_cutout(cutouts: BoolArray, which: Int64Array, s: Float32Array, t: Float32Array) -> BoolArray:
    column, row = (np.clip((x + 1) * (CUTOUT_PX / 2), 0, CUTOUT_PX - 1).astype(np.intp) for x in (s, t))
    return np.asarray(cutouts[which, row, column])


def _nearest_of_neighbors(
    seen: Surfaces, cutouts: BoolArray, row: Int64Array, column: Int64Array, rays: Float32Array
) -> tuple[Int64Array, Float32Array]:
    """Nearest quads and hits of four rays per pixel, among the pixel's neighbors' quads.

    Rays are (4 m, 2), quads (4 m,), hits (3, 4 m).
    """
    height, width = seen.quad.shape
    best = np.zeros((3, len(rays)), np.float32)
    found = np.full(len(rays), SKY, np.int64)
    x, y = rays.reshape(-1, 4, 2)[..., 0], rays.reshape(-1, 4, 2)[..., 1]
    tried: list[Int64Array] = []
    for dy, dx in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)):
        quad = seen.quad[np.clip(row + dy, 0, height - 1), np.clip(column + dx, 0, width - 1)]
        is_new = quad != SKY
        for other in tried:
            is_new &= quad != other
        tried.append(quad)
        new = np.flatnonzero(is_new)
        plane = seen.planes[quad[new], row[new] if seen.planes.shape[1] > 1 else 0, :, :, None]
        s, t, near = ((plane[:, i, 0] * x[new] + plane[:, i, 1] * y[new] + plane[:, i, 2]).ravel() for i in range(3))
        pixel = (4 * new[:, None] + np.arange(4)).ravel()
        quad = np.repeat(quad[new], 4)
        hit = np.flatnonzero((near > best[2, pixel]) & (np.abs(s) <= near) & (np.abs(t) <= near))
        which = seen.quads.cutout[quad[hit]]
        inside = _in_cutout(cutouts, which, s[hit] / near[hit], t[hit] / near[hit]) | (which < 0)
        hit = hit[inside]
        best[:, pixel[hit]] = s[hit], t[hit], near[hit]
        found[pixel[hit]] = quad[hit]
    return found, best


def _colors(
    seen: Surfaces, atlas: UInt8Array, quad: Int64Array, ray: Float32Array, hits: Float32Array, time_s: float
) -> Float32Array:
    """Colors (m, 3) of rays at given quads and hits, or of the sky."""
    quads, camera = seen.quads, seen.camera
    turn, center = camera.world_from_cam[camera.middle], camera.centers[camera.middle]
    normal = np.cross(quads.u, quads.v)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    height = np.abs(((quads.center - center) * normal).sum(1))
    per_meter = quads.texels[:, 0] / np.linalg.norm(quads.u, axis=1)
    # An ellipse's area decides: blurring for its longer axis would wash out slanted walls.
    blur = per_meter / camera.focal_px / np.sqrt(np.maximum(height, 1e-6))
    table = np.column_stack([quads.texel, quads.texels, blur, quads.texture, quads.mirror]).astype(np.float32)
    values = np.concatenate([table, np.zeros((1, 7), np.float32)])[quad].T
    solid = hits[2] > 0
    depth = 1 / np.where(solid, hits[2], 1)
    texel = np.stack([values[k] + hits[k] * depth * values[2 + k] for k in range(2)], -1)
    stretched = (1 + ray[:, 0] ** 2 + ray[:, 1] ** 2) ** np.float32(0.25)
    level = np.log2(np.maximum(depth * np.sqrt(depth) * values[4] * stretched, 1e-3))
    mirror = values[6] > 0
    texel[mirror] += 14 * np.sin(texel[mirror][:, ::-1] / 37 + np.float32(3.1 * time_s))
    color = look_up(atlas, values[5], texel, level)
    color *= np.concatenate([quads.color, np.ones((1, 3), np.float32)])[quad]
    for chosen, share in ((np.flatnonzero(~solid), 1.0), (np.flatnonzero(mirror), REFLECTED_SHARE)):
        if len(chosen):
            direction = np.concatenate([ray[chosen], np.ones((len(chosen), 1), np.float32)], 1) @ turn.T
            if share < 1:
                facing = normal[quad[chosen]]
                direction = direction - 2 * np.einsum("mi,mi->m", direction, facing)[:, None] * facing
            color[chosen] = (1 - share) * color[chosen] + share * _environment(atlas, direction, camera.focal_px)
    return color


def _environment(atlas: UInt8Array, direction: Float64Array, focal_px: float) -> Float32Array:
    """Colors (m, 3) of what is infinitely far away: a bright sky with clouds."""
    up = -direction[:, 1] / np.sqrt(np.einsum("mi,mi->m", direction, direction))
    angles = np.stack([np.arctan2(direction[:, 0], direction[:, 2]), np.arcsin(np.clip(up, -1, 1))], -1)
    texel = (angles * ENVIRONMENT_TEXELS_PER_RAD).astype(np.float32)
    level = np.full(len(texel), 2 + max(0.0, np.log2(ENVIRONMENT_TEXELS_PER_RAD / focal_px)), np.float32)
    clouds = look_up(atlas, np.zeros(len(texel), np.float32), texel, level)
    sky = np.array([150, 180, 220], np.float32) + 40 * up[:, None].astype(np.float32)
    return 0.65 * sky + 0.35 * (clouds + 30)
