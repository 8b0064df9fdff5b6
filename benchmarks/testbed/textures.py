"""Procedural textures of rendered clips, with mipmaps in one image."""

from __future__ import annotations

import cv2
import numpy as np

from core.arrays import BoolArray, Float32Array, Float64Array, UInt8Array

TEXTURE_PX = 1024
"""Side of a texture; a power of two."""
LEVELS = 9
CUTOUT_PX = 512
KINDS = ("noise", "patches", "bricks", "letters", "foliage", "tiles", "wood", "plaster")
"""By index in the image of all textures; plaster has hardly any contrast."""
LETTERS = "ABCDEFGHKLMNPRSTUVXYZ2345679"


def make_atlas(rng: np.random.Generator) -> UInt8Array:
    """Returns an atlas: textures of all `KINDS` from top to bottom.

    Halved versions of each are to its right.
    """
    atlas = np.zeros((len(KINDS) * TEXTURE_PX, 2 * TEXTURE_PX, 3), np.uint8)
    for k, kind in enumerate(KINDS):
        image, left = np.rint(np.clip(_texture(kind, rng), 0, 255)).astype(np.uint8), 0
        for _ in range(LEVELS):
            side = len(image)
            atlas[k * TEXTURE_PX : k * TEXTURE_PX + side, left : left + side] = image
            left += side
            image = np.asarray(cv2.resize(image, (side // 2, side // 2), interpolation=cv2.INTER_AREA), np.uint8)
    return atlas


def look_up(atlas: UInt8Array, texture: Float32Array, texel: Float32Array, level: Float32Array) -> Float32Array:
    """Returns trilinear samples (m, 3); textures continue mirrored.

    Args:
      atlas: see `make_atlas`.
      texture: (m,) index in `KINDS`.
      texel: (m, 2) x y in texels of the full resolution.
      level: (m,) binary logarithm of the texels that a pixel covers.
    """
    period = np.float32(2 * TEXTURE_PX)
    inside = TEXTURE_PX - np.abs(texel - period * np.floor(texel / period) - TEXTURE_PX)
    level = np.clip(level, 0, LEVELS - 1.001)
    low = np.floor(level)
    share = (level - low)[:, None]
    top = texture * np.float32(TEXTURE_PX)
    return _at_level(atlas, top, inside, low) * (1 - share) + _at_level(atlas, top, inside, low + 1) * share


def _at_level(atlas: UInt8Array, top: Float32Array, texel: Float32Array, level: Float32Array) -> Float32Array:
    scale = np.exp2(-level).astype(np.float32)
    at = np.clip(texel * scale[:, None] - 0.5, 0, (TEXTURE_PX * scale - 1)[:, None])
    # One row is as long as OpenCV allows.
    rows = -(-len(level) // 1024)
    grid = np.zeros((2, rows * 1024), np.float32)
    grid[0, : len(level)] = at[:, 0] + 2 * TEXTURE_PX * (1 - scale)
    grid[1, : len(level)] = at[:, 1] + top
    x, y = grid.reshape(2, rows, 1024)
    return np.asarray(cv2.remap(atlas, x, y, cv2.INTER_LINEAR), np.float32).reshape(-1, 3)[: len(level)]


def make_cutouts(rng: np.random.Generator, count: int = 4) -> BoolArray:
    """Returns shapes (count, CUTOUT_PX, CUTOUT_PX) of bushes and trees: clusters of leaves with gaps."""
    shapes = np.zeros((count, CUTOUT_PX, CUTOUT_PX), np.uint8)
    unit = CUTOUT_PX / 128
    for k, shape in enumerate(shapes):
        is_tree = k % 2 == 1
        if is_tree:
            cv2.rectangle(shape, (int(60 * unit), int(60 * unit)), (int(67 * unit), CUTOUT_PX - 1), 1, -1)
        for _ in range(150):
            x, y = rng.normal(64, 22) * unit, rng.normal(42 if is_tree else 80, 16 if is_tree else 22) * unit
            axes = (int(rng.uniform(3, 10) * unit), int(rng.uniform(1.5, 4.5) * unit))
            cv2.ellipse(shape, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return shapes > 0


def octaves(rng: np.random.Generator, side: int, gain: float, channels: int = 1, first: int = 4) -> Float32Array:
    """Returns noise (side, side, channels): octaves from `first` cells a side.

    Each octave has `gain` times the amplitude of the last one.
    """
    total, weight, cells = np.zeros((side, side, channels), np.float32), 1.0, first
    while cells <= side:
        noise = rng.standard_normal((cells, cells, channels), np.float32)
        scaled = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
        total += np.float32(weight) * scaled.reshape(side, side, channels)
        weight, cells = weight * gain, cells * 2
    return total


def _texture(kind: str, rng: np.random.Generator) -> Float32Array:
    side = TEXTURE_PX
    base = rng.uniform(90, 190, 3).astype(np.float32)
    grain = octaves(rng, side, 0.75)
    if kind == "noise":
        return base + 18 * octaves(rng, side, 0.87) + 12 * octaves(rng, side, 0.5, 3)
    if kind == "plaster":
        return base + 20 + 1.5 * grain
    if kind == "wood":
        lines = cv2.resize(grain[:, ::16], (side, side), interpolation=cv2.INTER_CUBIC)[..., None]
        return np.array([150, 105, 65], np.float32) + 22 * lines + 4 * grain
    if kind in {"bricks", "tiles"}:
        return _masonry(rng, kind == "bricks") + 7 * grain
    canvas = np.ascontiguousarray(np.broadcast_to(base, (side, side, 3)) + 10 * grain, np.float32)
    draw = {"patches": _draw_patches, "letters": _draw_letters, "foliage": _draw_leaves}[kind]
    draw(canvas, rng)
    return canvas + 6 * grain


def _masonry(rng: np.random.Generator, is_brick: bool) -> Float32Array:
    height, width, joint = (40, 104, 4) if is_brick else (96, 96, 3)
    y, x = np.mgrid[:TEXTURE_PX, :TEXTURE_PX]
    row = y // height
    x = x + (row % 2) * (width // 2) * is_brick
    tone = rng.normal(0, 16 if is_brick else 3, (64, 64, 1)).astype(np.float32)
    color = np.float32(rng.uniform([110, 50, 40], [190, 100, 90]) if is_brick else rng.uniform(150, 210, 3))
    is_joint = (y % height < joint) | (x % width < joint)
    return np.where(is_joint[..., None], np.float32(160 if is_brick else 110), color + tone[row, x // width])


def _shade(rng: np.random.Generator) -> tuple[float, ...]:
    return tuple((rng.uniform(15, 240) + rng.uniform(-45, 45, 3)).tolist())


def _draw_patches(canvas: Float32Array, rng: np.random.Generator) -> None:
    for _ in range(420):
        x, y = rng.integers(-40, TEXTURE_PX, 2).tolist()
        w, h = np.exp(rng.uniform(np.log(6), np.log(130), 2)).astype(int).tolist()
        if rng.random() < 0.7:
            cv2.rectangle(canvas, (x, y), (x + w, y + h), _shade(rng), -1)
        else:
            cv2.circle(canvas, (x, y), w // 2 + 2, _shade(rng), -1)


def _draw_letters(canvas: Float32Array, rng: np.random.Generator) -> None:
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    for _ in range(90):
        text = "".join(rng.choice(list(LETTERS), int(rng.integers(3, 11))))
        at = (int(rng.integers(-60, TEXTURE_PX - 40)), int(rng.integers(10, TEXTURE_PX)))
        scale = float(rng.uniform(0.7, 3.2))
        cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, _shade(rng), int(1 + 2 * scale), cv2.LINE_AA)
    canvas[:] = image


def _draw_leaves(canvas: Float32Array, rng: np.random.Generator) -> None:
    green: Float64Array = np.array([70.0, 110.0, 45.0])
    canvas *= np.array([0.22, 0.36, 0.18], np.float32)
    for _ in range(2600):
        x, y = rng.integers(0, TEXTURE_PX, 2).tolist()
        axes = (int(rng.integers(5, 24)), int(rng.integers(2, 8)))
        color = green * rng.uniform(0.3, 1.9) + rng.uniform(-22, 22, 3)
        cv2.ellipse(canvas, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, tuple(color.tolist()), -1)
