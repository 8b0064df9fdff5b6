"""The caption stages: captions and tags of kept clips."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from core.annotations import Caption, CaptionUsage
from core.records import ClipRecord, ClipStatus
from core.scores import TEXT_AREA
from core.stage import StageContract
from models.captions import CaptionDraft, CaptionSettings, MeasuredClip, caption_file, compose_caption
from models.captions.captioner import AnswerCache, Captioners, CaptionResult, caption_clips
from models.captions.embedded import MODEL_NAME
from models.captions.endpoints import check_endpoints, connect_captioners
from models.captions.local import check_local
from models.captions.measure import read_caption_input, read_measured_clip
from models.captions.prompts import prompts_id
from models.registry import ModelCard, WeightsFile
from storage.stage_output import StageOutput
from transforms.handlers.captions import CaptionHandler
from transforms.stage import ModelStage, Stage

FINAL_CLASSES = ("Blocked:",)
CAPTION_FIELDS = frozenset({"caption", "caption_reason", "caption_usage"})
MEASURED_FIELDS = frozenset(
    {"encoded", "geometry", "camera_motion", "cheap_scores", TEXT_AREA.field, "width", "height"}
)


CONTRACT = StageContract(
    name="CaptionClips",
    version=5,
    record=ClipRecord,
    reads=MEASURED_FIELDS,
    writes=CAPTION_FIELDS,
)


class ComposeCaptions(Stage[ClipRecord]):
    """Composes caption and tags from the values that earlier stages measured."""

    contract = CONTRACT
    settings: CaptionSettings

    def __init__(self, settings: CaptionSettings) -> None:
        self.settings = settings

    def applies(self, record: ClipRecord) -> bool:
        """Only kept clips are captioned."""
        return record.status is ClipStatus.KEPT and self.settings.model != "none"

    def run(self, record: ClipRecord, output: StageOutput) -> Mapping[str, Any]:
        """Captions one clip."""
        clip = read_measured_clip(record, output.store)
        draft = compose_caption(clip, self.settings.embedded)
        return {
            "caption": to_caption(draft, clip, self.settings, output, MODEL_NAME, None),
            "caption_reason": None,
            "caption_usage": None,
        }


class AskForCaptions(Stage[ClipRecord]):
    """Captions by models behind OpenAI's chat API, many clips at a time.

    A clip whose caption fails stays kept, with the reason. The next run repeats only the requests without an answer.

    Raises:
      WeightsError: if the client is not installed or a key is missing.
    """

    contract = CONTRACT
    settings: CaptionSettings

    def __init__(self, settings: CaptionSettings) -> None:
        self.model_name = check_endpoints(settings)
        self.settings = settings

    def applies(self, record: ClipRecord) -> bool:
        """Only kept clips are captioned."""
        return record.status is ClipStatus.KEPT

    @property
    def model_digest(self) -> str:
        """The prompts, which decide the result as weights do."""
        return prompts_id()

    def concurrency(self, num_threads: int) -> int:
        """Concurrent clips: requests wait for servers, not for threads."""
        return self.settings.calls.concurrency

    def describe(self) -> dict[str, Any]:
        """Description of the models for `plan` and `run.json`.

        It is not known what a server really runs.
        """
        hosts = dict.fromkeys(str(server.base_url) for server in self.settings.endpoints())
        return {"id": self.model_name, "computes": "captions and tags", "source": ", ".join(hosts)}

    def is_final(self, changes: Mapping[str, Any]) -> bool:
        """A caption, or a refusal that another try would meet again."""
        return changes["caption"] is not None or str(changes["caption_reason"]).startswith(FINAL_CLASSES)

    def setup(self, num_threads: int) -> None:
        """Prepares the lazy connection.

        The rate limiter's folder is known with the first clip.
        """
        self._lock = threading.Lock()
        self._captioners: Captioners | None = None

    def run(self, record: ClipRecord, output: StageOutput) -> Mapping[str, Any]:
        """Captions one clip.

        Raises:
          ItemError: if the cut clip cannot be read.
        """
        with self._lock:
            if self._captioners is None:
                self._captioners = connect_captioners(self.settings, output.progress.folder)
        clip = read_caption_input(record, self.settings.frames, output.store)
        (written,) = caption_clips([clip], self._captioners, [_StoredAnswers(output)])
        return _written_fields(written, clip.measured, self.settings, output, self.model_name)


class CaptionLocally(ModelStage[ClipRecord]):
    """Captions by a vision-language model in the workers, several clips at a time.

    Raises:
      WeightsError: if packages or the model are missing.
    """

    contract = CONTRACT
    settings: CaptionSettings

    def __init__(self, settings: CaptionSettings) -> None:
        name, digest = check_local(settings.transformers)
        self.cards = (_card(name, digest),)
        self.digests = (digest,)
        self.model_name = f"{name}@{digest[:16]}"
        self.settings = settings

    @property
    def model_digest(self) -> str:
        """Weights and prompts."""
        return f"{self.digests[0]}+{prompts_id()}"

    @property
    def device(self) -> str:
        """Where the model runs."""
        return self.settings.transformers.device

    def applies(self, record: ClipRecord) -> bool:
        """Only kept clips are captioned."""
        return record.status is ClipStatus.KEPT

    def handler(self, store_uri: str) -> ModelHandler[Any, Any, Any]:
        """The model."""
        return CaptionHandler(store_uri, self.settings)

    def example(self, record: ClipRecord) -> ClipRecord:
        """The clip and what was measured of it."""
        return record

    def fields(
        self, record: ClipRecord, prediction: tuple[CaptionResult, MeasuredClip], output: StageOutput
    ) -> Mapping[str, Any]:
        """Caption, or why there is none."""
        return _written_fields(*prediction, self.settings, output, self.model_name)


class _StoredAnswers(AnswerCache):
    """Answers of steps in the store, beside the stage's result."""

    def __init__(self, output: StageOutput) -> None:
        self._output = output

    def get(self, step: str) -> str | None:
        answer = self._output.find(f"{step}.json")
        return answer if isinstance(answer, str) else None

    def put(self, step: str, answer: str) -> None:
        self._output.keep(f"{step}.json", answer)


