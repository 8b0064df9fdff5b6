"""Metric depth and focal length by MoGe-2 (Wang et al. 2025)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from core.arrays import UInt8Array
from models.depth.mono_depth import DepthKind, FrameDepths
from models.depth.settings import DepthSettings
from models.networks.batches import BatchRunner
from models.networks.moge import MoGe2, view_plane
from models.networks.pixels import DTYPES, resize_maps, to_unit
from models.networks.weights import load_tensors, read_checkpoint
from models.registry import WeightsError

FIT_SIDE = 64
FIT_STEPS = 20
MASK_THRESHOLD = 0.5


class MoGe:
    """MoGe-2 behind the interface of `DepthModel`.

    Args:
      network: loaded, and prepared to run.
      settings: device and batches.
    """

    kind: DepthKind = "metric"

    def __init__(self, network: MoGe2, settings: DepthSettings) -> None:
        self._device = torch.device(settings.device)
        self._network = network.to(self._device)
        self._dtype = network.encoder.backbone.cls_token.dtype
        self._settings = settings
        least, most = network.num_tokens_range
        self._tokens = min(max(settings.moge_tokens, least), most)
        self.halvings = 0

    def predict(self, frames_rgb_u8: Sequence[UInt8Array], size: tuple[int, int]) -> FrameDepths:
        """Depth and focal lengths of frames, see `DepthModel.predict`.

        Not valid where the predicted mask is below 0.5 or depth is not positive.
        """
        settings = self._settings

        def compute(images: Tensor, _: int) -> tuple[Tensor, Tensor, Tensor]:
            depth, mask, focal = self.infer(images)
            valid = resize_maps(mask, size) > MASK_THRESHOLD
            near = F.interpolate(depth[:, None], (size[1], size[0]), mode="nearest-exact")[:, 0]
            valid &= near > 0
            diagonal = (size[0] ** 2 + size[1] ** 2) ** 0.5
            return torch.where(valid, near, torch.zeros_like(near)), valid, focal.double() * (diagonal / 2)

        runner = BatchRunner(compute, self._device, settings.batch_frames, settings.batch_mib << 20)
        maps, valid, focal_px = runner.run(frames_rgb_u8)
        self.halvings += runner.halvings
        return FrameDepths(maps=maps, is_valid=valid, focal_px=focal_px)

    def infer(self, images_u8: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Depth in meters, mask and focal lengths in half diagonals, float32.

        Depth and mask (0 to 1) are (n, h, w), focal lengths (n,).

        Args:
          images_u8: (n, h, w, 3) on the device; results have their size.
        """
        points, mask, meters = self._network(to_unit(images_u8).to(self._dtype), self._tokens)
        focal, shift = fit_camera(points, mask > MASK_THRESHOLD)
        depth = (points[..., 2] + shift[:, None, None]) * meters[:, None, None]
        return depth, mask, focal


def fit_camera(points: Tensor, is_valid: Tensor) -> tuple[Tensor, Tensor]:
    """Focal length f and z-shift s that minimize the reprojection error of a point map.

    Least squares of f x / (z + s) - u over 64 x 64 points (MoGe, Wang et al. 2024, section 3.2), solved by
    Levenberg-Marquardt on s with f eliminated (variable projection).

    Args:
      points: (n, h, w, 3) float32.
      is_valid: (n, h, w) bool; images with fewer than two valid points get focal length 1 and shift 0.

    Returns:
      Focal length in half diagonals of the image, and shift, (n,) float32 each.
    """
    height, width = points.shape[1:3]
    size = (FIT_SIDE, FIT_SIDE)
    plane = view_plane(width, height, width / height, points)
    uv = F.interpolate(plane.permute(2, 0, 1)[None], size, mode="nearest").flatten(2).double()
    weight = F.interpolate(is_valid[:, None].float(), size, mode="nearest").flatten(2).double()
    sampled = F.interpolate(points.permute(0, 3, 1, 2), size, mode="nearest").flatten(2).double()
    xy, z = sampled[:, :2], sampled[:, 2:]
    nearest = torch.where(weight > 0, z, z.amax(dim=2, keepdim=True)).amin(dim=2)[:, 0]

    def project(shift: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        shifted = z + shift[:, None, None]
        ray = weight * xy / shifted
        square = (ray * ray).sum((1, 2)).clamp_min(1e-12)
        focal = (ray * uv).sum((1, 2)) / square
        residual = weight * (focal[:, None, None] * ray - uv)
        slope_ray = -ray / shifted
        slope_focal = ((slope_ray * uv).sum((1, 2)) - 2 * focal * (ray * slope_ray).sum((1, 2))) / square
        slope = slope_focal[:, None, None] * ray + focal[:, None, None] * slope_ray
        return focal, (residual**2).sum((1, 2)), (residual * slope).sum((1, 2)), (slope**2).sum((1, 2))

    shift = torch.zeros_like(nearest)
    focal, cost, gradient, curvature = project(shift)
    damping = torch.full_like(shift, 1e-6)
    for _ in range(FIT_STEPS):
        trial = torch.maximum(shift - gradient / (curvature * (1 + damping) + 1e-12), -0.99 * nearest)
        tried = project(trial)
        better = tried[1] < cost
        shift = torch.where(better, trial, shift)
        focal, cost, gradient, curvature = (
            torch.where(better, new, old) for new, old in zip(tried, (focal, cost, gradient, curvature), strict=True)
        )
        damping = torch.where(better, damping / 10, damping.clamp_min(1e-3) * 10)
    enough = weight.sum((1, 2)) >= 2
    one, zero = torch.ones_like(focal), torch.zeros_like(shift)
    return torch.where(enough, focal, one).float(), torch.where(enough, shift, zero).float()


def load_moge(paths: Mapping[str, str], settings: DepthSettings) -> MoGe:
    """Loads MoGe-2 from the authors' checkpoint, which holds its configuration.

    Raises:
      WeightsError: if the weights do not fit.
    """
    (path,) = paths.values()
    checkpoint = read_checkpoint(path)
    if not isinstance(checkpoint, Mapping) or not {"model", "model_config"} <= set(checkpoint):
        raise WeightsError(f"{path!r} is not a MoGe checkpoint: it has no `model` and `model_config`")
    config = dict(checkpoint["model_config"])
    try:
        network = MoGe2(config)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path!r} is not a MoGe-2 model: {error!r}") from error
    # The head for surface normals, which some models have, is not used.
    state = {name: value for name, value in checkpoint["model"].items() if not name.startswith("normal_head.")}
    load_tensors(network, state, path)
    return MoGe(network.prepare(DTYPES[settings.precision]), settings)
