"""Rendered clips with exact truth, made from a seed alone."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.testbed.camera_motions import MOTIONS, CameraMotion, cam_from_world, make_motion
from benchmarks.testbed.movers import add_movers
from benchmarks.testbed.raster import Camera, Surfaces, exposure_flow, rasterize, shade
from benchmarks.testbed.scenes import SCENES, Scene, make_scene
from benchmarks.testbed.textures import make_atlas, make_cutouts
from core.arrays import BoolArray, Float32Array, Float64Array, UInt8Array

ANNOTATED_HZ = 5
SENSOR_MM = 36.0
BIT_RATES = (250_000, 700_000, 2_500_000)
MAX_DEPTH_M = 65.0
"""Truth ends here: what is farther, the sky, water and glass have no true depth."""
MAX_BLUR_TAPS = 11

Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipPlan:
    """Random choices of a seed, before anything is rendered.

    Attributes:
      seed: even seeds are for tuning, odd ones for reports only.
      scene, motion: names in `SCENES` and `MOTIONS`.
      seconds, fps: of the clip; fps is a multiple of 5.
      focal_mm: focal length on a sensor 36 mm wide.
      k1: radial distortion as in OpenCV.
      moving_share: about what share of the pixels moves.
      exposure_s: of a frame; motion blurs it.
      readout_s: from the first to the last row of a frame.
      gain, balance: how much exposure and white balance drift, in powers of two.
      noise: standard deviation in gray levels.
      bit_rate: of the H.264 file at 640 x 360.
    """

    seed: int
    scene: str
    motion: str
    seconds: float
    fps: int
    focal_mm: float
    k1: float
    moving_share: float
    exposure_s: float
    readout_s: float
    gain: float
    balance: float
    noise: float
    bit_rate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedClip:
    """A clip before encoding, and its truth.

    Attributes:
      plan: what was rendered.
      frames: (h, w, 3) uint8 RGB each, distorted as the plan says.
      times_s: (n,) of the middle row of the frames.
      cam_from_world: (n, 7) tx ty tz qx qy qz qw in meters, at these times.
      intrinsics_px: (n, 4) fx fy cx cy; they vary in zooms only.
      depth_m: by frame index, (h, w) float32 z-depth of annotated frames (with a rolling shutter: from each row's own
        pose); NaN for the sky, beyond `MAX_DEPTH_M`, and on water and glass.
      moving: by frame index, (h, w) bool, pixels of moving bodies; water and glass are not.
    """

    plan: ClipPlan
    frames: list[UInt8Array]
    times_s: Float64Array
    cam_from_world: Float64Array
    intrinsics_px: Float64Array
    depth_m: dict[int, Float32Array]
    moving: dict[int, BoolArray]


def make_plan(seed: int) -> ClipPlan:
    """Returns the plan of a seed.

    Scenes and motions take turns, so that any 80 consecutive seeds have all pairs.
    """
    rng = np.random.default_rng([seed, 101])
    # Pairs of seeds share scene and motion: both halves of the seeds have all of them.
    turn = seed // 2
    scene = list(SCENES)[turn % len(SCENES)]
    motion = list(MOTIONS)[(turn + turn // 40) % len(MOTIONS)]
    fps = int(rng.choice([10, 10, 15]))
    return ClipPlan(
        seed=seed,
        scene=scene,
        motion=motion,
        seconds=float(rng.integers(50, 81)) / 10,
        fps=fps,
        focal_mm=float(np.exp(rng.uniform(np.log(20), np.log(120))))
        if rng.random() < 0.6
        else float(rng.uniform(22, 40)),
        k1=float(rng.uniform(-0.08, 0.03)) if rng.random() < 0.4 else 0.0,
        moving_share=float(rng.uniform(0.05, 0.7)) if rng.random() < 0.55 else 0.0,
        exposure_s=float(rng.uniform(0.004, 0.035)),
        readout_s=float(rng.uniform(0.008, 0.028)) if rng.random() < 0.4 else 0.0,
        gain=float(rng.uniform(0.1, 0.8)) if rng.random() < 0.4 else 0.0,
        balance=float(rng.uniform(0.05, 0.3)) if rng.random() < 0.3 else 0.0,
        noise=float(rng.uniform(0.5, 6.0)),
        bit_rate=int(rng.choice(BIT_RATES)),
    )


def make_clip(seed: int, *, size: Size = (640, 360), seconds: float | None = None) -> RenderedClip:
    """Renders a clip. Equal arguments give equal bytes.

    Args:
      seed: decides everything.
      size: (width, height) in pixels.
      seconds: length; by default the plan's, 5 to 8.
    """
    plan = make_plan(seed)
    renderer = _Renderer(plan, size)
    num = round((seconds or plan.seconds) * plan.fps)
    step = plan.fps // ANNOTATED_HZ
    frames, depth_m, moving = [], {}, {}
    for k in range(num):
        seen, frame = renderer.expose(k)
        frames.append(frame)
        if k % step == 0:
            depth_m[k], moving[k] = _true_maps(seen)
    times_s = np.arange(num) / plan.fps
    focal = np.array([renderer.focal_px(t) for t in times_s])
    center = (np.array(size) - 1) / 2
    return RenderedClip(
        plan=plan,
        frames=frames,
        times_s=times_s,
        cam_from_world=cam_from_world(*renderer.motion.poses(times_s)),
        intrinsics_px=np.stack([focal, focal, *np.broadcast_to(center[:, None], (2, num))], -1),
        depth_m=depth_m,
        moving=moving,
    )


def make_world(plan: ClipPlan, aspect: float = 16 / 9) -> tuple[Scene, CameraMotion]:
    """Returns the scene and the camera's motion of a plan."""
    rng = np.random.default_rng([plan.seed, 102])
    motion = make_motion(plan.motion, rng, plan.seconds, plan.focal_mm)
    builder = make_scene(plan.scene, rng, motion)
    add_movers(builder, plan.moving_share, plan.focal_mm / SENSOR_MM, aspect)
    return builder.build(), motion


