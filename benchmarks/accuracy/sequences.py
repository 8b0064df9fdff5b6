"""Sequences with known camera poses: frames as the annotation gets them, and their ground truth."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.accuracy.trajectories import invert
from benchmarks.measure import DATA
from core.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from media.decode import VideoReader
from models.sfm.estimate import Intrinsics

RATE_HZ = 5.0
SPARSE_FPS = 8.0
MIN_FRAMES = 10
MAX_SIDE_PX = 640
MILLIMETERS_PER_METER = 1000.0
TUM_UNITS_PER_METER = 5000.0

Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueSequence:
    """Frames of one camera with their ground truth.

    Attributes:
      name: name of the folder or of the rendered sequence.
      frames: (h, w, 3) uint8 RGB each, undistorted, with square pixels.
      times_s: (n,) float64.
      cam_from_world: (n, 7) tx ty tz qx qy qz qw, true.
      intrinsics: of `frames`, true.
      depth_m: by index into `frames`, (h, w) float32 z-depth in the units of the poses; NaN where unknown.
      moving: (n, h, w) bool, true where something moves; None if unknown.
    """

    name: str
    frames: Sequence[UInt8Array]
    times_s: Float64Array
    cam_from_world: Float64Array
    intrinsics: Intrinsics
    depth_m: dict[int, Float32Array]
    moving: BoolArray | None

    @property
    def size(self) -> Size:
        """(width, height) in pixels."""
        return self.frames[0].shape[1], self.frames[0].shape[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lens:
    """Maps a recorded image to the working size: undistorted, resized, with square pixels."""

    recorded: Intrinsics
    distortion: Float64Array
    recorded_size: Size
    size: Size

    @property
    def intrinsics(self) -> Intrinsics:
        return self.recorded.resized(self.recorded_size, self.size)

    def rectify(self, image: UInt8Array) -> UInt8Array:
        if self.distortion.any():
            image = np.asarray(cv2.undistort(image, self._matrix(), self.distortion), np.uint8)
        smaller = self.size[0] * self.size[1] < self.recorded_size[0] * self.recorded_size[1]
        method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
        if self.size != self.recorded_size:
            image = np.asarray(cv2.resize(image, self.size, interpolation=method), np.uint8)
        return image

    def labels(self, image: Float32Array) -> Float32Array:
        """The same by nearest neighbor, for values such as depths; 0 outside."""
        if self.distortion.any():
            no_turn = np.eye(3)
            maps = cv2.initUndistortRectifyMap(
                self._matrix(), self.distortion, no_turn, self._matrix(), self.recorded_size, cv2.CV_32FC1
            )
            image = np.asarray(cv2.remap(image, maps[0], maps[1], cv2.INTER_NEAREST), np.float32)
        return np.asarray(cv2.resize(image, self.size, interpolation=cv2.INTER_NEAREST_EXACT), np.float32)

    def _matrix(self) -> Float64Array:
        camera = self.recorded
        return np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])


def sequence_folders() -> list[Path]:
    """Folders of all sequences with poses; empty where the test data is absent."""
    folders = [*sorted((DATA / "sequences").glob("*")), DATA / "synthetic" / "glroom"]
    return [folder for folder in folders if (folder / "poses.tum").exists()]


def load_sequence(folder: Path, *, rate_hz: float = RATE_HZ, max_side_px: int = MAX_SIDE_PX) -> TrueSequence:
    """Reads a sequence, sampled near a rate.

    Sources of up to 8 frames per second are taken whole: they hold wide steps already. Short ones are sampled
    more densely, for ten frames at least. Anamorphic images get square pixels again.

    Args:
      folder: with video.mp4, poses.tum, intrinsics.txt, and maybe depth/ and mask/.
      rate_hz: frames per second wanted.
      max_side_px: the longer side is scaled down to it.
    """
    stamps_s, world_from_cam = read_tum(folder / "poses.tum")
    fps = (len(stamps_s) - 1) / (stamps_s[-1] - stamps_s[0])
    step = 1 if fps <= SPARSE_FPS + 0.01 else max(1, min(round(fps / rate_hz), len(stamps_s) // MIN_FRAMES))
    chosen = range(0, len(stamps_s), step)
    lens = _read_lens(folder / "intrinsics.txt", max_side_px)
    return TrueSequence(
        name=folder.name,
        frames=[lens.rectify(image) for image in _read_frames(folder / "video.mp4", chosen)],
        times_s=stamps_s[chosen],
        cam_from_world=invert(world_from_cam[chosen]),
        intrinsics=lens.intrinsics,
        depth_m=_read_depths(folder, chosen, lens),
        moving=_read_masks(folder, chosen, lens),
    )


def load_sequences(names: Sequence[str] = ()) -> Iterator[TrueSequence]:
    """All sequences of the test data, or those whose names contain one of these."""
    for folder in sequence_folders():
        if not names or any(name in folder.name for name in names):
            yield load_sequence(folder)


def rendered_sequences(
    names: Sequence[str], *, size: Size = (640, 360), seconds: float = 5.0
) -> Iterator[TrueSequence]:
    """Yields rendered sequences of `tests.support.films` with exact truth, at 5 Hz."""
    # By name, as the tests are not strictly typed.
    film = importlib.import_module("tests.support.films").film
    for name in names:
        made = film(name, seconds=seconds, fps=RATE_HZ, size=size, noise=1.5)
        yield TrueSequence(
            name=f"rendered: {name}",
            frames=made.frames,
            times_s=made.times_s,
            cam_from_world=made.cam_from_world,
            intrinsics=Intrinsics.of(made.intrinsics_px[0]),
            depth_m=dict(enumerate(made.depth_m)),
            moving=made.moving,
        )


def read_tum(path: Path) -> tuple[Float64Array, Float64Array]:
    """Returns times and poses of a TUM file.

    Times are (n,), poses (n, 7) tx ty tz qx qy qz qw.
    """
    rows = np.loadtxt(path, np.float64, comments="#", ndmin=2)
    return rows[:, 0], rows[:, 1:8]


def _read_lens(path: Path, max_side_px: int) -> _Lens:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    fx, fy, cx, cy, width, height = (float(x) for x in lines[0].split())
    distortion = np.array([float(x) for x in lines[1].split()] if len(lines) > 1 else [])
    size = (int(width), int(height))
    # Up to 2 % is the difference that calibrations find in square pixels.
    square_width = width * fy / fx if abs(fy / fx - 1) > 0.02 else width
    scale = min(1.0, max_side_px / max(square_width, height))
    return _Lens(
        recorded=Intrinsics(fx=fx, fy=fy, cx=cx, cy=cy),
        distortion=distortion,
        recorded_size=size,
        size=(round(square_width * scale), round(height * scale)),
    )


def _read_frames(path: Path, chosen: range) -> Iterator[UInt8Array]:
    with VideoReader(str(path)) as reader:
        for decoded in reader.frames():
            if decoded.index in chosen:
                yield np.asarray(decoded.frame.to_ndarray(format="rgb24"), np.uint8)


def _read_depths(folder: Path, chosen: range, lens: _Lens) -> dict[int, Float32Array]:
    units = TUM_UNITS_PER_METER if folder.name.startswith("tum_") else MILLIMETERS_PER_METER
    depths = {}
    for path in sorted((folder / "depth").glob("*.png")):
        if int(path.stem) in chosen:
            stored = lens.labels(np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), np.float32))
            depths[chosen.index(int(path.stem))] = np.where(stored > 0, stored / units, np.nan).astype(np.float32)
    return depths


def _read_masks(folder: Path, chosen: range, lens: _Lens) -> BoolArray | None:
    if not (folder / "mask").exists():
        return None
    images = (cv2.imread(str(folder / "mask" / f"{index:05d}.png"), cv2.IMREAD_GRAYSCALE) for index in chosen)
    return np.stack([lens.labels(np.asarray(image, np.float32)) > 0 for image in images])
