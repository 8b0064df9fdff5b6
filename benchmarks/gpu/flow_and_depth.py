"""Times of RAFT flow and consistent depth on a GPU, and depth errors.

    python -m benchmarks.gpu.flow_and_depth [--output results.json]

47 frames of 328 x 584, 205 pairs. RAFT's weights are random, which does not change its time; the depth is optimized
with the exact flow of a rendered room, from maps with errors of scale and shift and of every pixel.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.exact_flow import exact_clip_flow
from benchmarks.gpu.timing import median_ms
from benchmarks.gpu.tracking import FRAMES, SIZE, wander
from models.depth.consistent import make_consistent
from models.flow.raft import build_raft
from models.flow.raft_clip import estimate_clip_flow
from native.cuda.build import LIBRARY


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of the second call, to the end of its work on the device."""
    call()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def time_flow() -> dict[str, float]:
    torch.manual_seed(0)
    network = build_raft(None, "cuda")
    images = torch.randint(0, 256, (FRAMES, 3, SIZE[1], SIZE[0]), dtype=torch.uint8, device="cuda")
    found = {"RAFT encoders, 16 frames, ms": median_ms(lambda: network.encode(images[:16]))}
    found["RAFT, 47 frames, 205 pairs, s"] = seconds(lambda: estimate_clip_flow(network, images))
    found["RAFT, peak GiB"] = torch.cuda.max_memory_allocated() / 2**30
    return found


def time_depth() -> dict[str, float]:
    poses = wander(FRAMES, 0.5, 6.0, 1)
    depth, flow = exact_clip_flow(poses, SIZE, "cuda")
    unit = np.median(depth)
    poses[:, :3] /= unit
    true = unit / depth
    rng = np.random.default_rng(0)
    scale, shift = np.exp(rng.normal(0, 0.1, (FRAMES, 1, 1))), rng.normal(0, 0.03, (FRAMES, 1, 1))
    given = (true * scale + shift) * np.exp(rng.normal(0, 0.03, true.shape))
    full = np.repeat(np.repeat(given, 2, 1), 2, 2).astype(np.float32)
    static = np.ones((FRAMES, SIZE[1] // 8, SIZE[0] // 8), np.float32)
    focal = SIZE[0] / 2 / np.tan(np.radians(30))
    intrinsics = [focal, focal, SIZE[0] / 2, SIZE[1] / 2]
    torch.cuda.reset_peak_memory_stats()
    found = {"CVD, 500 steps, s": seconds(lambda: make_consistent(full, static, poses, intrinsics, flow))}
    found["CVD, peak GiB"] = torch.cuda.max_memory_allocated() / 2**30
    result = make_consistent(full, static, poses, intrinsics, flow)
    found["median depth error before"] = float(np.median(np.abs(given / true - 1)))
    after = result.inverse_depth.reshape(FRAMES, SIZE[1] // 2, 2, SIZE[0] // 2, 2).mean((2, 4))
    found["median depth error after"] = float(np.median(np.abs(after / true - 1)))
    found["first loss"], found["last loss"] = result.first_loss, result.last_loss
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    print(torch.cuda.get_device_name(), "kernels built" if LIBRARY.exists() else "without kernels")
    found = time_flow() | time_depth()
    for name, value in found.items():
        print(f"{value:10.4f}  {name}")
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
