"""Cameras of many frames on the device: rigid motions as matrices, and where pixels of one frame are in another.

Camera axes x right, y down, z forward; pixel centers at integers; motions are cam_from_world; tangents (tau, phi)
act from the left: exp(xi) G.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.networks.pixels import pixel_grid
from native.cuda import kernels
from native.cuda.library import usable_for

MIN_DEPTH_RATIO = 0.25
"""Points whose depth in the target is less than this share of that in their own frame do not count."""
MIN_PROJECTED_DEPTH = 0.1
INVALID_DISTANCE_PX = 1000.0
MIN_COUNTED_SHARE = 0.75
MAX_PAIRS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Cameras:
    """State of all frames; tensors are changed in place.

    Attributes:
      rotation, translation: (f, 3, 3), (f, 3) float64 cam_from_world.
      inverse_depth: (f, h, w) float32.
      prior: (f, h, w) float32 expected inverse depth, 0 where there is none.
      intrinsics: (clips, 4) float64 fx fy cx cy in px of the features.
      clip: (f,) int64 clip of each frame.
    """

    rotation: Tensor
    translation: Tensor
    inverse_depth: Tensor
    prior: Tensor
    intrinsics: Tensor
    clip: Tensor

    @property
    def fit_kernels(self) -> bool:
        """Whether our CUDA kernels can take these."""
        return self.inverse_depth.dtype == torch.float32 and usable_for(self.inverse_depth)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """As the kernels take them."""
        return self.rotation, self.translation, self.intrinsics, self.clip, self.inverse_depth

    def relative(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Rotations (e, 3, 3) and translations (e, 3) that move points of frames i to frames j."""
        rotation = self.rotation[target] @ self.rotation[source].transpose(1, 2)
        moved = (rotation @ self.translation[source][..., None])[..., 0]
        return rotation, self.translation[target] - moved

    def retract(self, frames: Tensor, tangent: Tensor) -> None:
        """Moves the poses of frames (n,) by exp of (n, 6)."""
        turn, shift = exp(tangent)
        rotation = turn @ self.rotation[frames]
        # One Newton step toward the nearest rotation keeps rounding from adding up.
        rotation = 1.5 * rotation - 0.5 * rotation @ rotation.transpose(1, 2) @ rotation
        self.translation[frames] = (turn @ self.translation[frames][..., None])[..., 0] + shift
        self.rotation[frames] = rotation


def exp(tangent: Tensor) -> tuple[Tensor, Tensor]:
    """Tangents (n, 6) to rotations (n, 3, 3) and translations (n, 3)."""
    tau, phi = tangent[:, :3], tangent[:, 3:]
    angle2 = (phi * phi).sum(1)[:, None, None]
    angle = angle2.sqrt().clamp(min=1e-12)
    small = angle2 < 1e-8
    a = torch.where(small, 1 - angle2 / 6, angle.sin() / angle)
    b = torch.where(small, 0.5 - angle2 / 24, (1 - angle.cos()) / angle2.clamp(min=1e-24))
    c = torch.where(small, 1 / 6 - angle2 / 120, (angle - angle.sin()) / (angle2 * angle).clamp(min=1e-30))
    cross = hat(phi)
    cross2 = cross @ cross
    eye = torch.eye(3, dtype=tangent.dtype, device=tangent.device)
    return eye + a * cross + b * cross2, ((eye + b * cross + c * cross2) @ tau[..., None])[..., 0]


def hat(v: Tensor) -> Tensor:
    """(n, 3) to the matrices (n, 3, 3) of the cross product."""
    zero = torch.zeros_like(v[:, 0])
    x, y, z = v.unbind(1)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)


def adjoint(rotation: Tensor, translation: Tensor) -> Tensor:
    """(n, 6, 6) matrices Ad with G exp(xi) = exp(Ad xi) G."""
    top = torch.cat([rotation, hat(translation) @ rotation], 2)
    return torch.cat([top, torch.cat([torch.zeros_like(rotation), rotation], 2)], 1)


