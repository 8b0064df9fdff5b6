"""Time of whole clips on a GPU from frames to masks, stage by stage.

    python -m benchmarks.gpu.whole_clip [--clips 8] [--motion mid] [--output results.json]

Clips of 47 frames of 720p, batched as the job batches them. Weights are random; tracking and consistent depth get the
exact flow of a rendered room while the networks still run in full (`benchmarks.gpu.exact_flow`), so that keyframes,
edges and optimization are those of a moving camera. Decoding and writing are not included.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.exact_flow import ExactFlow, exact_clip_flow
from benchmarks.gpu.frame_models import MOGE_LARGE, PROMPTS, depth_anything, sam
from benchmarks.gpu.tracking import FRAMES, MOTIONS, SIZE, make_rooms, wander
from models.depth.consistent import make_consistent
from models.depth.moge import MoGe
from models.depth.settings import DepthSettings
from models.flow.raft import build_raft
from models.flow.raft_clip import estimate_clip_flow
from models.networks.moge import MoGe2
from models.slam.features import FrameFeatures
from models.slam.network import TrackingNetwork
from models.slam.network import build_tracking_network as build_tracker
from models.slam.tracker import track_clips

CLIP_SIZE, MAP_SIZE = (1280, 720), (640, 360)


class Stages:
    """Seconds by stage, to the end of its work on the device."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, name: str, call: Callable[[], Any]) -> Any:
        torch.cuda.synchronize()
        begin = time.perf_counter()
        result = call()
        torch.cuda.synchronize()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin
        return result


def make_moving() -> np.ndarray:
    """(360, 640) bool: four moving objects, each a prompt."""
    moving = np.zeros(MAP_SIZE[::-1], bool)
    for k in range(PROMPTS):
        moving[40 + 70 * k : 90 + 70 * k, 60 + 140 * k : 150 + 140 * k] = True
    return moving


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--motion", choices=MOTIONS, default="mid")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    count = arguments.clips
    torch.manual_seed(0)
    relative, masks = depth_anything("fp16"), sam("bf16")
    metric = MoGe(MoGe2(MOGE_LARGE).prepare(torch.float16), DepthSettings())
    tracker, raft = build_tracker(None, "cuda"), build_raft(None, "cuda")
    rooms = make_rooms(count, arguments.motion)
    flows = [exact_clip_flow(wander(FRAMES, *MOTIONS[arguments.motion], k), SIZE, "cuda")[1] for k in range(count)]
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (*CLIP_SIZE[::-1], 3), np.uint8) for _ in range(count * FRAMES)]
    moving = np.broadcast_to(make_moving(), (len(frames), *MAP_SIZE[::-1]))

    def predictor(network: TrackingNetwork, features: FrameFeatures) -> ExactFlow:
        return ExactFlow(network, features, rooms, True)

    def consistent(stages: Stages) -> None:
        for room, track, flow in zip(rooms, tracks, flows, strict=True):
            images = torch.from_numpy(room.clip.images)
            stages.time("RAFT flow", partial(estimate_clip_flow, raft, images))
            given: Any = (1 / room.clip.depth, track.static, track.cam_from_world, track.intrinsics_px, flow)
            stages.time("consistent depth", partial(make_consistent, *given))

    for stages in (Stages(), Stages()):  # the first run warms up
        stages.time("Depth Anything V2", lambda: relative.predict(frames, MAP_SIZE))
        stages.time("MoGe-2", lambda: metric.predict(frames, MAP_SIZE))
        clips = [room.clip for room in rooms]
        tracks = stages.time("tracking", partial(track_clips, tracker, clips, None, predictor))
        consistent(stages)
        stages.time("SAM 2.1", lambda: masks.refine(frames, moving))
    found = {name: seconds / count for name, seconds in stages.seconds.items()}
    found["whole clip"] = sum(found.values())
    print(torch.cuda.get_device_name(), f"{count} clips of {FRAMES} frames, {arguments.motion} motion")
    for name, value in found.items():
        print(f"{value:8.3f} s a clip  {name}")
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
