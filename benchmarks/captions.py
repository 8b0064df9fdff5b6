"""Speed, memory and failures of captions by a vision-language model in the workers.

    python -m benchmarks.captions VIDEO... [--size 3b] [--device cuda] [--batch 32] [--clip-seconds 0.6]

The model has the sizes of Qwen2.5-VL-3B (or is tiny), random weights, and a tokenizer trained on this repository's
documents. Its text is noise, but as long as a caption: the grammar ends each text at 900 characters.
The job runs first without captions, so that the measured runs find all but the captions in the store. The last run
gives answers too little room, and must end well with every clip kept and a reason for its missing caption. Captions are
written with one worker, so that batches are full; shorter clips make more of them of few videos.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beam_pipeline.cli.main import main as launch
from benchmarks.gpu.watch import GpuWatch
from benchmarks.measure import ROOT, markdown_table
from explore.outputs import read_run, read_table
from storage.store import Store

VOCABULARY, TOKENS, MAX_PIXELS = 151936, 2000, 602112
IMAGES = 4
TEXT_3B: dict[str, Any] = {
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128000,
    "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6},
}
VISION_3B: dict[str, Any] = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "out_hidden_size": 2048,
    "fullatt_block_indexes": [7, 15, 23, 31],
}


def write_model(folder: Path, size: str, device: str) -> None:
    """Writes the model if it does not exist yet."""
    from tests.support.tiny_vlm import TINY_PIXELS, TINY_TEXT, TINY_VISION, write_vlm

    if (folder / "config.json").exists():
        return
    corpus = [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("**/*.md")) if ".venv" not in path.parts]
    if size == "tiny":
        write_vlm(folder, TINY_TEXT, TINY_VISION, corpus, TOKENS, TINY_PIXELS)
        return
    dtype = "bfloat16" if device == "cuda" else "float32"
    write_vlm(folder, TEXT_3B, VISION_3B, corpus, TOKENS, MAX_PIXELS, vocabulary=VOCABULARY, device=device, dtype=dtype)


@contextmanager
def watch_gpu(device: str) -> Iterator[dict[str, float]]:
    """Yields a dict that gets peak GiB of torch and GPU utilization by NVML."""
    usage: dict[str, float] = {}
    if device != "cuda":
        yield usage
        return
    import torch

    torch.cuda.reset_peak_memory_stats()
    with GpuWatch() as watch:
        yield usage
    usage["GPU busy %, from first to last work"] = 100 * watch.busy()
    usage["peak GiB on the GPU"] = torch.cuda.max_memory_allocated() / 2**30


def run_job(output: str, options: argparse.Namespace, *settings: str) -> float:
    """Wall seconds of the job."""
    limits = (f"thresholds.limits.{name}=null" for name in ("motion_score", "luminance_score", "ocr_score"))
    clips: tuple[str, ...] = ()
    if (seconds := options.clip_seconds) is not None:
        clips = (
            f"analysis.clips.min_s={seconds / 2}",
            f"analysis.clips.max_s={seconds}",
            f"captions.frames.fps={IMAGES / seconds}",
        )
    overrides = [part for setting in ("text.model=none", *limits, *clips, *settings) for part in ("--set", setting)]
    started = time.perf_counter()
    if launch(
        [
            "--config",
            "demo",
            "--no-progress",
            "--direct_num_workers=1",
            "--input",
            *options.videos,
            "--output",
            output,
            *overrides,
        ]
    ):
        raise RuntimeError(f"the job with {settings} did not end well")
    return time.perf_counter() - started


def caption(output: str, options: argparse.Namespace, folder: Path, room: int) -> dict[str, Any]:
    """Returns the figures of one run with captions."""
    with watch_gpu(options.device) as usage:
        wall = run_job(
            output,
            options,
            "captions.model=transformers",
            f"captions.transformers.folder={folder}",
            f"captions.transformers.device={options.device}",
            f"captions.transformers.batch_size={options.batch}",
            f"captions.transformers.max_output_tokens={room}",
        )
    rows = [row for row in read_table(output, "clips").to_pylist() if row["status"] == "kept"]
    reasons = sorted({str(row["caption_reason"]).split(":")[0] for row in rows})
    times = read_run(Store(output))["stage_times"]["CaptionClips"]
    return {
        "room": room,
        "clips": len(rows),
        "captioned": sum(row["scene_summary"] is not None for row in rows),
        "caption_reason": ", ".join(reasons),
        "requests": sum(row["caption_requests"] for row in rows),
        "tokens in": sum(row["caption_input_tokens"] for row in rows),
        "tokens out": sum(row["caption_output_tokens"] for row in rows),
        "job s": wall,
        "model s": times["busy_s"],
        "clips/s": len(rows) / times["busy_s"] if times["busy_s"] else None,
        **usage,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", help="videos or folders")
    parser.add_argument("--size", choices=("3b", "tiny"), default="3b")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--batch", type=int, default=32, help="clips answered together")
    parser.add_argument("--clip-seconds", type=float, help="longest clip, of some four images; default: as it is")
    parser.add_argument("--folder", type=Path, help="folder that keeps the model; default: temporary")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / f"random-qwen2.5-vl-{options.size}"
        write_model(folder, options.size, options.device)
        output = f"{temporary}/out"
        run_job(output, options, "captions.model=none")
        figures = [caption(output, options, folder, room) for room in (768, 64)]
    header = ["what", *(f"run {i + 1}" for i in range(len(figures)))]
    print(markdown_table(header, [[k, *(f[k] for f in figures)] for k in figures[0]]))


if __name__ == "__main__":
    main()
