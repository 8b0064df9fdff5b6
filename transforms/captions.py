"""The caption step: words and tags for each kept clip."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from core.clip_files import read_npy
from core.records import CaptionFacts, CaptionUsage, ClipRecord, ClipStatus
from core.stage import Stage, StageContract, StageOutput
from core.store import Store
from media.probe import probe_video
from models.camera_path import fill_poses
from models.captions import CaptionDraft, CaptionSettings, MeasuredClip, caption_file, compose_caption
from models.captions.embedded import MODEL_NAME
from models.captions.frames import read_pictures
from models.captions.motion import CameraPath, spread_words
from models.captions.prompts import prompts_id
from models.captions.servers import check_servers, connect_writers
from models.captions.writer import AnswerMemory, ClipToCaption, Writers, write_captions
from models.motion_labels.steps import measure_steps

FINAL_CLASSES = ("Blocked:",)
CAPTION_FIELDS = frozenset({"caption", "caption_reason", "caption_usage"})
MEASURED_FIELDS = frozenset({"encoded", "geometry", "camera_motion", "scores", "ocr_score", "width", "height"})


class _CaptionStage(Stage[ClipRecord]):
    """A step that captions kept clips."""

    contract = StageContract(
        name="CaptionClips",
        version=1,
        record=ClipRecord,
        reads=MEASURED_FIELDS,
        writes=CAPTION_FIELDS,
    )
    settings: CaptionSettings

    def applies(self, record: ClipRecord) -> bool:
        """Only kept clips are captioned."""
        return record.status is ClipStatus.KEPT and self.settings.model != "none"


class ComposeCaptions(_CaptionStage):
    """Composes caption and tags from what earlier steps measured."""

    def __init__(self, settings: CaptionSettings) -> None:
        self.settings = settings

    def run(self, record: ClipRecord, output: StageOutput) -> Mapping[str, Any]:
        """Captions one clip."""
        clip = measured_clip(record, output.store)
        draft = compose_caption(clip, self.settings.embedded)
        return {
            "caption": caption_facts(draft, clip, self.settings, output, MODEL_NAME, None),
            "caption_reason": None,
            "caption_usage": None,
        }


class AskForCaptions(_CaptionStage):
    """Captions by models behind OpenAI's chat API, many clips at a time.

    A clip whose caption fails stays kept, with the reason; the next run asks again, but for the steps that have
    an answer already.

    Raises:
      WeightsError: if the client is not installed or a key is missing.
    """

    def __init__(self, settings: CaptionSettings) -> None:
        self.model_name = check_servers(settings)
        self.settings = settings.identity()
        self._full = settings

    @property
    def model_digest(self) -> str:
        """The prompts, which decide the result as weights do."""
        return prompts_id()

    @property
    def concurrency(self) -> int:
        """Clips under way at a time."""
        return self._full.calls.concurrency

    def is_final(self, changes: Mapping[str, Any]) -> bool:
        """A caption, or a refusal that another try would meet again."""
        return changes["caption"] is not None or str(changes["caption_reason"]).startswith(FINAL_CLASSES)

    def setup(self) -> None:
        """Nothing yet: the account to share is known with the first clip."""
        self._lock = threading.Lock()
        self._writers: Writers | None = None

    def run(self, record: ClipRecord, output: StageOutput) -> Mapping[str, Any]:
        """Captions one clip.

        Raises:
          ItemError: if the cut clip cannot be read.
        """
        with self._lock:
            if self._writers is None:
                self._writers = connect_writers(self._full, output.progress.folder)
        clip = _clip_to_caption(record, self.settings, output.store)
        (written,) = write_captions([clip], self._writers, [_StoredAnswers(output)])
        usage = written.usage
        caption = None
        if written.draft is not None:
            caption = caption_facts(written.draft, clip.measured, self.settings, output, self.model_name, prompts_id())
        return {
            "caption": caption,
            "caption_reason": None if written.error is None else str(written.error),
            "caption_usage": CaptionUsage(**{name: getattr(usage, name) for name in usage.__dataclass_fields__}),
        }


class _StoredAnswers(AnswerMemory):
    """Answers of steps in the store, beside the stage's result."""

    def __init__(self, output: StageOutput) -> None:
        self._output = output

    def recall(self, step: str) -> str | None:
        path = self._output.path(f"{step}.json")
        return self._output.store.read_bytes(path).decode() if self._output.store.exists(path) else None

    def keep(self, step: str, answer: str) -> None:
        self._output.write(f"{step}.json", answer.encode(), "application/json")


