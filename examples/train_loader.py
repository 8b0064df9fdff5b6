"""Reads shards into training batches of frames, depth, cameras, masks and captions.

    python examples/train_loader.py OUT/shards --batches 50

A template to copy: it needs webdataset, av and numpy only, not this program. With PyTorch, give the data set to
`webdataset.WebLoader(..., num_workers=N)`; arrays become tensors by `torch.from_numpy`.

A sample is a window of consecutive annotated frames (5 a second by default). All arrays have the requested frame
size; pixel centers are at integers; camera axes are x right, y down, z forward.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import webdataset as wds

Sample = dict[str, Any]


def make_dataset(shards: str | list[str], *, frames: int, size: tuple[int, int], batch: int, seed: int = 0) -> Any:
    """Returns a data set of shuffled batches: one pass over the shards.

    Args:
      shards: tar files, or a pattern such as "shards/clips-{00000..00041}-of-00042.tar".
      frames: annotated frames in a sample; shorter clips and those without poses or depth are skipped.
      size: (width, height) of all images and maps.
      batch: samples in a batch.
      seed: of the order and of the windows.

    Returns:
      A `webdataset` pipeline of dicts: `rgb` (b, t, h, w, 3) uint8; `depth` (b, t, h, w) float32, NaN where unknown;
      `moving` (b, t, h, w) bool; `cam_from_first` (b, t, 4, 4), which maps the axes of the window's first camera to
      each camera's; `intrinsics_px` (b, t, 4) fx fy cx cy; `times_s` (b, t); `caption` and `clip_id`, lists of text.
    """
    rng = np.random.default_rng(seed)
    return (
        wds.WebDataset(shards, shardshuffle=False, empty_check=False, nodesplitter=wds.split_by_node)
        .shuffle(100, seed=seed)
        .select(lambda sample: _is_usable(sample, frames))
        .map(lambda sample: read_window(sample, frames, size, rng))
        .batched(batch, collation_fn=collate)
    )


def _is_usable(sample: Sample, frames: int) -> bool:
    """Returns whether a clip has poses, depth, masks and enough frames."""
    row = json.loads(sample["json"])
    if not row.get("pose_ok") or row["num_annotated_frames"] < frames:
        return False
    if not {"depth.npz", "dyn_masks.npz"} <= sample.keys() or not len(_starts(sample, frames)):
        return False
    with np.load(io.BytesIO(sample["depth.npz"])) as depth, np.load(io.BytesIO(sample["dyn_masks.npz"])) as masks:
        return depth["map_from_clip"].size > 0 and masks["shape"].size > 0


def _starts(sample: Sample, frames: int) -> np.ndarray[Any, Any]:
    """Returns the first frames of windows in which every frame has a pose."""
    has_pose = np.isfinite(_npy(sample["poses.npy"])).all(axis=1)
    return np.flatnonzero([has_pose[i : i + frames].all() for i in range(len(has_pose) - frames + 1)])


def read_window(sample: Sample, frames: int, size: tuple[int, int], rng: np.random.Generator) -> Sample:
    """Returns one window of a clip, at a random position."""
    row = json.loads(sample["json"])
    start = int(rng.choice(_starts(sample, frames)))
    window = slice(start, start + frames)
    indices = _npy(sample["frames.npy"])[window, 1]
    matrices = _matrices(_npy(sample["poses.npy"])[window])
    sx, sy = size[0] / row["clip_width"], size[1] / row["clip_height"]
    fx, fy, cx, cy = _npy(sample["intrinsics.npy"])[window].T
    with np.load(io.BytesIO(sample["depth.npz"]), allow_pickle=False) as file:
        depth = np.where(file["valid"][window], file["depth"][window], np.nan).astype(np.float32)
    caption = json.loads(sample.get("caption.json", b"{}"))
    return {
        "clip_id": sample["__key__"],
        "caption": caption.get("SceneDescription") or row.get("motion_sentence") or "",
        "rgb": _images(sample["mp4"], indices.tolist(), size),
        "depth": _nearest(depth, size),
        "moving": _nearest(_masks(sample["dyn_masks.npz"], window), size),
        "cam_from_first": matrices @ np.linalg.inv(matrices[0]),
        "intrinsics_px": np.stack([fx * sx, fy * sy, (cx + 0.5) * sx - 0.5, (cy + 0.5) * sy - 0.5], axis=1),
        "times_s": _npy(sample["times.npy"])[window],
    }


def collate(samples: list[Sample]) -> Sample:
    """Stacks arrays and lists texts."""
    batch = {name: [sample[name] for sample in samples] for name in samples[0]}
    return {name: np.stack(v) if isinstance(v[0], np.ndarray) else v for name, v in batch.items()}


def _npy(data: bytes) -> np.ndarray[Any, Any]:
    return np.load(io.BytesIO(data), allow_pickle=False)


def _matrices(poses: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Returns (n, 4, 4) matrices of (n, 7) poses."""
    x, y, z, w = poses[:, 3:].T
    made = np.tile(np.eye(4), (len(poses), 1, 1))
    made[:, 0, :3] = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], axis=1)
    made[:, 1, :3] = np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], axis=1)
    made[:, 2, :3] = np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], axis=1)
    made[:, :3, 3] = poses[:, :3]
    return made


