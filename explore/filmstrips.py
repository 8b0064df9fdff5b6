"""Filmstrips of clips: frames side by side in one image, for animation by CSS."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from core.arrays import UInt8Array
from explore.clips import Clip
from explore.overlays import TrajectoryMap, color_depth, depth_range, dynamic_overlay

FILMSTRIP_VERSION = 2
"""Part of the cache key: to be raised whenever equal clips give other strips or other HTML."""
FRAMES = 8
_LONGER_SIDE_PX = 224
_JPEG_QUALITY = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class Filmstrip:
    """The strips of a clip, one per layer.

    Attributes:
      frames: frames in each strip, from left to right.
      size: (width, height) of a frame in pixels.
      strips: by layer, JPEG: "image" (with the camera trajectory), "depth"; PNG with alpha: "moving".
    """

    frames: int
    size: tuple[int, int]
    strips: Mapping[str, bytes]


def make_filmstrip(clip: Clip) -> Filmstrip:
    """Filmstrip of evenly spaced annotated frames, or of any frames where there are none."""
    trajectory = clip.trajectory
    if trajectory is None:
        chosen = np.unique(np.linspace(0, clip.row["clip_num_frames"] - 1, FRAMES).astype(int))
        return _encode_layers({"image": list(clip.images(chosen.tolist(), _LONGER_SIDE_PX))})
    ordinals = np.unique(np.linspace(0, len(trajectory.frames) - 1, FRAMES).astype(int))
    images = list(clip.images(trajectory.frames[ordinals].tolist(), _LONGER_SIDE_PX))
    size = images[0].shape[1], images[0].shape[0]
    layers = {"image": images}
    if clip.row["pose_ok"]:
        inset = TrajectoryMap(trajectory.cam_from_world)
        layers["image"] = [inset.draw_on(image, int(i)) for image, i in zip(images, ordinals, strict=True)]
    if (maps := clip.depth) is not None:
        inverse_range = depth_range(maps)
        colored = [color_depth(maps.depth[i], maps.is_valid[i], inverse_range) for i in ordinals]
        layers["depth"] = [np.asarray(Image.fromarray(c).resize(size, Image.Resampling.BILINEAR)) for c in colored]
    if clip.is_moving is not None:
        layers["moving"] = [dynamic_overlay(clip.is_moving[i], size) for i in ordinals]
    return _encode_layers(layers)


def _encode_layers(layers: Mapping[str, list[UInt8Array]]) -> Filmstrip:
    first = layers["image"][0]
    return Filmstrip(
        frames=len(layers["image"]),
        size=(first.shape[1], first.shape[0]),
        strips={name: _encode_strip(frames) for name, frames in layers.items()},
    )


def _encode_strip(frames: list[UInt8Array]) -> bytes:
    data, strip = io.BytesIO(), Image.fromarray(np.concatenate(frames, axis=1))
    if strip.mode == "RGBA":
        strip.save(data, "PNG", optimize=True)
    else:
        strip.save(data, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return data.getvalue()
