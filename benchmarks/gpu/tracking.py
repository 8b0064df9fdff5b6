"""Tracking on a GPU: operators alone, then whole batches of clips, with accuracy.

    python -m benchmarks.gpu.tracking [--clips 8] [--output results.json]

Weights are random; the flow is exact (`benchmarks.gpu.exact_flow`). Sizes are those of a 720p clip: 328 x 584.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.exact_flow import ExactFlow, RoomClip, errors, make_clip
from benchmarks.gpu.timing import median_ms
from core.arrays import Float64Array
from models.networks.correlation import FeaturePyramid, correlate
from models.slam import dense_ba
from models.slam.bundle_plan import plan_bundle
from models.slam.features import FrameFeatures
from models.slam.geometry import Cameras, frame_distance, reproject
from models.slam.network import EdgeGroups, TrackingNetwork, build_tracking_network
from models.slam.tracker import track_clips
from native import se3
from native.cuda.build import LIBRARY

SIZE = (584, 328)
FEATURES = (41, 73)
FRAMES = 47
# Meters a second and degrees of swing: mean flow of 0.9, 1.3 and 3.1 px a frame at 1/8 of the size.
MOTIONS = {"slow": (0.45, 7.0), "mid": (0.75, 9.0), "fast": (1.7, 17.0)}


def wander(frames: int, speed: float, turn_deg: float, seed: int) -> Float64Array:
    """Returns poses (t, 7) in meters of a camera that wanders in the room."""
    t = np.arange(frames) / 5.0
    phase = 2.4 * seed
    reach = min(speed / 0.9, 0.9)
    rate = speed / reach
    center = np.stack(
        [
            0.3 + reach * np.sin(rate * t + phase),
            -0.1 + 0.3 * reach * np.sin(1.3 * rate * t),
            -3.3 + 0.6 * reach * np.cos(0.8 * rate * t + phase),
        ],
        1,
    )
    sway = np.radians(turn_deg)
    tangent = np.stack([np.zeros_like(t)] * 3 + [0.4 * sway * np.sin(t), sway * np.sin(0.7 * t + phase), 0 * t], 1)
    turn = se3.exp(tangent)[:, 3:]
    still = np.concatenate([-center, np.tile([0.0, 0.0, 0.0, 1.0], (frames, 1))], 1)
    return se3.compose(np.concatenate([np.zeros((frames, 3)), turn], 1), still)


def make_rooms(count: int, motion: str) -> list[RoomClip]:
    speed, turn = MOTIONS[motion]
    poses = [wander(FRAMES, speed, turn, seed) for seed in range(count)]
    return [make_clip(p, SIZE, seed, 1.03 if seed % 2 else 0.97, 0.03) for seed, p in enumerate(poses)]


def time_operators(network: TrackingNetwork) -> dict[str, float]:
    """Milliseconds of one call of each operator."""
    device = torch.device("cuda")
    found: dict[str, float] = {}
    images = torch.randint(0, 256, (FRAMES, 3, SIZE[1], SIZE[0]), dtype=torch.uint8, device=device)
    found["encoders, 16 frames"] = median_ms(lambda: network.encode(images[:16]))
    features, net, context = network.encode(images[:16])
    cameras = room_cameras(FRAMES)
    pyramid = FeaturePyramid.from_features(features.repeat(3, 1, 1, 1)[:FRAMES])
    for edges in (48, 100, 200, 382):
        i, j = ring(FRAMES, edges)
        coords = reproject(cameras, i, j)
        found[f"reproject, {edges} edges"] = median_ms(partial(reproject, cameras, i, j))
        found[f"correlation, {edges} edges"] = median_ms(partial(correlate, pyramid, i, j, coords))
        if edges <= 200:
            groups = EdgeGroups(i.cpu().numpy(), device)
            motion = torch.randn(edges, 4, *FEATURES, device=device, dtype=torch.float16)
            correlation = correlate(pyramid, i, j, coords)
            call = partial(network.update.forward, net[i % 16], context, i % 16, correlation, motion, groups)
            found[f"update operator, {edges} edges"] = median_ms(call)
    i, j = torch.cartesian_prod(torch.arange(FRAMES), torch.arange(FRAMES)).to(device).unbind(1)
    found["frame distance, all pairs of 47"] = median_ms(partial(frame_distance, cameras, i, j, 0.3))
    for frames, edges in ((8, 36), (25, 138), (47, 400)):
        found |= time_adjustment(frames, edges)
    return found


def time_adjustment(frames: int, edges: int) -> dict[str, float]:
    cameras = room_cameras(frames)
    i, j = ring(frames, edges)
    clip_of = np.zeros(frames, np.int64)
    plan = plan_bundle(i.cpu().numpy(), j.cpu().numpy(), clip_of, [np.arange(1, frames)], i.device)
    projected = reproject(cameras, i, j)
    weight = torch.rand_like(projected)
    eta, alpha = torch.full_like(cameras.inverse_depth, 1e-5), torch.full((1,), 0.05, device=i.device)
    moves = torch.ones(1, dtype=torch.bool, device=i.device)
    found = {}
    for name, with_focal, options in (
        ("", None, dense_ba.DenseBAOptions()),
        (", poses only", None, dense_ba.DenseBAOptions(motion_only=True)),
        (", with focal length", moves, dense_ba.DenseBAOptions()),
        (", with focal length, 4 steps", moves, dense_ba.DenseBAOptions(iterations=4)),
    ):
        call = partial(dense_ba.adjust, cameras, plan, projected, weight, eta, alpha, with_focal, options)
        found[f"adjustment, {frames} frames, {edges} edges{name}"] = median_ms(call)
    return found


def room_cameras(frames: int) -> Cameras:
    room = make_clip(wander(frames, 0.5, 6.0, 0), SIZE)
    device = torch.device("cuda")
    matrices = torch.from_numpy(se3.to_matrix(room.cam_from_world)).to(device)
    depth = torch.from_numpy(1 / room.feature_depth).float().to(device)
    camera = np.asarray(room.clip.intrinsics_px) / 8
    return Cameras(
        rotation=matrices[:, :3, :3].contiguous(),
        translation=matrices[:, :3, 3].contiguous(),
        inverse_depth=depth,
        prior=depth.clone(),
        intrinsics=torch.from_numpy(camera)[None].to(device),
        clip=torch.zeros(frames, dtype=torch.int64, device=device),
    )


def ring(frames: int, edges: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Edges to the nearest frames, sorted by source."""
    pairs = [(i, i + d) for d in range(1, frames) for i in range(frames - d)]
    both = sorted([p for pair in pairs for p in (pair, pair[::-1])][:edges])
    i, j = torch.tensor(both, device="cuda").unbind(1)
    return i, j


