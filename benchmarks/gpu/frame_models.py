"""Single-frame networks on a GPU: time a frame by device events, error of half precision.

    python -m benchmarks.gpu.frame_models [--output results.json]

Weights are random (times of dense layers do not depend on them). Frames are 720p, uint8, on the device; a time covers
resizing, normalization and the network. SAM's decoder gets four prompts in every frame of the batch.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.timing import median_ms
from models.depth.depth_anything import DepthAnything
from models.depth.moge import MoGe
from models.depth.settings import DepthSettings
from models.networks.depth_anything import DepthAnythingV2
from models.networks.moge import MoGe2
from models.networks.pixels import DTYPES
from models.networks.sam2 import Sam2
from models.segmentation.sam import POINT_LABELS, SamMasks
from models.segmentation.settings import MaskSettings

HEIGHT, WIDTH = 720, 1280
PROMPTS = 4
MOGE_WIDTHS = [1024, 256, 128, 64, 32]
STACK = {
    "dim_res_blocks": MOGE_WIDTHS,
    "res_block_in_norm": "none",
    "res_block_hidden_norm": "none",
    "resamplers": ["conv_transpose", "conv_transpose", "conv_transpose", "bilinear"],
}
HEAD = STACK | {"dim_in": MOGE_WIDTHS, "num_res_blocks": [0, 1, 1, 1, 0]}
MOGE_LARGE: dict[str, Any] = {
    "encoder": {"backbone": "dinov2_vitl14", "intermediate_layers": [5, 11, 17, 23], "dim_out": 1024},
    "neck": STACK | {"dim_in": [1026, 2, 2, 2, 2], "dim_out": None, "num_res_blocks": [0, 2, 2, 2, 0]},
    "points_head": HEAD | {"dim_out": [None, None, None, None, 3]},
    "mask_head": HEAD | {"dim_out": [None, None, None, None, 1]},
    "scale_head": {"dims": [1024, 1024, 1024, 1]},
    "remap_output": "exp",
    "num_tokens_range": [1200, 3600],
}


def frames(count: int, seed: int = 0) -> Tensor:
    """(n, 720, 1280, 3) uint8 noise on the device."""
    generator = torch.Generator("cuda").manual_seed(seed)
    return torch.randint(0, 256, (count, HEIGHT, WIDTH, 3), dtype=torch.uint8, device="cuda", generator=generator)


def per_frame(call: Callable[[Tensor], Any], count: int) -> float:
    """Returns the median ms a frame over batches, rotating among three sets of frames."""
    sets = [frames(count, seed) for seed in range(3)]
    turn = iter(range(1 << 30))
    with torch.inference_mode():
        return median_ms(lambda: call(sets[next(turn) % 3])) / count


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """Returns the norm of the difference over the norm."""
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


def depth_anything(precision: str, compiled: bool = False) -> DepthAnything:
    """ViT-L with the random weights of seed 0."""
    torch.manual_seed(0)
    network = DepthAnythingV2("vitl").prepare(DTYPES[precision])
    network.depth_head.scratch.output_conv2[2].bias.data.fill_(1.0)
    model = DepthAnything(network, DepthSettings(precision=precision))
    if compiled:
        compile_forward(network)
    return model


def compile_forward(network: nn.Module) -> None:
    """Compiles a network in place; prints the time of its first call."""
    network.forward = torch.compile(network.forward, dynamic=False)


def sam(precision: str) -> SamMasks:
    """Hiera-L with the random weights of seed 0."""
    torch.manual_seed(0)
    return SamMasks(Sam2(), MaskSettings(precision=precision))


def segment(model: SamMasks, images: Tensor) -> Tensor:
    """Encoder, and all prompts of the batch together."""
    features = model.embed(images)
    where = torch.arange(len(images), device="cuda").repeat_interleave(PROMPTS)
    points = torch.tensor([[100.0, 200.0], [600.0, 500.0], [300.0, 400.0]], device="cuda").expand(len(where), -1, -1)
    labels = torch.tensor(POINT_LABELS, device="cuda").expand(len(where), -1)
    logits, _ = model._network.decode([level[where] for level in features], points, labels)
    return logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--compile", action="store_true", help="also with torch.compile, which takes minutes")
    options = parser.parse_args()
    results: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}

    def note(name: str, value: float) -> None:
        results[name] = round(value, 5)
        print(f"{name}: {value:.4g}", flush=True)
        if options.output:
            options.output.write_text(json.dumps(results, indent=2))

    exact = depth_anything("fp32")
    few = frames(2)
    with torch.inference_mode():
        wanted = exact.infer(few)
    note("depth_anything.fp32.batch8.ms", per_frame(exact.infer, 8))
    del exact
    for precision in ("fp16", "bf16"):
        model = depth_anything(precision)
        with torch.inference_mode():
            note(f"depth_anything.{precision}.relative_error", relative_error(model.infer(few), wanted))
        for batch in (1, 8, 16, 32) if precision == "fp16" else (16,):
            note(f"depth_anything.{precision}.batch{batch}.ms", per_frame(model.infer, batch))
        del model
    torch.manual_seed(0)
    moge = MoGe(MoGe2(MOGE_LARGE).prepare(torch.float16), DepthSettings())
    for batch in (1, 16):
        note(f"moge.fp16.batch{batch}.ms", per_frame(moge.infer, batch))
    del moge
    exact_sam = sam("fp32")
    with torch.inference_mode():
        wanted_features, wanted_masks = exact_sam.embed(few)[2], segment(exact_sam, few)
    del exact_sam
    for precision in ("fp16", "bf16"):
        masks = sam(precision)
        with torch.inference_mode():
            note(f"sam.{precision}.features.relative_error", relative_error(masks.embed(few)[2], wanted_features))
            note(f"sam.{precision}.logits.relative_error", relative_error(segment(masks, few), wanted_masks))
        for batch in (1, 8, 16):
            note(f"sam.{precision}.encoder.batch{batch}.ms", per_frame(masks.embed, batch))
        for batch in (8, 16):
            name = f"sam.{precision}.encoder_and_{PROMPTS}_prompts.batch{batch}.ms"
            note(name, per_frame(partial(segment, masks), batch))
        if options.compile and precision == "bf16":
            compile_forward(masks._network.encoder)
            began = time.monotonic()
            per_frame(masks.embed, 8)
            note("sam.bf16.compiled.first_s", time.monotonic() - began)
            note("sam.bf16.compiled.encoder.batch8.ms", per_frame(masks.embed, 8))
        del masks
    if options.compile:
        model = depth_anything("fp16", compiled=True)
        began = time.monotonic()
        per_frame(model.infer, 16)
        note("depth_anything.fp16.compiled.first_s", time.monotonic() - began)
        note("depth_anything.fp16.compiled.batch16.ms", per_frame(model.infer, 16))


if __name__ == "__main__":
    main()
