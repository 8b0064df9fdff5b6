"""Camera state of many frames on the device: SE(3) poses, inverse depth and reprojection.

Camera axes x right, y down, z forward; pixel centers at integers; poses are cam_from_world; tangents (tau, phi) are
left increments: exp(xi) G.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.networks.pixels import pixel_grid
from native.cuda import kernels
from native.cuda.library import usable_for

MIN_DEPTH_RATIO = 0.25
"""Least depth of a valid point in the target frame, as a share of its depth in the source frame."""
MIN_PROJECTED_DEPTH = 0.1
INVALID_DISTANCE_PX = 1000.0
MIN_VALID_SHARE = 0.75
MAX_PAIRS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Cameras:
    """Poses, inverse depths and intrinsics of all frames; tensors are updated in place.

    Attributes:
      rotation, translation: (f, 3, 3), (f, 3) float64 cam_from_world.
      inverse_depth: (f, h, w) float32.
      prior: (f, h, w) float32 inverse depth from monocular depth, 0 where unknown.
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
    def supports_kernels(self) -> bool:
        """Whether the CUDA kernels apply.

        They are built, and inverse depth is float32 on a GPU.
        """
        return self.inverse_depth.dtype == torch.float32 and usable_for(self.inverse_depth)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Arguments of the CUDA kernels."""
        return self.rotation, self.translation, self.intrinsics, self.clip, self.inverse_depth

    def relative(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Relative poses j_from_i: rotations (e, 3, 3) and translations (e, 3)."""
        rotation = self.rotation[target] @ self.rotation[source].transpose(1, 2)
        rotated = (rotation @ self.translation[source][..., None])[..., 0]
        return rotation, self.translation[target] - rotated

    def retract(self, frames: Tensor, tangent: Tensor) -> None:
        """Left-multiplies the poses of frames (n,) by exp of tangents (n, 6)."""
        delta_rotation, delta_translation = exp(tangent)
        rotation = delta_rotation @ self.rotation[frames]
        # One Newton step toward the nearest rotation matrix stops rounding errors from accumulating.
        rotation = 1.5 * rotation - 0.5 * rotation @ rotation.transpose(1, 2) @ rotation
        self.translation[frames] = (delta_rotation @ self.translation[frames][..., None])[..., 0] + delta_translation
        self.rotation[frames] = rotation


def exp(tangent: Tensor) -> tuple[Tensor, Tensor]:
    """SE(3) exponential of tangents (n, 6): rotations (n, 3, 3) and translations (n, 3)."""
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
    """Skew-symmetric cross-product matrices (n, 3, 3) of vectors (n, 3)."""
    zero = torch.zeros_like(v[:, 0])
    x, y, z = v.unbind(1)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)


def adjoint(rotation: Tensor, translation: Tensor) -> Tensor:
    """(n, 6, 6) adjoint matrices: G exp(xi) = exp(Ad xi) G."""
    top = torch.cat([rotation, hat(translation) @ rotation], 2)
    return torch.cat([top, torch.cat([torch.zeros_like(rotation), rotation], 2)], 1)


def reproject(cameras: Cameras, source: Tensor, target: Tensor) -> Tensor:
    """(e, h, w, 2) float32 pixels of frames i in j (DROID-SLAM eq. 3).

    Arbitrary behind the camera.
    """
    if cameras.supports_kernels:
        return kernels.reproject(cameras.tensors, source, target)
    y = _project(cameras, source, *cameras.relative(source, target))
    z = torch.where(y[:, 2] < MIN_PROJECTED_DEPTH, 1.0, y[:, 2])
    return (y[:, :2] / z[:, None]).permute(0, 2, 3, 1)


def _project(cameras: Cameras, source: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """(e, 3, h, w) homogeneous target pixels; the third is target depth over source depth."""
    height, width = cameras.inverse_depth.shape[1:]
    fx, fy, cx, cy = cameras.intrinsics[cameras.clip[source]].unbind(1)
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    camera = torch.stack([fx, zero, cx, zero, fy, cy, zero, zero, one], 1).reshape(-1, 3, 3)
    inverse = torch.stack([1 / fx, zero, -cx / fx, zero, 1 / fy, -cy / fy, zero, zero, one], 1).reshape(-1, 3, 3)
    depth = cameras.inverse_depth[source].reshape(len(source), 1, -1)
    homography = (camera @ rotation @ inverse).to(depth.dtype)
    epipole = (camera @ translation[..., None]).to(depth.dtype)
    grid = pixel_grid(height, width, source.device).to(depth.dtype)
    pixels = torch.cat([grid, torch.ones_like(grid[..., :1])], -1).reshape(-1, 3).T
    projected = torch.baddbmm((homography.reshape(-1, 3) @ pixels).reshape(len(source), 3, -1), epipole, depth)
    return projected.reshape(-1, 3, height, width)


def frame_distance(cameras: Cameras, source: Tensor, target: Tensor, beta: float) -> Tensor:
    """(e,) float32 mean induced flow in px between frames, over both directions (DROID-SLAM)."""
    parts = [cameras.inverse_depth.new_zeros(0)]
    for i, j in zip(source.split(MAX_PAIRS_AT_ONCE), target.split(MAX_PAIRS_AT_ONCE), strict=True):
        if not len(i):
            break
        parts.append((_one_way_distance(cameras, i, j, beta) + _one_way_distance(cameras, j, i, beta)) / 2)
    return torch.cat(parts)


def _one_way_distance(cameras: Cameras, source: Tensor, target: Tensor, beta: float) -> Tensor:
    """Mean length of the induced flow, mixed with that without rotation.

    Weights are `beta` and 1 - `beta`.

    Only points in front of the target count; `INVALID_DISTANCE_PX` if these are too few.
    """
    if cameras.supports_kernels:
        limits = (MIN_DEPTH_RATIO, MIN_VALID_SHARE, INVALID_DISTANCE_PX)
        return kernels.frame_distance(cameras.tensors, source, target, beta, *limits)
    rotation, translation = cameras.relative(source, target)
    identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device).expand_as(rotation)
    height, width = cameras.inverse_depth.shape[1:]
    grid = pixel_grid(height, width, source.device).permute(2, 0, 1)
    total, valid_share = 0.0, 0.0
    for share, motion in ((beta, rotation), (1 - beta, identity)):
        y = _project(cameras, source, motion, translation)
        valid = y[:, 2] > MIN_DEPTH_RATIO
        length = torch.linalg.vector_norm(y[:, :2] / y[:, 2:].clamp(min=1e-6) - grid, dim=1)
        total = total + share * torch.where(valid, length, 0.0).mean((1, 2))
        valid_share = valid_share + share * valid.float().mean((1, 2))
    return torch.where(valid_share >= MIN_VALID_SHARE, total / valid_share, INVALID_DISTANCE_PX)
