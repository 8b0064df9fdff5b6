"""Rendered test videos, and a writer that can produce odd files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

os.environ.setdefault("SVT_LOG", "1")
X265_QUIET = {"x265-params": "log-level=none:pools=none:frame-threads=1"}

Image = NDArray[np.uint8]


def render_shot(seed: int, num_frames: int, size: tuple[int, int]) -> Iterator[Image]:
    """(height, width, 3) RGB frames of a moving camera, a textured wall, a moving disc.

    Args:
      seed: picks texture, colors and motion; two seeds look quite different.
      num_frames: how many.
      size: (width, height).
    """
    width, height = size
    rng = np.random.default_rng(seed)
    wall = _render_texture(rng, 2 * width, 2 * height)
    velocity = rng.uniform(-1.5, 1.5, 2) * width / 160
    turn_deg, zoom = rng.uniform(-0.4, 0.4), rng.uniform(0.998, 1.002)
    disc_color = tuple(int(c) for c in rng.integers(0, 256, 3))
    disc_at, disc_step = rng.uniform(0.2, 0.8, 2) * size, rng.uniform(-2, 2, 2) * width / 160
    for k in range(num_frames):
        matrix = cv2.getRotationMatrix2D((float(width), float(height)), turn_deg * k, float(zoom**k))
        matrix[:, 2] += velocity * k - np.array([width / 2, height / 2])
        frame = cv2.warpAffine(wall, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        x, y = (disc_at + disc_step * k) % size
        cv2.circle(frame, (int(x), int(y)), max(3, height // 8), disc_color, -1, cv2.LINE_AA)
        yield np.asarray(frame, np.uint8)


def _render_texture(rng: np.random.Generator, width: int, height: int) -> Image:
    image = np.zeros((height, width, 3))
    for cell, weight in ((48, 1.0), (12, 0.6), (3, 0.35)):
        coarse = rng.normal(size=(height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        image += weight * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(rng.uniform(70, 180, 3) + 45 * image, 0, 255).astype(np.uint8)


def write_video(
    path: str | Path,
    images: Iterable[Image],
    *,
    fps: Fraction = Fraction(25),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    format_name: str | None = None,
    muxer: dict[str, str] | None = None,
    with_audio: bool = False,
    prepare: Callable[[Any], None] | None = None,
) -> Path:
    """Encodes RGB images; deterministic for equal arguments.

    Args:
      pts: timestamps in `time_base` units; one frame per 1/fps by default.
      time_base: seconds per unit; 1/fps by default.
      prepare: called with the output stream, to set tags, rotation and the like.
    """
    options = {"crf": "20", "preset": "veryfast"} | (options or {}) if codec == "libx264" else options or {}
    path = Path(path)
    iterator = iter(images)
    first = next(iterator)
    with av.open(str(path), "w", format=format_name, options=muxer or {}) as output:
        stream: Any = output.add_stream(codec, rate=fps, options=options)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = first.shape[1], first.shape[0], pixel_format
        context.time_base = time_base or 1 / fps
        context.thread_count = 1
        if prepare:
            prepare(stream)
        audio: Any = output.add_stream("aac", rate=16000) if with_audio else None
        count = 0
        for count, image in enumerate(_chained(first, iterator), start=1):
            frame = VideoFrame.from_ndarray(image, "rgb24").reformat(format=pixel_format, threads=1)
            frame.pts, frame.time_base = count - 1 if pts is None else pts[count - 1], context.time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if audio is not None:
            write_tone(output, audio, float(count / fps))
    if codec == "libsvtav1" and sys.platform == "linux":
        # As root it makes the thread that calls it real-time (SCHED_FIFO), and processes started later inherit that.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


def write_tone(output: Any, stream: Any, duration_s: float) -> None:
    """Encodes a tone into an audio stream of 16 kHz."""
    samples = (np.sin(np.arange(int(16000 * duration_s)) * 0.1) * 0.3).astype(np.float32)
    for start in range(0, len(samples) - 1023, 1024):
        block = np.tile(samples[start : start + 1024], (2, 1))
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def make_shots_video(
    path: str | Path,
    shots: Sequence[tuple[float, int]],
    size: tuple[int, int] = (320, 180),
    fps: Fraction | int = 25,
    **options: Any,
) -> list[int]:
    """Writes a video of several shots, hard cuts between them.

    Args:
      path: file to write; its extension picks the container.
      shots: (seconds, seed) of each.
      size: (width, height), even.
      fps: constant frame rate.
      **options: further arguments of `write_video`.

    Returns:
      Frame indices at which a new shot begins, without the first; then the number of frames.
    """
    lengths = [max(1, round(seconds * Fraction(fps))) for seconds, _ in shots]

    def images() -> Iterator[Image]:
        for (_, seed), length in zip(shots, lengths, strict=True):
            yield from render_shot(seed, length, size)

    write_video(path, images(), fps=Fraction(fps), **options)
    return [sum(lengths[: k + 1]) for k in range(len(lengths))]


def _chained(first: Image, rest: Iterator[Image]) -> Iterator[Image]:
    yield first
    yield from rest