def caption_stage(settings: CaptionSettings) -> ComposeCaptions | AskForCaptions:
    """The caption step that the settings name.

    Raises:
      WeightsError: if what it needs is not there.
    """
    return AskForCaptions(settings) if settings.model == "server" else ComposeCaptions(settings)


def _clip_to_caption(record: ClipRecord, settings: CaptionSettings, store: Store) -> ClipToCaption:
    encoded = record.encoded
    if encoded is None:
        raise ValueError(f"clip {record.clip_id} is kept but was not cut")
    with store.local_copy(encoded.video.path) as path:
        pictures, times_s = read_pictures(path, probe_video(path), encoded.num_frames, encoded.fps, settings.frames)
    return ClipToCaption(measured=measured_clip(record, store), pictures=tuple(pictures), times_s=tuple(times_s))


def caption_facts(
    draft: CaptionDraft,
    clip: MeasuredClip,
    settings: CaptionSettings,
    output: StageOutput,
    model: str,
    prompts: str | None,
) -> CaptionFacts:
    """Writes a clip's caption file and returns what the table holds of it."""
    data = caption_file(draft, settings.layout, model)
    return CaptionFacts(
        file=output.write("caption.json", data, "application/json"),
        model=model,
        prompts=prompts,
        scene_summary=draft.scene_summary,
        scene_description=draft.scene_description,
        camera_motion=draft.camera_motion,
        shot_immersion=draft.shot_immersion,
        motion_trends=draft.motion_trends,
        motion_tags=clip.path.tags() if clip.path else (),
        keywords=draft.keywords,
        odd_tags=draft.odd_tags(),
        **draft.normalized_tags(),
    )


def measured_clip(record: ClipRecord, store: Store) -> MeasuredClip:
    """What is known of a kept clip before it is captioned."""
    if record.encoded is None:
        raise ValueError(f"clip {record.clip_id} is kept but was not cut")
    geometry, motion, scores = record.geometry, record.camera_motion, record.scores
    return MeasuredClip(
        width=record.width,
        height=record.height,
        duration_s=record.encoded.duration_s,
        luminance=scores.luminance_score,
        darkest=scores.luminance_all_min,
        brightest=scores.luminance_all_max,
        text_share=record.ocr_score,
        moving_share=geometry.moving_share if geometry else None,
        motion_sentence=motion.motion_sentence if motion else None,
        pose_reason=geometry.pose_reason if geometry else "poses were not estimated",
        path=_camera_path(record, store),
    )


def _camera_path(record: ClipRecord, store: Store) -> CameraPath | None:
    """The camera's motion between its poses; None where there are no poses fit for use, or just one."""
    geometry, motion, encoded = record.geometry, record.camera_motion, record.encoded
    if geometry is None or motion is None or encoded is None or geometry.num_frames < 2:
        return None
    frame_map = read_npy(store.read_bytes(geometry.frames.path))
    times_s = frame_map[:, 1].astype(np.float64) * (encoded.duration_s / encoded.num_frames)
    poses = fill_poses(read_npy(store.read_bytes(geometry.poses.path)), times_s)
    moves = geometry.motion_kind == "general" and geometry.typical_depth is not None
    steps = measure_steps(poses, times_s=times_s, scene_depth=geometry.typical_depth, has_translation=moves)
    words = spread_words(json.loads(store.read_bytes(motion.instructions.path)), len(poses))
    facts = motion.trajectory
    return CameraPath(
        steps=steps,
        words=words,
        has_translation=moves,
        dist_level=facts.dist_level if moves else None,
        turns=facts.traj_turns if moves else None,
    )
