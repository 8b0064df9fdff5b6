"""Clips as film strips: a few frames side by side in one JPEG, for pages that play them without scripts."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from core.arrays import UInt8Array
from explore.clips import Clip
from explore.overlays import PathMap, color_depth, depth_range, moving_veil

FILM_VERSION = 1
"""To be raised whenever equal clips give other strips."""
FRAMES = 8
_LONGER_SIDE_PX = 224
_JPEG_QUALITY = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """A clip's film strips.

    Attributes:
      frames: frames in each strip, from left to right.
      size: (width, height) of a frame in pixels.
      strips: by layer, JPEG: "picture" (with the camera's path), "depth"; PNG to lay over the picture: "moving".
    """

    frames: int
    size: tuple[int, int]
    strips: Mapping[str, bytes]


def make_filmstrip(clip: Clip) -> Film:
    """Film strips of a clip's annotated frames, evenly chosen; of any frames where it was not annotated."""
    track = clip.track
    if track is None:
        chosen = np.unique(np.linspace(0, clip.row["clip_num_frames"] - 1, FRAMES).astype(int))
        return _film({"picture": list(clip.pictures(chosen.tolist(), _LONGER_SIDE_PX))})
    ordinals = np.unique(np.linspace(0, len(track.frames) - 1, FRAMES).astype(int))
    pictures = list(clip.pictures(track.frames[ordinals].tolist(), _LONGER_SIDE_PX))
    size = pictures[0].shape[1], pictures[0].shape[0]
    layers = {"picture": pictures}
    if clip.row["pose_ok"]:
        path = PathMap(track.cam_from_world)
        layers["picture"] = [path.draw(p, int(i)) for p, i in zip(pictures, ordinals, strict=True)]
    if (maps := clip.depth) is not None:
        spread = depth_range(maps)
        colored = [color_depth(maps.depth[i], maps.is_valid[i], spread) for i in ordinals]
        layers["depth"] = [np.asarray(Image.fromarray(c).resize(size, Image.Resampling.BILINEAR)) for c in colored]
    if clip.is_moving is not None:
        layers["moving"] = [moving_veil(clip.is_moving[i], size) for i in ordinals]
    return _film(layers)


def _film(layers: Mapping[str, list[UInt8Array]]) -> Film:
    first = layers["picture"][0]
    return Film(
        frames=len(layers["picture"]),
        size=(first.shape[1], first.shape[0]),
        strips={name: _strip(frames) for name, frames in layers.items()},
    )


def _strip(frames: list[UInt8Array]) -> bytes:
    data, strip = io.BytesIO(), Image.fromarray(np.concatenate(frames, axis=1))
    if strip.mode == "RGBA":
        strip.save(data, "PNG", optimize=True)
    else:
        strip.save(data, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return data.getvalue()
