"""CPU seconds of each stage per hour of video or clip, without Beam.

No clip is rejected, so that all stages run. `--write` puts the figures into configs/measured_costs.json, from which
`launcher.py plan` and benchmarks/scale_plan.py estimate runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beam_pipeline.config import load_config
from beam_pipeline.estimate import COSTS_PATH, PER_CLIP, PER_HOUR, PER_KEPT
from beam_pipeline.graph import Stages, make_stages
from benchmarks.measure import DATA, real_videos
from core.failures import ItemError
from core.records import ClipRecord, ClipStatus, VideoRecord
from storage.sources import list_videos, make_spec
from storage.store import Store
from transforms.analyze import clips_of, read_analysis
from transforms.coders import RecordCoder
from transforms.shards import annotation_files
from transforms.stage import ModelStage, Stage, StageBase


class Meter:
    """Runs stages on records and sums their CPU seconds."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.cpu_s: dict[str, float] = defaultdict(float)
        self._models: dict[str, tuple[Any, Any]] = {}

    def advance(self, stage: StageBase[Any], record: Any) -> Any:
        """Returns the record after a stage; unchanged if the stage does not apply."""
        if not isinstance(stage, Stage | ModelStage) or not stage.applies(record):
            return record
        if stage.contract.name not in self._models:
            self._models[stage.contract.name] = self._open(stage)
        started = time.process_time()
        if isinstance(stage, Stage):
            changes = stage.run(record, stage.output(record, self.store))
        else:
            handler, model = self._models[stage.contract.name]
            prediction = handler.run_inference([stage.example(record)], model)[0]
            changes = stage.fields(record, prediction, stage.output(record, self.store))
        self.cpu_s[stage.contract.name] += time.process_time() - started
        return dataclasses.replace(record, **changes)

    def _open(self, stage: StageBase[Any]) -> tuple[Any, Any]:
        if isinstance(stage, Stage):
            stage.setup(1)
            return None, None
        handler = stage.handler(self.store.root_uri) if isinstance(stage, ModelStage) else None
        return handler, handler.load_model() if handler else None


def measure(paths: list[Path], config_name: str) -> dict[str, Any]:
    """Returns the figures of all stages over the videos that can be read."""
    no_limits = [f"thresholds.limits.{name}=null" for name in load_config(config_name).thresholds.limits]
    stages = make_stages(load_config(config_name, no_limits))
    with tempfile.TemporaryDirectory(prefix="spatialbeam-costs-") as folder:
        meter = Meter(Store(folder))
        videos, clips = _run(stages, meter, paths)
        kept = [clip for clip in clips if clip.status is ClipStatus.KEPT]
        hours = sum(float(v.info.duration_s or 0) for v in videos if v.info) / 3600
        stored, files = _stored(Path(folder))
        members = [ref.size_bytes for clip in kept for ref in annotation_files(clip).values()]
        cut = [clip.encoded.video.size_bytes for clip in kept if clip.encoded]
    clip_stages = [s.contract.name for s in stages.clip]
    first_of_kept = clip_stages.index("ApplyThresholds") + 1
    units = {s.contract.name: PER_HOUR for s in stages.video}
    units |= dict.fromkeys(clip_stages[:first_of_kept], PER_CLIP) | dict.fromkeys(clip_stages[first_of_kept:], PER_KEPT)
    amounts = {PER_HOUR: hours, PER_CLIP: len(clips), PER_KEPT: len(kept)}
    return {
        "profile": config_name,
        "videos": len(videos),
        "hours": round(hours, 4),
        "clips_an_hour": round(len(clips) / hours, 1),
        "stages": {
            name: {"per": unit, "cpu_s": round(meter.cpu_s[name] / amounts[unit], 4)}
            for name, unit in units.items()
            if name in meter.cpu_s
        },
        "record_bytes": {
            "video": round(statistics.mean(len(RecordCoder(VideoRecord).encode(v)) for v in videos)),
            "clip": round(statistics.mean(len(RecordCoder(ClipRecord).encode(c)) for c in clips)),
            "clip_max": max(len(RecordCoder(ClipRecord).encode(c)) for c in clips),
        },
        "store_bytes_a_clip": round(stored / len(clips)),
        "store_files_a_clip": round(files / len(clips), 1),
        "shard_bytes_a_kept_clip": round((sum(members) + sum(cut)) / len(kept)),
    }


def _stored(folder: Path) -> tuple[int, int]:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(sizes), len(sizes)


def _run(stages: Stages, meter: Meter, paths: list[Path]) -> tuple[list[VideoRecord], list[ClipRecord]]:
    videos, clips = [], []
    for path in paths:
        for video in list_videos(make_spec(str(path))):
            record: Any = video
            try:
                for stage in stages.video:
                    record = meter.advance(stage, record)
            except ItemError:
                continue
            videos.append(record)
            analysis = read_analysis(record, meter.store)
            for clip in clips_of(record, analysis) if analysis else ():
                clips.append(_through(stages.clip, meter, clip))
    return videos, clips


def _through(stages: Sequence[StageBase[Any]], meter: Meter, clip: Any) -> Any:
    """Returns a clip after all stages; failing stages leave it unchanged, but are measured."""
    try:
        for stage in stages:
            clip = meter.advance(stage, clip)
    except ItemError:
        pass
    return clip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="demo", help="profile; `demo` allows the short clips of test videos")
    parser.add_argument("--write", action="store_true", help=f"write {COSTS_PATH.name}")
    options = parser.parse_args()
    figures = measure(sorted((DATA / "videos").glob("*")) or real_videos(240), options.config)
    text = json.dumps(figures, indent=2) + "\n"
    if options.write:
        COSTS_PATH.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
