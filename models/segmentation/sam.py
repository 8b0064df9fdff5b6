"""Masks of moving objects by SAM 2.1, prompted by dynamic masks.

Ravi et al. 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from core.arrays import BoolArray, Float32Array, Int32Array, Int64Array, UInt8Array
from models.networks.batches import BatchRunner
from models.networks.dinov2 import MEAN_RGB, STD_RGB
from models.networks.hiera import INPUT_PX
from models.networks.pixels import DTYPES, normalize, to_unit
from models.networks.sam2 import Sam2
from models.segmentation.settings import MaskSettings

MIN_AREA_SHARE = 0.001
PROMPTS_AT_ONCE = 32
POINT_LABELS = (2, 3, 1)
"""SAM's labels of the two corners of a box and of a foreground point."""
SAME_OBJECT_OVERLAP = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Box and point prompts of moving regions.

    Attributes:
      frame: (p,) int64 frame index of each prompt.
      points: (p, 3, 2) float32 x, y in pixels of the network's input: corners of the box, innermost point.
      region: (p,) int32 label of the region in `labels`.
      labels: (n, h, w) int32 connected components, 0 for static pixels.
    """

    frame: Int64Array
    points: Float32Array
    region: Int32Array
    labels: Int32Array


def prompts_from_masks(is_moving: BoolArray, max_prompts: int) -> Prompts:
    """Box and innermost point of each frame's moving regions, largest first.

    Args:
      is_moving: (n, h, w) bool; regions under a thousandth of the frame are skipped.
      max_prompts: most prompts of a frame.
    """
    frames: list[int] = []
    points: list[list[tuple[float, float]]] = []
    regions: list[int] = []
    labels = np.zeros(is_moving.shape, np.int32)
    height, width = is_moving.shape[1:]
    scale_x, scale_y = INPUT_PX / width, INPUT_PX / height
    for index, mask in enumerate(is_moving):
        _, labels[index], stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        areas = stats[1:, cv2.CC_STAT_AREA]
        for region in (1 + np.argsort(-areas, kind="stable"))[:max_prompts].tolist():
            left, top, wide, high, area = stats[region].tolist()
            if area < MIN_AREA_SHARE * mask.size:
                break
            inside = np.pad((labels[index, top : top + high, left : left + wide] == region).astype(np.uint8), 1)
            depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
            # Of the innermost points, the one nearest to the center of the box.
            rows, columns = np.nonzero(depth >= 0.95 * depth.max())
            nearest = ((rows - high / 2) ** 2 + (columns - wide / 2) ** 2).argmin()
            row, column = int(rows[nearest]), int(columns[nearest])
            frames.append(index)
            points.append(
                [
                    (left * scale_x, top * scale_y),
                    ((left + wide) * scale_x, (top + high) * scale_y),
                    ((left + column + 0.5) * scale_x, (top + row + 0.5) * scale_y),
                ]
            )
            regions.append(region)
    return Prompts(
        frame=np.array(frames, np.int64),
        points=np.array(points, np.float32).reshape(-1, 3, 2),
        region=np.array(regions, np.int32),
        labels=labels,
    )


class SamMasks:
    """SAM 2.1 behind the interface of `MaskModel`.

    Args:
      network: loaded network.
      settings: device, batches and thresholds.
    """

    def __init__(self, network: Sam2, settings: MaskSettings) -> None:
        self._settings = settings
        self._device = torch.device(settings.device)
        self._dtype = DTYPES[settings.precision]
        self._network = network.prepare(self._device, self._dtype)
        self.halvings = 0

    def refine(self, frames_rgb_u8: Sequence[UInt8Array], is_moving: BoolArray) -> BoolArray:
        """Refined masks, see `MaskModel.refine`.

        A region stays as it is if its mask covers too little of it or too much of the frame.
        """
        prompts = prompts_from_masks(is_moving, self._settings.max_prompts)
        size = (is_moving.shape[1], is_moving.shape[2])

        def compute(images: Tensor, first: int) -> tuple[Tensor]:
            selected = np.flatnonzero((prompts.frame >= first) & (prompts.frame < first + len(images)))
            labels = torch.from_numpy(prompts.labels[first : first + len(images)]).to(self._device)
            if not len(selected):
                return (labels > 0,)
            found = torch.zeros(labels.shape, dtype=torch.bool, device=self._device)
            features = self.embed(images)
            refused = labels.clone()
            for start in range(0, len(selected), PROMPTS_AT_ONCE):
                batch = selected[start : start + PROMPTS_AT_ONCE]
                where = torch.from_numpy(prompts.frame[batch] - first).to(self._device)
                region = labels[where] == torch.from_numpy(prompts.region[batch]).to(self._device)[:, None, None]
                masks, accepted = self._decode_prompts(features, where, prompts.points[batch], region, size)
                for frame, mask, is_good, part in zip(where.tolist(), masks, accepted, region, strict=True):
                    found[frame] |= mask & is_good
                    refused[frame] = torch.where(part & is_good, 0, refused[frame])
            return (found | (refused > 0),)

        runner = BatchRunner(compute, self._device, self._settings.batch_frames, self._settings.batch_mib << 20)
        (masks,) = runner.run(frames_rgb_u8)
        self.halvings += runner.halvings
        return np.asarray(masks, bool)

    def propagate(self, frames_rgb_u8: Sequence[UInt8Array], masks: BoolArray) -> BoolArray:
        """See `MaskModel.propagate`. By SAM's memory, the largest regions first.

        A region that is mostly covered by the masks of earlier objects is taken for one of them.
        """
        objects = _objects(masks)
        if not objects:
            return masks
        size = (masks.shape[1], masks.shape[2])
        step = self._settings.batch_frames
        propagated = np.zeros_like(masks)
        num_propagated = 0
        with torch.inference_mode():
            parts = [
                self.embed(torch.from_numpy(np.stack(frames_rgb_u8[start : start + step])).to(self._device))
                for start in range(0, len(frames_rgb_u8), step)
            ]
            features = [torch.cat(level) for level in zip(*parts, strict=True)]
            for seed, region in objects:
                if (propagated[seed] & region).sum() > SAME_OBJECT_OVERLAP * region.sum():
                    continue
                wide = cv2.resize(region.astype(np.uint8), (INPUT_PX, INPUT_PX), interpolation=cv2.INTER_NEAREST_EXACT)
                logits = self._network.propagate(features, torch.from_numpy(wide > 0).to(self._device), seed)
                propagated |= (F.interpolate(logits[:, None], size, mode="bilinear")[:, 0] > 0).cpu().numpy()
                num_propagated += 1
                if num_propagated == self._settings.max_things:
                    break
        return np.asarray(masks | propagated, bool)

    def embed(self, images_u8: Tensor) -> list[Tensor]:
        """Image features of RGB images, resized to a square as in training.

        Images are (n, h, w, 3) uint8.
        """
        unit = to_unit(images_u8)
        wide = F.interpolate(unit, (INPUT_PX, INPUT_PX), mode="bilinear", antialias=True)
        return self._network.embed(normalize(wide, MEAN_RGB, STD_RGB).to(self._dtype))

    def _decode_prompts(
        self,
        features: list[Tensor],
        where: Tensor,
        points: Float32Array,
        region: Tensor,
        size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Masks (p, h, w) of prompts, and whether each passes the thresholds (p,)."""
        labels = torch.tensor(POINT_LABELS, device=self._device).expand(len(points), -1)
        logits, _ = self._network.decode(
            [level[where] for level in features], torch.from_numpy(points).to(self._device), labels
        )
        masks = F.interpolate(logits[:, None].float(), size, mode="bilinear")[:, 0] > 0
        share = masks.float().mean(dim=(1, 2))
        overlap = (masks & region).sum(dim=(1, 2)) / region.sum(dim=(1, 2)).clamp_min(1)
        return masks, (share <= self._settings.max_area_share) & (overlap >= self._settings.min_overlap)


def _objects(masks: BoolArray) -> list[tuple[int, BoolArray]]:
    """Frame and mask of each connected region that is not tiny, largest first."""
    found: list[tuple[int, int, BoolArray]] = []
    for index, mask in enumerate(masks):
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        areas = stats[:, cv2.CC_STAT_AREA].tolist()
        found += [
            (areas[region], index, labels == region)
            for region in range(1, count)
            if areas[region] >= MIN_AREA_SHARE * mask.size
        ]
    return [(index, region) for _, index, region in sorted(found, key=lambda region: (-region[0], region[1]))]
