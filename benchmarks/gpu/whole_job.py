"""The whole job on a GPU: many clips through the Beam graph, and how busy the GPU is meanwhile.

    python -m benchmarks.gpu.whole_job WORK [--clips 64] [--seconds 10] [--workers 6] [--output results.json]

Films of 720p are made and annotated with the profile `spatialvid`; each film is one clip, scores and captions by models
are left out. Weights are random, in the published formats (`benchmarks.gpu.random_weights`). Tracker and RAFT run in
full, then their flow is replaced by that of a rendered room, so that keyframes, edges and optimisation are those of a
moving camera (`benchmarks.gpu.exact_flow`); some pixels are said to move, so that there is something to outline.

The GPU's use is what NVML says (share of samples' time in which a kernel ran), each 0.2 s, and in one window what the
profiler says (share of time in which any kernel ran or anything was copied). Clocks start when the first model runs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import threading
import time
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
from torch.profiler import ProfilerActivity, profile

from beam_pipeline.config import load_config
from beam_pipeline.job import run_job
from beam_pipeline.runners import make_options
from benchmarks.gpu.exact_flow import ExactFlow, RoomClip, exact_clip_flow, make_clip
from benchmarks.gpu.random_weights import write_weights
from benchmarks.gpu.tracking import MOTIONS, wander
from core.sources import make_spec
from models.raft.clip_flow import ClipFlow, estimate_clip_flow
from models.tracking import clips as chain
from models.tracking.features import FrameFeatures
from models.tracking.network import FlowUpdate, TrackingNetwork
from models.tracking.tracker import track_clips

SIZE, WORKING_SIZE = (1280, 720), (584, 328)
ANNOTATED_FPS = 5
OVERRIDES = (
    "thresholds.limits={motion_score: null, luminance_score: null, ocr_score: null, aesthetic_score: null}",
    "text.model=none",
    "aesthetic.model=none",
    "analysis.shots.mode=whole",
    "duplicates.find=false",
)
WAYS = 8
MOVING = (slice(10, 20), slice(20, 32))
"""Cells of the features that are said to move."""


Truth = tuple[RoomClip, ClipFlow]
"""What tracker and RAFT say of a clip."""


def make_truth(frames: int, way: int) -> Truth:
    torch.set_num_threads(1)
    poses = wander(frames, *MOTIONS["mid"], way)
    room = make_clip(poses, WORKING_SIZE, way, 1.03 if way % 2 else 0.97, 0.03)
    return room, exact_clip_flow(poses, WORKING_SIZE, "cpu")[1]


class MovingExactFlow(ExactFlow):
    """Exact flow, and some pixels that move."""

    def predict(self, *arguments: Any) -> FlowUpdate:
        update = super().predict(*arguments)
        if update.static is not None:
            update.static[:, *MOVING] = 0
        return update


@contextmanager
def exact_answers(truths: Sequence[Truth]) -> Iterator[None]:
    """Tracker and RAFT say what a room looks like, once they have run; a clip's first picture tells which one."""
    known: dict[bytes, Truth] = {}

    def truth_of(picture: Any) -> Truth:
        return known.setdefault(np.asarray(picture).tobytes()[:4096], truths[len(known) % len(truths)])

    def to_track(clip: Any, depth: Any, size: tuple[int, int]) -> Any:
        asked = chain_to_track(clip, depth, size)
        return replace(truth_of(asked.images[0])[0].clip, images=asked.images, times_s=asked.times_s)

    def track(network: TrackingNetwork, clips: Sequence[Any], settings: Any) -> Any:
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

    chain_to_track = chain._to_track
    with (
        mock.patch.object(chain, "_to_track", to_track),
        mock.patch.object(chain, "track_clips", track),
        mock.patch.object(chain, "estimate_clip_flow", flow),
        mock.patch("models.registry.resolve.check_file", lambda *_, **__: None),
    ):
        yield


class Watch:
    """Samples of the GPU's use, and one window under the profiler."""

    def __init__(self, window_start_s: float, window_s: float) -> None:
        self._window = (window_start_s, window_s)
        self.samples: list[tuple[float, int]] = []
        self.profiled: float | None = None
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._sample), threading.Thread(target=self._profile)]

    def __enter__(self) -> Watch:
        self._start = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _sample(self) -> None:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                self.samples.append((time.monotonic() - self._start, int(line)))
                if len(self.samples) % 150 == 0:
                    last = [use for _, use in self.samples[-150:]]
                    print(f"{self.samples[-1][0]:.0f} s: GPU busy {np.mean(last):.0f} %", flush=True)
                if self._ended.is_set():
                    process.terminate()
                    break

    def _profile(self) -> None:
        if self._ended.wait(self._window[0]):
            return
        with profile(activities=[ProfilerActivity.CUDA], acc_events=False) as profiler:
            begin = time.monotonic()
            self._ended.wait(self._window[1])
            length = time.monotonic() - begin
        assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
        events = profiler.profiler.kineto_results.events()
        spans = sorted((e.start_ns(), e.start_ns() + e.duration_ns()) for e in events if e.device_type().name == "CUDA")
        busy, reached = 0, 0
        for begin_ns, end_ns in spans:
            busy += max(0, end_ns - max(begin_ns, reached))
            reached = max(reached, end_ns)
        self.profiled = busy / 1e9 / length


def make_films(folder: Path, number: int, seconds: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        list(pool.map(make_film, [folder] * number, range(number), [seconds] * number))


def make_truths(seconds: float) -> list[Truth]:
    with ProcessPoolExecutor(WAYS, mp_context=get_context("spawn")) as pool:
        return list(pool.map(make_truth, [round(ANNOTATED_FPS * seconds)] * WAYS, range(WAYS)))


def make_film(folder: Path, seed: int, seconds: float) -> None:
    path = folder / f"film_{seed:03d}.mp4"
    if not path.exists():
        rendering = importlib.import_module("tests.rendering")
        rendering.write_video(path, rendering.render_shot(seed, round(25 * seconds), SIZE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for films, weights and output")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--window", type=float, nargs=2, default=(60.0, 15.0), help="start and length, s")
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
    print("films, weights and rooms are made", flush=True)
    with exact_answers(truths), Watch(*arguments.window) as watch:
        result = run_job(config, [make_spec(str(films))], str(folder), options, show_progress=False)
    first = next((t for t, use in watch.samples if use > 0), 0.0)
    last = max((t for t, use in watch.samples if use > 0), default=0.0)
    used = [use for t, use in watch.samples if first <= t <= last]
    found = {
        "clips": arguments.clips,
        "clips kept": result.accounting.clips_kept,
        "clips failed": result.accounting.clips_failed,
        "seconds of the job": result.seconds,
        "seconds a clip": result.seconds / arguments.clips,
        "seconds from the GPU's first to its last work": last - first,
        "GPU busy from first to last, NVML": float(np.mean(used)) / 100 if used else None,
        "GPU busy over the whole job, NVML": float(np.mean([use for _, use in watch.samples])) / 100,
        "GPU busy in the window, profiler": watch.profiled,
        "peak GiB": torch.cuda.max_memory_allocated() / 2**30,
        "stage times": json.loads((folder / "run.json").read_text()).get("stage_times"),
    }
    print(json.dumps(found, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