def caption_stage(settings: CaptionSettings) -> ComposeCaptions | AskForCaptions | CaptionLocally:
    """The caption step that the settings name.

    Raises:
      WeightsError: if what it needs is not there.
    """
    if settings.model == "server":
        return AskForCaptions(settings)
    return CaptionLocally(settings) if settings.model == "transformers" else ComposeCaptions(settings)


def _card(name: str, digest: str) -> ModelCard:
    """The row of a model that the user brought: its terms are not known here."""
    return ModelCard(
        model_id=name,
        task="captions",
        computes="captions and tags",
        source="captions.transformers.folder",
        revision=digest[:16],
        files=(WeightsFile(path=name, sha256=digest),),
        license="see the model's own",
        commercial_use=False,
        setting="captions.transformers.folder",
    )


def _written_fields(
    written: CaptionResult, clip: MeasuredClip, settings: CaptionSettings, output: StageOutput, model: str
) -> Mapping[str, Any]:
    usage, caption = written.usage, None
    if written.draft is not None:
        caption = to_caption(written.draft, clip, settings, output, model, prompts_id())
    return {
        "caption": caption,
        "caption_reason": None if written.error is None else str(written.error),
        "caption_usage": CaptionUsage(**{name: getattr(usage, name) for name in usage.__dataclass_fields__}),
    }


def to_caption(
    draft: CaptionDraft,
    clip: MeasuredClip,
    settings: CaptionSettings,
    output: StageOutput,
    model: str,
    prompts: str | None,
) -> Caption:
    """Writes a clip's caption file; returns its row values."""
    data = caption_file(draft, settings.layout, model)
    return Caption(
        file=output.write("caption.json", data, "application/json"),
        model=model,
        prompts=prompts,
        scene_summary=draft.scene_summary,
        scene_description=draft.scene_description,
        camera_motion_caption=draft.camera_motion,
        shot_immersion=draft.shot_immersion,
        motion_trends=draft.motion_trends,
        motion_tags=clip.path.tags() if clip.path else (),
        keywords=draft.keywords,
        odd_tags=draft.odd_tags(),
        **draft.normalized_tags(),
    )
