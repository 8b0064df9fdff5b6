"""Records of a shipped example after the first stages, for tests of single stages."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from core.annotations import SpatialAnnotation
from core.arrays import Float64Array
from core.records import ClipRecord, ClipStatus, VideoRecord, make_video_id
from media.encode import CutSettings
from models.video_analysis import AnalysisSettings
from storage.shard_members import npy_bytes
from storage.store import Store
from tests.support.paths import EXAMPLES
from transforms.analyze import AnalyzeVideo, clips_of, read_analysis
from transforms.clips import CutClips
from transforms.ingest import ProbeSettings, ProbeVideo
from transforms.stage import Stage

CARPHONE = EXAMPLES / "carphone_pristine.mp4"


def advance(record: Any, stage: Stage[Any], store: Store) -> Any:
    """The record after a stage, run in this process."""
    stage.setup(1)
    return dataclasses.replace(record, **stage.run(record, stage.output(record, store)))


def listed_video(path: Path = CARPHONE) -> VideoRecord:
    """The video as a listing names it."""
    return VideoRecord(video_id=make_video_id(str(path)), uri=str(path))


def analyzed_video(store: Store, path: Path = CARPHONE) -> VideoRecord:
    """The video, probed and analyzed as one clip; the analysis is in the store."""
    settings = AnalysisSettings.model_validate({"shots": {"mode": "whole"}})
    return advance(advance(listed_video(path), ProbeVideo(ProbeSettings()), store), AnalyzeVideo(settings), store)


def candidate(store: Store, path: Path = CARPHONE) -> ClipRecord:
    """The video's only candidate clip."""
    video = analyzed_video(store, path)
    analysis = read_analysis(video, store)
    assert analysis is not None
    (clip,) = clips_of(video, analysis)
    return clip


def cut_clip_record(store: Store, path: Path = CARPHONE) -> ClipRecord:
    """The kept and cut clip; its bytes are in the store."""
    clip = dataclasses.replace(candidate(store, path), status=ClipStatus.KEPT)
    return advance(clip, CutClips(CutSettings.model_validate({"whole_video": "copy"})), store)


def spatial_annotation(store: Store, poses: Float64Array, fps: float = 5.0, **values: Any) -> SpatialAnnotation:
    """A usable annotation with these poses (n, 7), evenly spaced in time; `values` overrides fields."""
    count = len(poses)
    arrays = {
        "poses": poses,
        "times": np.arange(count) / fps,
        "frames": np.stack([np.arange(count), np.arange(count)], axis=1),
        "intrinsics": np.tile([200.0, 200.0, 88.0, 72.0], (count, 1)),
    }
    files = {name: store.write_bytes(f"{name}.npy", npy_bytes(a), "application/x-npy") for name, a in arrays.items()}
    known = {
        "num_annotated_frames": count,
        "pose_ok": True,
        "camera_motion_kind": "general",
        "scene_depth": 4.0,
        "pose_registered_share": float(np.isfinite(poses[:, 0]).mean()),
        "pose_num_points": 100,
        "pose_num_windows": 1,
    }
    unknown: dict[str, Any] = {field.name: None for field in dataclasses.fields(SpatialAnnotation)}
    return SpatialAnnotation(**unknown | known | files | values)
