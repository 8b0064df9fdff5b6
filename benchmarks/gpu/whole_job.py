"""The whole job on a GPU: many clips, and the GPU's utilization.

    python -m benchmarks.gpu.whole_job WORK [--clips 64] [--seconds 10] [--workers 6] [--window 60 8] [--output FILE]

Videos of 720p are rendered and annotated with the profile `spatialvid`. Each is one clip; scores and captions by models
are left out. Weights are random, in the published formats (`benchmarks.gpu.random_weights`). Tracker and RAFT run in
full, then their flow is replaced by that of a rendered room, so that keyframes, edges and optimization are those of a
moving camera (`benchmarks.gpu.exact_flow`); some pixels are marked as moving, so that there is something to segment.

Utilization is measured by NVML from the first GPU work, the loading of models included, to the last, and by the
profiler in a window of time on request (`benchmarks.gpu.watch`).
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import threading
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from beam_pipeline.config import load_config
from beam_pipeline.job import run_job
from beam_pipeline.runners.engines import make_options
from benchmarks.gpu.exact_flow import ExactFlow, RoomClip, exact_clip_flow, make_clip
from benchmarks.gpu.random_weights import write_weights
from benchmarks.gpu.tracking import MOTIONS, wander
from benchmarks.gpu.watch import GpuWatch
from core.digest import digest_value
from models.flow.raft_clip import ClipFlow, estimate_clip_flow
from models.slam import clips as chain
from models.slam.features import FrameFeatures
from models.slam.network import FlowUpdate, TrackingNetwork
from models.slam.tracker import track_clips
from storage.sources import make_spec
from transforms.handlers import device

SIZE, WORKING_SIZE = (1280, 720), (584, 328)
ANNOTATED_FPS = 5
OVERRIDES = (
    "thresholds.limits={motion_score: null, luminance_score: null, ocr_score: null, aesthetic_score: null}",
    "text.model=none",
    "aesthetic.model=none",
    "analysis.shots.mode=whole",
    "duplicates.find=false",
)
ROOMS = 8
MOVING = (slice(10, 20), slice(20, 32))
"""Cells of the features that are marked as moving."""


Truth = tuple[RoomClip, ClipFlow]
"""Output of tracker and RAFT for a clip."""


def make_truth(frames: int, seed: int) -> Truth:
    torch.set_num_threads(1)
    poses = wander(frames, *MOTIONS["mid"], seed)
    room = make_clip(poses, WORKING_SIZE, seed, 1.03 if seed % 2 else 0.97, 0.03)
    return room, exact_clip_flow(poses, WORKING_SIZE, "cpu")[1]


class MovingExactFlow(ExactFlow):
    """Predicts exact flow and some moving pixels."""

    def predict(self, *arguments: Any) -> FlowUpdate:
        update = super().predict(*arguments)
        if update.static is not None:
            update.static[:, *MOVING] = 0
        return update


@contextmanager
def exact_answers(truths: Sequence[Truth]) -> Iterator[None]:
    """Replaces outputs of tracker and RAFT by those of a room."""

    def truth_of(image: Any) -> Truth:
        return truths[zlib.crc32(np.asarray(image).tobytes()) % len(truths)]

    def to_track(clip: Any, depth: Any, size: tuple[int, int]) -> Any:
        asked = chain_to_track(clip, depth, size)
        return replace(truth_of(asked.images[0])[0].clip, images=asked.images, times_s=asked.times_s)

    def track(network: TrackingNetwork, clips: Sequence[Any], settings: Any, **_: Any) -> Any:
        rooms = [truth_of(clip.images[0])[0] for clip in clips]

        def predictor(network: TrackingNetwork, features: FrameFeatures) -> ExactFlow:
            return MovingExactFlow(network, features, rooms, True)

        return track_clips(network, clips, settings, predictor)

    def flow(network: Any, images: Tensor) -> ClipFlow:
        found = estimate_clip_flow(network, images)
        exact = truth_of(images[0])[1]
        return replace(
            found,
            flow_px=exact.flow_px.to(found.flow_px.device),
            is_consistent=exact.is_consistent.to(found.flow_px.device),
        )

    chain_to_track = chain._slam_input
    with (
        mock.patch.object(chain, "_slam_input", to_track),
        mock.patch.object(chain, "track_clips", track),
        mock.patch.object(chain, "estimate_clip_flow", flow),
        mock.patch("models.registry.resolve.check_file", lambda *_, **__: None),
    ):
        yield


def make_films(folder: Path, number: int, seconds: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        list(pool.map(make_filmstrip, [folder] * number, range(number), [seconds] * number))


def make_truths(seconds: float) -> list[Truth]:
    with ProcessPoolExecutor(ROOMS, mp_context=get_context("spawn")) as pool:
        return list(pool.map(make_truth, [round(ANNOTATED_FPS * seconds)] * ROOMS, range(ROOMS)))


def make_filmstrip(folder: Path, seed: int, seconds: float) -> None:
    path = folder / f"film_{seed:03d}.mp4"
    if not path.exists():
        rendering = importlib.import_module("tests.support.rendering")
        rendering.write_video(path, rendering.render_shot(seed, round(25 * seconds), SIZE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for videos, weights and output")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--turns", type=int, default=device.TURNS, help="threads that work on the GPU at a time")
    parser.add_argument("--window", type=float, nargs=2, help="start and length, s, under the profiler, which slows")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    films, models = arguments.work / f"films_{arguments.seconds:g}s_{arguments.clips}", arguments.work / "models"
    make_films(films, arguments.clips, arguments.seconds)
    if not models.exists():
        write_weights(models)
    os.environ["SPATIALBEAM_MODELS"] = str(models)
    config = load_config("spatialvid", [*OVERRIDES, *arguments.overrides])
    chosen = [] if arguments.workers is None else [f"--direct_num_workers={arguments.workers}"]
    options = make_options(chosen, share_models=True)
    folder = next(p for k in count() if not (p := arguments.work / f"out_{k}").exists())
    truths = make_truths(arguments.seconds)
    print("videos, weights and rooms are made", flush=True)
    turns = (
        mock.patch.object(device, "TURNS", arguments.turns),
        mock.patch.object(device, "_turns", threading.Semaphore(arguments.turns)),
    )
    watch = GpuWatch(arguments.window, report=True)
    with exact_answers(truths), turns[0], turns[1], watch:
        result = run_job(config, [make_spec(str(films))], str(folder), options, show_progress=False)
    first, last = watch.in_use
    run, manifest = (json.loads((folder / name).read_text()) for name in ("run.json", "manifest.json"))
    found = {
        "GPU": torch.cuda.get_device_name(),
        "clips": arguments.clips,
        "frames a clip": round(ANNOTATED_FPS * arguments.seconds),
        "turns": arguments.turns,
        "clips kept": result.accounting.clips_kept,
        "clips failed": result.accounting.clips_failed,
        "seconds of the job": result.seconds,
        "seconds a clip": result.seconds / arguments.clips,
        "seconds from the GPU's first to its last work": last - first,
        "GPU busy from first to last, NVML": watch.busy(),
        "GPU busy in the window, profiler": watch.profiled,
        "peak GiB in use": torch.cuda.max_memory_allocated() / 2**30,
        "peak GiB held": torch.cuda.max_memory_reserved() / 2**30,
        "digest of the shards": digest_value(manifest["files"]),
        "stage times": run["stage_times"],
    }
    print(json.dumps(found, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1))
        watch.save(arguments.output.with_suffix(".csv"))


if __name__ == "__main__":
    main()
