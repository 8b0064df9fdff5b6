"""Text area by setting: recall, false area on images without text, CPU time.

Prints a Markdown table. `python -m benchmarks.text_area [--frames N]`

- labeled text: frames of the labeled ranges of the test data's `labels/text.tsv` (found: a share above
  0.1 %);
- labeled none: frames of the videos that the labels call free of text;
- objects: frames with one large animal or person and no text (checked by eye), which detectors mistake for a
  character;
- rendered: two lines of known position and size (12 to 48 px high) drawn on the frames without text. A line is
  found if half of its bounding box is covered; the share's error is against the bounding boxes.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.measure import DATA, NO_DATA, cpu_of_call, markdown_table
from core.arrays import UInt8Array
from media.images import decode_jpeg, encode_jpeg, sample_image
from models.text.boxes import covered_share
from models.text.scorer import TextModel, TextSettings

Box = tuple[float, float, float, float]

OBJECTS = (
    "videos/vipe_dog.mp4",
    "masks/davis_blackswan/video.mp4",
    "masks/davis_camel/video.mp4",
    "masks/davis_dance-twirl/video.mp4",
)
SETTINGS: dict[str, TextSettings] = {
    "max 640 (default)": TextSettings(),
    "max 640, all boxes count": TextSettings(confirm_side_share=None),
    "max 640, box threshold 0.7": TextSettings(box_threshold=0.7),
    "max 480": TextSettings(limit_side_len_px=480),
    "max 320": TextSettings(limit_side_len_px=320),
    "min 736, all boxes count (SpatialVID)": TextSettings(
        limit_side_len_px=736, limit_type="min", confirm_side_share=None
    ),
}
FOUND_SHARE = 0.001
WORDS = ("Subtitles in white letters", "LIVE 24", "a small remark, easily missed", "Copyright 2026 Somebody")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """An image and the bounding boxes of the lines drawn on it."""

    image: UInt8Array
    boxes: tuple[Box, ...]


def sample_frames(path: Path, wanted: Sequence[int] | None, count: int) -> Iterator[UInt8Array]:
    """Returns sample images as the job stores them, of given or `count` even frames."""
    if wanted is None:
        with av.open(str(path)) as container:
            total = sum(1 for _ in container.decode(video=0))
        wanted = np.linspace(0, total - 1, min(count, total)).astype(int).tolist()
    left = set(wanted)
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in left:
                yield decode_jpeg(encode_jpeg(sample_image(frame, 640, 640)))
                left.remove(index)
            if not left:
                return


def labeled_images(count: int) -> tuple[list[UInt8Array], list[UInt8Array]]:
    """Returns the images with and without text, by the labels."""
    with_text: list[UInt8Array] = []
    without: list[UInt8Array] = []
    lines = (DATA / "labels" / "text.tsv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader((line for line in lines if not line.startswith("#")), delimiter="\t")
    for row in rows:
        path = DATA / "videos" / row["file"]
        if row["kind"] == "none":
            without += sample_frames(path, None, count)
            continue
        # The ends of a range are labeled to a few frames only.
        first, last = int(row["first"]) + 4, int(row["last"]) - 4
        with_text += sample_frames(path, np.linspace(first, last, count).astype(int).tolist(), count)
    return with_text, without


def draw_lines(images: Sequence[UInt8Array]) -> list[Drawn]:
    """Draws two lines of text of varied size, position and tone on each image."""
    rng = np.random.default_rng(0)
    drawn: list[Drawn] = []
    for number, image in enumerate(images):
        canvas = Image.fromarray(image)
        pen = ImageDraw.Draw(canvas)
        boxes: list[Box] = []
        for line in range(2):
            text = WORDS[(number + line) % len(WORDS)]
            font = ImageFont.load_default(float(rng.integers(12, 49)))
            left, top, right, bottom = font.getbbox(text)
            x = rng.uniform(0, max(1.0, canvas.width - right))
            y = canvas.height * (0.08 + 0.5 * line) + rng.uniform(0, 0.2 * canvas.height)
            tone = "white" if rng.random() < 0.7 else "yellow"
            pen.text((x, y), text, font=font, fill=tone, stroke_width=1, stroke_fill="black")
            boxes.append((x + left, y + top, min(x + right, canvas.width), min(y + bottom, canvas.height)))
        drawn.append(Drawn(image=decode_jpeg(encode_jpeg(np.asarray(canvas))), boxes=tuple(boxes)))
    return drawn


def rendered_accuracy(model: TextModel, drawn: Sequence[Drawn]) -> tuple[float, float]:
    """Returns the share of lines found, and the mean error of the text share."""
    found: list[bool] = []
    errors: list[float] = []
    for sample in drawn:
        size = (sample.image.shape[1], sample.image.shape[0])
        quads = model.find_text(sample.image).quads_px
        truth_quads = [[(x0, y0), (x1, y0), (x1, y1), (x0, y1)] for x0, y0, x1, y1 in sample.boxes]
        errors.append(abs(covered_share(quads, size) - covered_share(np.array(truth_quads, np.float32), size)))
        for x0, y0, x1, y1 in sample.boxes:
            inside = covered_share(quads - np.array([x0, y0], np.float32), (round(x1 - x0), round(y1 - y0)))
            found.append(inside >= 0.5)
    return float(np.mean(found)), float(np.mean(errors))


def measure(model: TextModel, sets: dict[str, list[UInt8Array]], drawn: Sequence[Drawn]) -> list[str]:
    """One row of the table."""
    shares = {name: [model.text_share(image) for image in images] for name, images in sets.items()}
    recall = np.mean([share > FOUND_SHARE for share in shares["text"]])
    line_recall, share_error = rendered_accuracy(model, drawn)
    some = [image for images in sets.values() for image in images[::4]]
    cpu_ms = median(1000 * cpu_of_call(partial(model.text_share, image)).cpu_s for image in some)
    return [
        f"{recall:.2f}",
        f"{np.mean(shares['text']):.4f}",
        *(f"{np.mean(shares[name]):.4f} / {max(shares[name]):.3f}" for name in ("none", "objects")),
        f"{line_recall:.2f}",
        f"{share_error:.4f}",
        f"{cpu_ms:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=10, help="frames per labeled range or video")
    count = parser.parse_args().frames
    if not (DATA / "labels" / "text.tsv").exists():
        raise SystemExit(NO_DATA)
    with_text, without = labeled_images(count)
    objects = [image for name in OBJECTS for image in sample_frames(DATA / name, None, count)]
    sets = {"text": with_text, "none": without, "objects": objects}
    print({name: len(images) for name, images in sets.items()}, "images\n")
    drawn = draw_lines([*without, *objects])
    rows = [[name, *measure(TextModel(settings), sets, drawn)] for name, settings in SETTINGS.items()]
    header = (
        "setting",
        "recall, labeled text",
        "mean share there",
        "false share, labeled none (mean / max)",
        "false share, objects (mean / max)",
        "recall, rendered lines",
        "error of share, rendered",
        "CPU ms an image (median)",
    )
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