def _images(video: bytes, indices: list[int], size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Returns (n, h, w, 3) frames by index; decoding stops after the last one."""
    found = []
    with av.open(io.BytesIO(video)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index == indices[len(found)]:
                found.append(frame.reformat(*size, format="rgb24").to_ndarray())
                if len(found) == len(indices):
                    break
    return np.stack(found)


def _masks(data: bytes, window: slice) -> np.ndarray[Any, Any]:
    """Returns (n, h, w) masks from the CSR matrices in `dyn_masks.npz`."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        *_, height, width = file["shape"].tolist()
        if "indptr" in file:
            indptr = file["indptr"][window.start * height : window.stop * height + 1]
            masks = np.zeros((len(indptr) - 1, width), bool)
            rows = np.repeat(np.arange(len(masks)), np.diff(indptr))
            masks[rows, file["indices"][indptr[0] : indptr[-1]]] = True
            return masks.reshape(-1, height, width)
        masks = np.zeros((window.stop - window.start, height, width), bool)
        for mask, i in zip(masks, range(window.start, window.stop), strict=True):
            mask[np.repeat(np.arange(height), np.diff(file[f"f_{i}_indptr"])), file[f"f_{i}_indices"]] = True
    return masks


def _nearest(maps: np.ndarray[Any, Any], size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Resizes maps (n, h, w) by nearest neighbor."""
    height, width = maps.shape[1:]
    rows = ((np.arange(size[1]) + 0.5) * height / size[1]).astype(int)
    columns = ((np.arange(size[0]) + 0.5) * width / size[0]).astype(int)
    return maps[:, rows[:, None], columns]


def _measured(dataset: Any, batches: int) -> Iterator[str]:
    """Yields the shapes of the first batch, then the throughput of the rest."""
    samples = frames = 0
    clock = cpu = 0.0
    for number, batch in enumerate(dataset):
        if number == 0:
            yield "; ".join(f"{k} {v.shape} {v.dtype}" for k, v in batch.items() if isinstance(v, np.ndarray))
            clock, cpu = time.perf_counter(), time.process_time()
            continue
        samples += len(batch["clip_id"])
        frames += batch["rgb"].shape[0] * batch["rgb"].shape[1]
        if number + 1 >= batches:
            break
    if samples:
        times = {"a second": time.perf_counter() - clock, "a CPU second": time.process_time() - cpu}
        speeds = (f"{samples / s:.1f} samples and {frames / s:.0f} frames {name}" for name, s in times.items())
        yield f"{samples} samples by one process: {'; '.join(speeds)}"


def main() -> None:
    """Reads batches and prints the throughput."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path, help="folder of tar files")
    parser.add_argument("--batches", type=int, default=50)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, nargs=2, default=(384, 216), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--repeat", type=int, default=1, help="passes over the shards")
    options = parser.parse_args()
    shards = sorted(map(str, options.shards.glob("*.tar"))) * options.repeat
    dataset = make_dataset(shards, frames=options.frames, size=tuple(options.size), batch=options.batch)
    lines = list(_measured(dataset, options.batches))
    print("\n".join(lines) or f"no clip in {options.shards} has poses, depth and {options.frames} annotated frames")


if __name__ == "__main__":
    main()
