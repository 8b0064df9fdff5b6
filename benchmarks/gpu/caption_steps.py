"""Cost of a caption model's decoding step, by batch size: attention, grammar.

    python -m benchmarks.gpu.caption_steps [--size 3b] [--device cuda] [--batches 7 32] [--folder FOLDER]

The model is that of `benchmarks.captions`; the images are of the example videos. A step is taken at lengths that no
step had before, and again at the same ones. `before` is xgrammar's own processor with a cache that grows.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.captions import IMAGES, write_model
from benchmarks.measure import ROOT, markdown_table
from media.probe import probe_video
from models.captions.answers import SceneAnswer
from models.captions.chat import ChatRequest
from models.captions.frames import EvenSampler, read_images
from models.captions.local import STATIC_CACHE, LocalChatModel, _bounded_schema
from models.captions.prompts import fill
from models.captions.settings import FrameSettings, LocalSettings

FPS = 30.0
FEW, MANY = 4, 72
"""Tokens of two answers, whose times give that of a step."""
FILLER = 90

Options = dict[str, Any]
Change = Callable[[Options], Options]


def make_requests(number: int) -> list[ChatRequest]:
    """Returns the first question about each clip."""
    images = [
        tuple(read_images(str(path), probe_video(str(path)), round(IMAGES * FPS), FPS, EvenSampler(FrameSettings()))[0])
        for path in sorted((ROOT / "examples" / "videos").glob("*.mp4"))
    ]
    text = fill("vision", duration=f"{IMAGES:.1f}")
    ask = ChatRequest(system=fill("system"), text=text, answer_type=SceneAnswer, max_output_tokens=MANY)
    return [replace(ask, images=images[k % len(images)]) for k in range(number)]


def variants(chat: LocalChatModel) -> dict[str, Change]:
    """Returns the arguments of `generate` in each variant."""
    import xgrammar

    grammar = chat._compiler.compile_json_schema(_bounded_schema(SceneAnswer), any_whitespace=False)

    def growing(options: Options) -> Options:
        return {name: value for name, value in options.items() if name not in STATIC_CACHE}

    def before(options: Options) -> Options:
        options = growing(options) | {"logits_processor": [xgrammar.contrib.hf.LogitsProcessor(grammar)]}
        del options["stopping_criteria"]
        return options

    return {"before": before, "masks made ahead": growing, "and a cache of one size": lambda options: options}


def clock_answers(chat: LocalChatModel, requests: list[ChatRequest], tokens: int, change: Change, device: str) -> float:
    """Seconds in `generate`."""
    import torch

    generate, spent = chat._model.generate, []

    def timed(**options: Any) -> Any:
        start = time.perf_counter()
        answers = generate(**change(options))
        if device == "cuda":
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - start)
        return answers

    with mock.patch.object(chat._model, "generate", timed):
        chat.reply([replace(request, max_output_tokens=tokens) for request in requests])
    return sum(spent)


def peak_gib(device: str) -> float | None:
    """Memory of the GPU in use at most since the last call."""
    import torch

    if device != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return float(peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("3b", "tiny"), default="3b")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--batches", type=int, nargs="+", default=[7, 32])
    parser.add_argument("--folder", type=Path, help="folder that keeps the model; default: temporary")
    options = parser.parse_args()
    rows: list[list[object]] = []
    longer = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / options.size
        write_model(folder, options.size, options.device)
        chat = LocalChatModel(LocalSettings(folder=str(folder), device=options.device, batch_size=max(options.batches)))
        for number in options.batches:
            clock_answers(chat, make_requests(number), FEW, lambda given: given, options.device)
            for name, change in variants(chat).items():
                longer += FILLER
                requests = [replace(r, text=r.text + " the camera" * longer) for r in make_requests(number)]
                few, first, again = (
                    clock_answers(chat, requests, tokens, change, options.device) for tokens in (FEW, MANY, MANY)
                )
                steps = (1e3 * (seconds - few) / (MANY - FEW) for seconds in (first, again))
                rows.append([number, name, few, *steps, peak_gib(options.device)])
    print(markdown_table(["clips", "variant", f"{FEW} tokens, s", "a step, ms", "again, ms", "peak GiB"], rows))


if __name__ == "__main__":
    main()
