"""Composes shot transitions with known truth, and their look-alikes, from real footage of single shots.

Only clips without any transition serve as material. Everything happens on small pictures, so that thousands of
sequences take minutes; a camera path (drift, shake, whip pan, zoom), tone changes, frame skipping and noise are
added to each shot, so that few clips give many shots.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

SOURCE_SIZE = (72, 128)
THUMBNAIL_SIZE = (36, 64)
MAX_SOURCE_FRAMES = 400

Frames = NDArray[np.float32]
Transitions = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """A composed sequence and its truth.

    Attributes:
      kind: what was composed, e.g. "cut", "dissolve", "flash".
      thumbnails: (n, 36, 64, 3) uint8 Y, U, V.
      transitions: first touched and first fully new frame of every shot boundary.
    """

    kind: str
    thumbnails: NDArray[np.uint8]
    transitions: Transitions


def planes_of(frame: av.VideoFrame) -> list[NDArray[np.uint8]]:
    """Y, U and V planes of a frame as 8-bit pictures (deeper formats are converted)."""
    if frame.format.name not in ("yuv420p", "yuvj420p"):
        frame = frame.reformat(format="yuv420p")
    return [
        np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width]
        for p in frame.planes  # type: ignore[call-overload]
    ]


def load_small(path: Path, size: tuple[int, int], max_frames: int | None = None) -> NDArray[np.uint8]:
    """Decode a video to (n, *size, 3) uint8: every plane averaged over the cells of a grid."""
    frames: list[NDArray[np.uint8]] = []
    with av.open(str(path), metadata_errors="ignore") as container:
        for frame in container.decode(video=0):
            small = [cv2.resize(p, size[::-1], interpolation=cv2.INTER_AREA) for p in planes_of(frame)]
            frames.append(np.stack(small, axis=-1).astype(np.uint8))
            if max_frames is not None and len(frames) == max_frames:
                break
    return np.stack(frames)


def load_sources(data_dir: Path) -> dict[str, NDArray[np.uint8]]:
    """Every clip of the data set that is known to be one shot, at 72x128, by name."""
    listed = (data_dir / "labels" / "single_shot.tsv").read_text().splitlines()
    paths = {name: data_dir / "videos" / name for name in listed if name and name[0] != "#" and name != "file"}
    for folder in sorted([*data_dir.glob("sequences/*"), *data_dir.glob("masks/*")]):
        paths[folder.name] = folder / "video.mp4"
    return {name: load_small(path, SOURCE_SIZE, MAX_SOURCE_FRAMES) for name, path in paths.items()}


class Composer:
    """Draws random compositions; the same seed gives the same sequence of them.

    Args:
      sources: clips as `load_sources` gives them.
      seed: of the random generator.
    """

    KINDS = (
        *("cut",) * 4, "montage", "montage", "mixed_cut", "jump_cut", "jump_cut", "blank_cut",
        *("dissolve",) * 4, "fade_out", "fade_in", "wipe",
        "none", "none", "flash", "flash", "whip", "occluder", "exposure", "drop", "caption", "pulse", "stutter",
    )  # fmt: skip

    def __init__(self, sources: dict[str, NDArray[np.uint8]], seed: int) -> None:
        self._sources = sources
        self._names = sorted(sources)
        self._rng = np.random.default_rng(seed)

    def compose(self, kind: str | None = None, length: int = 96) -> Composition:
        """Compose one sequence of about `length` frames, of a random kind unless one is named."""
        kind = kind or str(self._rng.choice(self.KINDS))
        frames, transitions = getattr(self, f"_{kind}")(length)
        if self._rng.random() < 0.15:
            frames = np.repeat(frames, 2, axis=0)
            transitions = tuple((2 * start, 2 * end) for start, end in transitions)
        return Composition(kind=kind, thumbnails=self._render(frames), transitions=transitions)

    def _uniform(self, low: float, high: float) -> float:
        return float(self._rng.uniform(low, high))

    def _integer(self, low: int, high: int) -> int:
        return int(self._rng.integers(low, high + 1))

    def _segment(self, name: str, length: int, start: int | None = None) -> tuple[Frames, int]:
        """Frames of a clip from a random start at a random speed (0: a still), back and forth if short."""
        clip = self._sources[name]
        speed = self._integer(0, 3) if len(clip) > 60 and self._rng.random() < 0.4 else 1
        start = self._integer(0, len(clip) - 1) if start is None else start
        index = (start + speed * np.arange(length)) % max(1, 2 * len(clip) - 2)
        index = np.where(index >= len(clip), 2 * len(clip) - 2 - index, index)
        return clip[index].astype(np.float32), start

    def _path(self, length: int) -> NDArray[np.float64]:
        """Camera path (length, 3): x and y shift in source pixels, zoom."""
        t = np.arange(length)
        zoom = self._uniform(1.0, 1.7) * (1 + self._uniform(-0.004, 0.004) * t * (self._rng.random() < 0.4))
        drift = self._rng.normal(0, 0.5, 2) * (self._rng.random() < 0.5)
        shake = self._rng.normal(0, 1, (length, 2)) * self._uniform(0, 2.5) * (self._rng.random() < 0.3)
        shift = drift * (t[:, None] - length / 2) + shake + self._rng.normal(0, 4, 2)
        return np.column_stack([shift, np.broadcast_to(np.maximum(zoom, 1.0), length)])

    def _move(self, frames: Frames, path: NDArray[np.float64]) -> Frames:
        height, width = frames.shape[1:3]
        moved = np.empty_like(frames)
        for i, (x, y, zoom) in enumerate(path):
            matrix = np.array([[zoom, 0, (1 - zoom) * width / 2 + x], [0, zoom, (1 - zoom) * height / 2 + y]])
            moved[i] = cv2.warpAffine(frames[i], matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        return moved

    def _tone(self) -> tuple[float, float, float, float]:
        """Gain, gamma, offset of luma and saturation of a shot's grading."""
        gain = self._uniform(0.25, 0.7) if self._rng.random() < 0.2 else self._uniform(0.7, 1.15)
        saturation = 0.0 if self._rng.random() < 0.15 else self._uniform(0.5, 1.3)
        return gain, self._uniform(0.75, 1.35), self._uniform(-8, 12), saturation

    def _grade(self, frames: Frames, tone: tuple[float, float, float, float]) -> Frames:
        gain, gamma, offset, saturation = tone
        luma = np.clip((frames[..., :1] - 16) / 219, 0, 1) ** gamma * 219 * gain + 16 + offset
        return np.concatenate([luma, (frames[..., 1:] - 128) * saturation + 128], axis=-1)

    def _shot(self, length: int, name: str | None = None) -> Frames:
        name = name or str(self._rng.choice(self._names))
        frames, _ = self._segment(name, length)
        if self._rng.random() < 0.5:
            frames = frames[:, :, ::-1]
        return self._grade(self._move(frames, self._path(length)), self._tone())

    def _two_shots(self, length: int) -> tuple[Frames, Frames]:
        first, second = self._rng.choice(self._names, 2, replace=False)
        return self._shot(length, str(first)), self._shot(length, str(second))

    def _blank(self, length: int) -> Frames:
        """A uniform picture: black mostly, else white or a colour."""
        colour = np.array([16.0, 128.0, 128.0])
        if self._rng.random() < 0.3:
            colour = np.array([235.0, 128.0, 128.0])
        elif self._rng.random() < 0.15:
            colour = self._rng.uniform([30, 90, 90], [220, 160, 160])
        return np.broadcast_to(colour.astype(np.float32), (length, *SOURCE_SIZE, 3)).copy()

    def _render(self, frames: Frames) -> NDArray[np.uint8]:
        """Box means down to thumbnails, with noise and a key-frame pulse as of a codec."""
        n = len(frames)
        rows, columns = THUMBNAIL_SIZE
        small = frames.reshape(n, rows, SOURCE_SIZE[0] // rows, columns, SOURCE_SIZE[1] // columns, 3).mean((2, 4))
        if self._rng.random() < 0.5:
            small = small + self._rng.normal(0, self._uniform(0, 1.2), small.shape)
        return np.clip(np.rint(small), 0, 255).astype(np.uint8)

    def _joined(self, first: Frames, second: Frames, weight: NDArray[np.float64]) -> Frames:
        w = weight.astype(np.float32).reshape(-1, *(1,) * (first.ndim - 1))
        return first * (1 - w) + second * w

    def _ramp(self, length: int, shortest: int = 5, longest: int = 60) -> tuple[NDArray[np.float64], int, int]:
        """Weight of the new shot: 0 up to a random start, then rising to 1 over a random time."""
        duration = round(np.exp(self._uniform(np.log(shortest), np.log(longest))))
        start = self._integer(12, max(12, length - duration - 12))
        weight = np.clip((np.arange(length) - start + 1) / duration, 0, 1)
        if self._rng.random() < 0.3:
            weight = weight * weight * (3 - 2 * weight)
        return weight, start, start + duration - 1

    def _cut(self, length: int) -> tuple[Frames, Transitions]:
        at = self._integer(8, length - 8)
        first, second = self._two_shots(length)
        return np.concatenate([first[:at], second[at:]]), ((at, at),)

    def _montage(self, length: int) -> tuple[Frames, Transitions]:
        """Cuts in quick succession."""
        frames = self._shot(length)
        transitions = []
        at = self._integer(4, 20)
        while at < length - 4:
            frames[at:] = self._shot(length - at)
            transitions.append((at, at))
            at += self._integer(4, 24)
        return frames, tuple(transitions)

    def _mixed_cut(self, length: int) -> tuple[Frames, Transitions]:
        frames, ((at, _),) = self._cut(length)
        frames[at] = (frames[at - 1] + frames[at + 1]) / 2
        return frames, ((at, at + 1),)

    def _jump_cut(self, length: int) -> tuple[Frames, Transitions]:
        """The same clip goes on much later, or seen through another crop: what interviews are full of."""
        long_names = [n for n in self._names if len(self._sources[n]) >= 100]
        name = str(self._rng.choice(long_names))
        tone = self._tone()
        at = self._integer(8, length - 8)
        first, start = self._segment(name, length)
        apart = self._integer(50, len(self._sources[name]) - 50)
        second, _ = self._segment(name, length, (start + apart) % len(self._sources[name]))
        first_path, second_path = self._path(length), self._path(length)
        second_path[:, 2] *= self._uniform(1.2, 1.8)
        frames = np.concatenate([self._move(first, first_path)[:at], self._move(second, second_path)[at:]])
        return self._grade(frames, tone), ((at, at),)

    def _blank_cut(self, length: int) -> tuple[Frames, Transitions]:
        at = self._integer(8, length - 8)
        first, second = self._shot(length), self._blank(length)
        if self._rng.random() < 0.5:
            first, second = second, first
        return np.concatenate([first[:at], second[at:]]), ((at, at),)

    def _dissolve(self, length: int) -> tuple[Frames, Transitions]:
        weight, start, end = self._ramp(length)
        return self._joined(*self._two_shots(length), weight), ((start, end),)

    def _fade_out(self, length: int) -> tuple[Frames, Transitions]:
        weight, start, end = self._ramp(length)
        return self._joined(self._shot(length), self._blank(length), weight), ((start, end),)

    def _fade_in(self, length: int) -> tuple[Frames, Transitions]:
        weight, start, end = self._ramp(length)
        return self._joined(self._blank(length), self._shot(length), weight), ((start, end),)

    def _wipe(self, length: int) -> tuple[Frames, Transitions]:
        """A soft edge that crosses the picture in a random direction."""
        first, second = self._two_shots(length)
        weight, start, end = self._ramp(length, 8, 40)
        rows, columns = np.mgrid[0:1:72j, 0:1:128j]
        angle = self._uniform(0, 2 * np.pi)
        position = np.cos(angle) * columns + np.sin(angle) * rows
        position = (position - position.min()) / np.ptp(position)
        w = np.clip((weight[:, None, None] * 1.1 - position) / 0.1, 0, 1)[..., None].astype(np.float32)
        return first * (1 - w) + second * w, ((start, end),)

    def _none(self, length: int) -> tuple[Frames, Transitions]:
        return self._shot(length), ()

    def _flash(self, length: int) -> tuple[Frames, Transitions]:
        """One to four flashes of one to six frames, global or local, with or without afterglow."""
        frames = self._shot(length)
        for _ in range(self._integer(1, 4)):
            at, duration = self._integer(10, length - 16), self._integer(1, 6)
            glow = np.exp(-np.arange(duration) / self._uniform(0.5, 6)) * self._uniform(60, 220)
            area = np.ones(SOURCE_SIZE, np.float32)
            if self._rng.random() < 0.5:
                rows, columns = np.mgrid[0:1:72j, 0:1:128j]
                centre = self._rng.uniform(0, 1, 2)
                reach = self._uniform(0.05, 0.5)
                area = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / reach).astype(np.float32)
            light = glow[:, None, None].astype(np.float32) * area
            frames[at : at + duration, ..., 0] = np.minimum(frames[at : at + duration, ..., 0] + light, 235)
        return frames, ()

    def _whip(self, length: int) -> tuple[Frames, Transitions]:
        """A short, very fast pan with motion blur."""
        name = str(self._rng.choice(self._names))
        frames, _ = self._segment(name, length)
        path = self._path(length)
        path[:, 2] = np.maximum(path[:, 2], 1.3)
        at, duration = self._integer(10, length - 30), self._integer(4, 16)
        pulse = np.sin(np.linspace(0, np.pi, duration)) ** 2
        speed = np.zeros((length, 2))
        speed[at : at + duration] = pulse[:, None] * self._rng.normal(0, 1, 2) * [9, 4]
        path[:, :2] += np.cumsum(speed, axis=0)
        moved = self._move(frames, path)
        for i in np.nonzero(np.abs(speed).max(1) > 1)[0]:
            kernel = (max(1, int(abs(speed[i, 0]))), max(1, int(abs(speed[i, 1]))))
            moved[i] = cv2.blur(moved[i], kernel)
        return self._grade(moved, self._tone()), ()

    def _occluder(self, length: int) -> tuple[Frames, Transitions]:
        """Something passes close to the lens and leaves the picture again."""
        frames = self._shot(length)
        other = self._shot(length)
        at, duration = self._integer(8, length - 36), self._integer(5, 24)
        width = self._integer(30, 110)
        rows, columns = SOURCE_SIZE
        blank = self._rng.random() < 0.5
        for i in range(duration):
            left = round(-width + (columns + width) * (i + 0.5) / duration)
            a, b = max(left, 0), min(left + width, columns)
            thing = other[0, :, : b - a] if not blank else other[0].mean((0, 1))
            frames[at + i, :, a:b] = thing
        return (frames[:, :, ::-1] if self._rng.random() < 0.5 else frames), ()

    def _exposure(self, length: int) -> tuple[Frames, Transitions]:
        """The camera adapts: luma gain changes by up to two, at once or over some frames."""
        weight, _, _ = self._ramp(length, 1, 30)
        gain = 1 + weight * (2 ** self._uniform(-1, 1) - 1)
        frames = self._shot(length)
        frames[..., 0] = 16 + (frames[..., 0] - 16) * gain[:, None, None].astype(np.float32)
        return np.minimum(frames, 250), ()

    def _drop(self, length: int) -> tuple[Frames, Transitions]:
        """Some frames are missing, or the last one is repeated in their place."""
        missing = self._integer(2, 6)
        frames = self._shot(length + missing)
        at = self._integer(10, length - 10)
        if self._rng.random() < 0.5:
            frames[at : at + missing] = frames[at]
            return frames[:length], ()
        return np.concatenate([frames[:at], frames[at + missing :]]), ()

    def _caption(self, length: int) -> tuple[Frames, Transitions]:
        """A lower third or a logo appears at once or softly."""
        weight, _, _ = self._ramp(length, 1, 15)
        frames = self._shot(length)
        top, left = self._integer(36, 60), self._integer(0, 70)
        bottom, right = min(72, top + self._integer(8, 20)), min(128, left + self._integer(30, 120))
        w = weight[:, None, None, None].astype(np.float32) * self._uniform(0.5, 1)
        patch = np.array([self._uniform(16, 235), 128, 128], np.float32)
        area = frames[:, top:bottom, left:right]
        text = (self._rng.random((1, bottom - top, right - left, 1)) < 0.3).astype(np.float32) * 80
        frames[:, top:bottom, left:right] = area * (1 - w) + (patch + text) * w
        return frames, ()

    def _pulse(self, length: int) -> tuple[Frames, Transitions]:
        """Coarsely coded pictures that sharpen at each key frame."""
        frames = self._shot(length)
        every, strength = self._integer(12, 40), self._integer(3, 9)
        for i in range(length):
            blur = 1 + round(strength * ((i % every) / every))
            frames[i] = cv2.blur(frames[i], (blur, blur))
        return frames, ()

    def _stutter(self, length: int) -> tuple[Frames, Transitions]:
        """Every frame is shown several times, in a regular or irregular rhythm."""
        counts = self._rng.integers(1, 4, length) if self._rng.random() < 0.5 else np.full(length, self._integer(2, 4))
        return np.repeat(self._shot(length), counts, axis=0)[:length], ()
