"""Rendered rooms of known flow, and a predictor that returns that flow.

Where times are measured the network still runs in full, so that keyframes, edges, adjustment and cost are those of a
real clip.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.accuracy.trajectories import align
from core.arrays import Float64Array
from models.flow.raft_clip import STEPS, ClipFlow, is_consistent
from models.networks.pixels import pixel_grid
from models.slam.features import FlowPredictor, FrameFeatures
from models.slam.geometry import Cameras, reproject
from models.slam.network import STRIDE, EdgeGroups, FlowUpdate, TrackingNetwork
from models.slam.tracker import SlamInput, SlamResult
from native import se3

HALF_VIEW_RAD = np.radians(30)
ETA = 1e-5
MARGIN = 0.25
"""Targets up to this many image widths outside keep their confidence."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoomClip:
    """A camera trajectory through a room: the tracker's input, and the truth.

    Attributes:
      clip: to track; the images are noise, since only flow matters.
      cam_from_world: (t, 7) true, in the unit of the clip's depth.
      focal_px: true, of the images.
      feature_depth: (t, h, w) exact z-depth at the features' pixels.
      meters: of one unit of length.
    """

    clip: SlamInput
    cam_from_world: Float64Array
    focal_px: float
    feature_depth: Float64Array
    meters: float