def time_clips(network: TrackingNetwork, count: int, motion: str) -> dict[str, Any]:
    """Seconds and accuracy of one batch, after a small one to warm up."""
    rooms = make_rooms(count, motion)
    made: list[ExactFlow] = []

    def predictor(network: TrackingNetwork, features: FrameFeatures) -> ExactFlow:
        made.append(ExactFlow(network, features, rooms, True))
        return made[-1]

    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    tracks = track_clips(network, [room.clip for room in rooms], None, predictor)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - begin
    found = [errors(room, track) for room, track in zip(rooms, tracks, strict=True)]
    lengths = [np.linalg.norm(np.diff(se3.invert(r.cam_from_world)[:, :3], axis=0), axis=1).sum() for r in rooms]
    return {
        "clips": count,
        "motion": motion,
        "seconds a clip": seconds / count,
        "keyframes": float(np.mean([len(track.keyframes) for track in tracks])),
        "operator calls": made[0].calls,
        "edge updates a clip": made[0].edges / count,
        "worst ATE, mm": max(e[0] * s * r.meters * 1000 for e, s, r in zip(found, lengths, rooms, strict=True)),
        "worst focal error": max(abs(e[1]) for e in found),
        "peak GiB": torch.cuda.max_memory_allocated() / 2**30,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    network = build_tracking_network(None, "cuda")
    print(torch.cuda.get_device_name(), "kernels built" if LIBRARY.exists() else "without kernels")
    with torch.inference_mode():
        operators = time_operators(network)
    for name, value in operators.items():
        print(f"{value:9.3f} ms  {name}")
    time_clips(network, 2, "mid")
    runs = [time_clips(network, n, m) for n, m in [(1, "mid"), *((arguments.clips, m) for m in MOTIONS)]]
    for run in runs:
        print({key: round(value, 5) if isinstance(value, float) else value for key, value in run.items()})
    if arguments.output:
        arguments.output.write_text(json.dumps({"operators_ms": operators, "clips": runs}, indent=1))


if __name__ == "__main__":
    main()