def reproject(cameras: Cameras, source: Tensor, target: Tensor) -> Tensor:
    """(e, h, w, 2) float32 places in frames j of the pixels of frames i; of points behind the camera, any place."""
    if cameras.fit_kernels:
        return kernels.reproject(cameras.tensors, source, target)
    y = _move_pixels(cameras, source, *cameras.relative(source, target))
    z = torch.where(y[:, 2] < MIN_PROJECTED_DEPTH, 1.0, y[:, 2])
    return (y[:, :2] / z[:, None]).permute(0, 2, 3, 1)


def _move_pixels(cameras: Cameras, source: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """(e, 3, h, w) homogeneous pixels in the target, the last in units of the source's depth."""
    height, width = cameras.inverse_depth.shape[1:]
    fx, fy, cx, cy = cameras.intrinsics[cameras.clip[source]].unbind(1)
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    camera = torch.stack([fx, zero, cx, zero, fy, cy, zero, zero, one], 1).reshape(-1, 3, 3)
    inverse = torch.stack([1 / fx, zero, -cx / fx, zero, 1 / fy, -cy / fy, zero, zero, one], 1).reshape(-1, 3, 3)
    depth = cameras.inverse_depth[source].reshape(len(source), 1, -1)
    turned = (camera @ rotation @ inverse).to(depth.dtype)
    shifted = (camera @ translation[..., None]).to(depth.dtype)
    grid = pixel_grid(height, width, source.device).to(depth.dtype)
    pixels = torch.cat([grid, torch.ones_like(grid[..., :1])], -1).reshape(-1, 3).T
    moved = torch.baddbmm((turned.reshape(-1, 3) @ pixels).reshape(len(source), 3, -1), shifted, depth)
    return moved.reshape(-1, 3, height, width)


def frame_distance(cameras: Cameras, source: Tensor, target: Tensor, beta: float) -> Tensor:
    """(e,) float32 mean flow in px between frames, both directions; see `_one_way_distance`."""
    parts = [cameras.inverse_depth.new_zeros(0)]
    for i, j in zip(source.split(MAX_PAIRS_AT_ONCE), target.split(MAX_PAIRS_AT_ONCE), strict=True):
        if not len(i):
            break
        parts.append((_one_way_distance(cameras, i, j, beta) + _one_way_distance(cameras, j, i, beta)) / 2)
    return torch.cat(parts)


def _one_way_distance(cameras: Cameras, source: Tensor, target: Tensor, beta: float) -> Tensor:
    """Weighted mean of the flow's length, `beta`, and of its length without rotation, 1 - `beta`.

    Points count that are in front of the target; `INVALID_DISTANCE_PX` where too few do.
    """
    if cameras.fit_kernels:
        limits = (MIN_DEPTH_RATIO, MIN_COUNTED_SHARE, INVALID_DISTANCE_PX)
        return kernels.frame_distance(cameras.tensors, source, target, beta, *limits)
    rotation, translation = cameras.relative(source, target)
    no_turn = torch.eye(3, dtype=rotation.dtype, device=rotation.device).expand_as(rotation)
    height, width = cameras.inverse_depth.shape[1:]
    grid = pixel_grid(height, width, source.device).permute(2, 0, 1)
    total, counted = 0.0, 0.0
    for share, turn in ((beta, rotation), (1 - beta, no_turn)):
        y = _move_pixels(cameras, source, turn, translation)
        valid = y[:, 2] > MIN_DEPTH_RATIO
        length = torch.linalg.vector_norm(y[:, :2] / y[:, 2:].clamp(min=1e-6) - grid, dim=1)
        total = total + share * torch.where(valid, length, 0.0).mean((1, 2))
        counted = counted + share * valid.float().mean((1, 2))
    return torch.where(counted >= MIN_COUNTED_SHARE, total / counted, INVALID_DISTANCE_PX)