def make_clip(
    poses: Float64Array,
    size: tuple[int, int],
    seed: int = 0,
    focal_error: float = 1.0,
    depth_noise: float = 0.0,
    fps: float = 5.0,
) -> RoomClip:
    """Returns a clip of the furnished room of the tests.

    Args:
      poses: (t, 7) cam_from_world in meters.
      size: (width, height) of the images; the view is 60 degrees wide.
      seed: of images and noise.
      focal_error: the given focal length over the true one.
      depth_noise: of the given depth's logarithm, for each frame and for each pixel.
      fps: frames a second.
    """
    width, height = size
    focal = width / 2 / np.tan(HALF_VIEW_RAD)
    intrinsics = np.array([focal, focal, width / 2, height / 2])
    true_depth = _measure(poses, intrinsics / STRIDE, (width // STRIDE, height // STRIDE))
    scale = 1 / np.median(true_depth)
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, depth_noise, (len(poses), 1, 1)) + rng.normal(0, depth_noise, true_depth.shape)
    depth = np.repeat(np.repeat(true_depth * np.exp(noise), STRIDE, 1), STRIDE, 2) * scale
    moved = np.array(poses, np.float64)
    moved[:, :3] *= scale
    clip = SlamInput(
        images=rng.integers(0, 256, (len(poses), 3, height, width), dtype=np.uint8),
        depth=depth.astype(np.float32),
        intrinsics_px=intrinsics * [focal_error, focal_error, 1, 1],
        times_s=np.arange(len(poses)) / fps,
    )
    return RoomClip(clip=clip, cam_from_world=moved, focal_px=focal, feature_depth=true_depth * scale, meters=1 / scale)


class ExactFlow(FlowPredictor):
    """Predicts the exact flow of rooms.

    Args:
      network, features: see `FlowPredictor`.
      rooms: of the clips, in their order.
      run_network: whether the network runs too; its numbers are taken times zero.
    """

    def __init__(
        self, network: TrackingNetwork, features: FrameFeatures, rooms: Sequence[RoomClip], run_network: bool
    ) -> None:
        super().__init__(network, features)
        device = features.net.device
        matrices = torch.from_numpy(np.concatenate([se3.to_matrix(r.cam_from_world) for r in rooms])).to(device)
        depth = torch.from_numpy(np.concatenate([r.feature_depth for r in rooms]))
        camera = [[r.focal_px, r.focal_px, *np.asarray(r.clip.intrinsics_px)[2:]] for r in rooms]
        clip = np.repeat(np.arange(len(rooms)), [len(r.feature_depth) for r in rooms])
        self._truth = Cameras(
            rotation=matrices[:, :3, :3].contiguous(),
            translation=matrices[:, :3, 3].contiguous(),
            inverse_depth=(1 / depth).float().to(device),
            prior=torch.zeros(0, device=device),
            intrinsics=torch.tensor(camera, dtype=torch.float64, device=device) / STRIDE,
            clip=torch.from_numpy(clip).to(device),
        )
        self._run_network = run_network
        self.calls, self.edges = 0, 0

    def predict(
        self,
        source: Tensor,
        target: Tensor,
        net: Tensor,
        coords_px: Tensor,
        target_px: Tensor,
        groups: EdgeGroups | None,
    ) -> FlowUpdate:
        self.calls, self.edges = self.calls + 1, self.edges + len(source)
        exact = reproject(self._truth, source, target)
        size = torch.tensor([exact.shape[2], exact.shape[1]], device=exact.device)
        sure = ((exact > -MARGIN * size) & (exact < (1 + MARGIN) * size)).all(3).float()
        delta, weight = exact - coords_px, sure[..., None].expand_as(exact)
        outputs: dict[str, Any] = {"delta_px": delta, "weight": weight}
        if groups is not None:
            outputs["static"] = torch.ones_like(sure)
            outputs["eta"] = sure.new_full((len(groups.frames), *sure.shape[1:]), ETA)
        if not self._run_network:
            return FlowUpdate(net=net, **outputs)
        update = super().predict(source, target, net, coords_px, target_px, groups)
        taken = {name: value + 0 * getattr(update, name) for name, value in outputs.items()}
        return FlowUpdate(net=update.net, **taken)


def errors(room: RoomClip, track: SlamResult) -> tuple[float, float]:
    """Returns ATE over the trajectory's length, and the error of the focal length."""
    true, found = (se3.invert(poses)[:, :3] for poses in (room.cam_from_world, track.cam_from_world))
    aligned = align(found, true).move(found)
    length = np.linalg.norm(np.diff(true, axis=0), axis=1).sum()
    return (
        float(np.sqrt(((aligned - true) ** 2).sum(1).mean()) / max(length, 1e-30)),
        float(track.intrinsics_px[0] / room.focal_px - 1),
    )


def exact_clip_flow(
    poses: Float64Array, size: tuple[int, int], device: torch.device | str
) -> tuple[Float64Array, ClipFlow]:
    """Returns depth (t, h, w) in meters and flow of a clip at half size.

    Args:
      poses: (t, 7) cam_from_world in meters.
      size: of the images; the view is 60 degrees wide.
      device: of the flow.
    """
    width, height = size[0] // 2, size[1] // 2
    focal = width / 2 / np.tan(HALF_VIEW_RAD)
    camera = np.array([focal, focal, width / 2, height / 2])
    depth = _measure(poses, camera, (width, height))
    matrices = torch.from_numpy(se3.to_matrix(poses)).to(device)
    cameras = Cameras(
        rotation=matrices[:, :3, :3].contiguous(),
        translation=matrices[:, :3, 3].contiguous(),
        inverse_depth=torch.from_numpy(1 / depth).float().to(device),
        prior=torch.zeros(0, device=device),
        intrinsics=torch.from_numpy(camera)[None].to(device),
        clip=torch.zeros(len(poses), dtype=torch.int64, device=device),
    )
    pairs = sorted((i, i + step) for step in STEPS for i in range(len(poses) - step))
    i, j = torch.tensor(pairs, device=device).unbind(1)
    grid = pixel_grid(height, width, i.device)
    forward, backward = (
        torch.cat([reproject(cameras, a, b) - grid for a, b in zip(first.split(16), second.split(16), strict=True)])
        for first, second in ((i, j), (j, i))
    )
    planes = forward.permute(0, 3, 1, 2).contiguous(), backward.permute(0, 3, 1, 2).contiguous()
    flow = ClipFlow(first=i, second=j, flow_px=forward.half().contiguous(), is_consistent=is_consistent(*planes))
    return depth, flow


def _measure(poses: Float64Array, camera: Float64Array, size: tuple[int, int]) -> Float64Array:
    """(t, h, w) z-depth of the room at pixel centers, in meters."""
    scenes, room = (
        importlib.import_module("tests.support.scene"),
        importlib.import_module("tests.support.films").furnished_room(),
    )
    views = [
        scenes.View(scene=room, time_s=0.0, cam_from_world=pose, intrinsics_px=camera, size=size) for pose in poses
    ]
    return np.stack([scenes.measure(view)[0] for view in views]).astype(np.float64)