class _Renderer:
    def __init__(self, plan: ClipPlan, size: Size) -> None:
        self.plan, self.size = plan, size
        self.scene, self.motion = make_world(plan, size[0] / size[1])
        self.rng = np.random.default_rng([plan.seed, 103])
        self.atlas, self.cutouts = make_atlas(self.rng), make_cutouts(self.rng)
        self.hertz, self.phase = self.rng.uniform(0.1, 0.6, 4), self.rng.uniform(0, 2 * np.pi, 4)
        width, height = size
        self.grain = np.float32(plan.noise) * self.rng.standard_normal((height + 64, width + 64, 3), np.float32)

    def focal_px(self, time_s: float) -> float:
        return self.size[0] * self.plan.focal_mm / SENSOR_MM * self.motion.zoom_at(time_s)

    def camera(self, time_s: float, readout_s: float) -> Camera:
        height = self.size[1]
        offsets = (np.arange(height) / (height - 1) - 0.5) * readout_s if readout_s else np.zeros(1)
        centers, world_from_cam = self.motion.poses(time_s + offsets)
        focal = self.focal_px(time_s)
        return Camera(size=self.size, focal_px=focal, k1=self.plan.k1, centers=centers, world_from_cam=world_from_cam)

    def expose(self, index: int) -> tuple[Surfaces, UInt8Array]:
        """Returns what a frame sees and its image."""
        plan, time_s = self.plan, index / self.plan.fps
        seen = rasterize(self.scene.at(time_s), self.camera(time_s, plan.readout_s), self.cutouts)
        image = shade(seen, self.atlas, self.cutouts, time_s)
        end_s = time_s + plan.exposure_s / 2
        half = exposure_flow(seen, self.scene.at(end_s), self.camera(end_s, 0.0))
        image = _blur(image, np.asarray(cv2.resize(2 * half, self.size), np.float32))
        waves = np.sin(2 * np.pi * self.hertz * time_s + self.phase)
        if plan.gain or plan.balance:
            image = image * np.exp2(plan.gain * waves[0] + plan.balance * waves[1:]).astype(np.float32)
        top, left = self.rng.integers(0, 64, 2)
        grain = self.grain[top : top + self.size[1], left : left + self.size[0]]
        return seen, np.asarray(cv2.add(image, grain, dtype=cv2.CV_8U), np.uint8)


def _blur(image: Float32Array, motion: Float32Array) -> Float32Array:
    """Motion blur of an image (h, w, 3) by each pixel's motion (h, w, 2)."""
    longest = float(np.percentile(np.abs(motion).max(-1), 95))
    if longest < 0.7:
        return image
    taps = min(MAX_BLUR_TAPS, 2 + int(longest))
    height, width = image.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    dx, dy = np.ascontiguousarray(np.moveaxis(np.clip(motion, -80, 80), -1, 0))
    sharp = np.clip(image, 0, 255).astype(np.uint8)
    total = np.zeros_like(image)
    for k in range(taps):
        share = np.float32((k + 0.5) / taps - 0.5)
        moved = cv2.remap(sharp, x + share * dx, y + share * dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        cv2.accumulate(moved, total)
    return total / np.float32(taps)


def _true_maps(seen: Surfaces) -> tuple[Float32Array, BoolArray]:
    """Returns depth and moving pixels of a frame."""
    mirror, mover = np.append(seen.quads.mirror, True), np.append(seen.quads.mover, -1)
    known = (seen.hits[2] > 1 / MAX_DEPTH_M) & ~mirror[seen.quad]
    depth = np.where(known, 1 / np.maximum(seen.hits[2], 1e-6), np.nan)
    return depth.astype(np.float32), mover[seen.quad] >= 0
