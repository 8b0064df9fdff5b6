"""Captions by vision-language models in three steps.

Describe the images, correct by the poses, choose tags.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from models.captions.answers import Answer, AnswerT, RefinedAnswer, SceneAnswer, TagAnswer
from models.captions.chat import CaptionError, Chat, ChatModel, ChatRequest, LabeledImage, Usage, run_chats
from models.captions.draft import CaptionDraft, MeasuredClip
from models.captions.prompts import describe_measured_motion, fill

TAGS = tuple(TagAnswer.model_fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionInput:
    """Input of the models for a clip: measurements, sampled images, times in seconds."""

    measured: MeasuredClip
    images: tuple[LabeledImage, ...]
    times_s: tuple[float, ...]


@dataclass(slots=True, kw_only=True)
class CaptionResult:
    """Caption of a clip or the error, and the usage of this run."""

    draft: CaptionDraft | None = None
    error: CaptionError | None = None
    usage: Usage = field(default_factory=Usage)


class AnswerCache:
    """Cache of answers by step; this base class is always empty.

    A retried clip pays only for the steps that failed.
    """

    def get(self, step: str) -> str | None:
        """The answer as JSON, or None."""
        return None

    def put(self, step: str, answer: str) -> None:
        """Stores an answer as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captioners:
    """The vision and text models, their output token limits, and repairs per answer."""

    vision: ChatModel
    text: ChatModel
    vision_tokens: int
    text_tokens: int
    max_repairs: int


def caption_clips(
    clips: Sequence[CaptionInput], captioners: Captioners, caches: Sequence[AnswerCache] | None = None
) -> list[CaptionResult]:
    """Captions of clips, each step batched over all clips.

    An error ends only its own clip.
    """
    caches = caches or [AnswerCache() for _ in clips]
    results = [CaptionResult() for _ in clips]

    def run(step: str, answer_type: type[AnswerT], make_request: Callable[[int], ChatRequest]) -> dict[int, AnswerT]:
        model = captioners.vision if step == "vision" else captioners.text
        return _run_step(step, answer_type, model, captioners.max_repairs, results, caches, make_request)

    scenes = run("vision", SceneAnswer, lambda i: _vision_request(clips[i], captioners))
    refined = run("refine", RefinedAnswer, lambda i: _refine_request(clips[i], scenes[i], captioners))
    tags = run("tags", TagAnswer, lambda i: _tag_request(clips[i], scenes[i], captioners))
    for index, result in enumerate(results):
        if result.error is None:
            result.draft = _draft(scenes[index], refined[index], tags[index])
    return results


def _run_step(
    step: str,
    answer_type: type[AnswerT],
    model: ChatModel,
    max_repairs: int,
    results: Sequence[CaptionResult],
    caches: Sequence[AnswerCache],
    make_request: Callable[[int], ChatRequest],
) -> dict[int, AnswerT]:
    """Answers of one step by clip index, for all clips without an error."""
    answers: dict[int, AnswerT] = {}
    chats: dict[int, Chat[AnswerT]] = {}
    for index, result in enumerate(results):
        if result.error is not None:
            continue
        if (cached := caches[index].get(step)) is not None:
            answers[index] = answer_type.model_validate_json(cached)
        else:
            chats[index] = Chat(make_request(index), answer_type, max_repairs)
    run_chats(model, list(chats.values()))
    for index, chat in chats.items():
        results[index].usage += chat.usage
        results[index].error = chat.error
        if chat.answer is not None:
            answers[index] = chat.answer
            caches[index].put(step, chat.answer.model_dump_json())
    return answers


def _request(
    step: str, answer_type: type[Answer], max_tokens: int, images: tuple[LabeledImage, ...] = (), **values: str
) -> ChatRequest:
    return ChatRequest(
        system=fill("system"),
        text=fill(step, **values).strip(),
        answer_type=answer_type,
        max_output_tokens=max_tokens,
        images=images,
    )


def _vision_request(clip: CaptionInput, captioners: Captioners) -> ChatRequest:
    seconds = f"{clip.measured.duration_s:.1f}"
    return _request("vision", SceneAnswer, captioners.vision_tokens, clip.images, duration=seconds)


def _refine_request(clip: CaptionInput, scene: SceneAnswer, captioners: Captioners) -> ChatRequest:
    return _request(
        "refine",
        RefinedAnswer,
        captioners.text_tokens,
        duration=f"{clip.measured.duration_s:.1f}",
        seen_motion=scene.camera_motion,
        scene_description=scene.scene_description,
        motion=describe_measured_motion(clip.measured, clip.times_s),
    )


def _tag_request(clip: CaptionInput, scene: SceneAnswer, captioners: Captioners) -> ChatRequest:
    return _request(
        "tags",
        TagAnswer,
        captioners.text_tokens,
        scene_description=scene.scene_description,
        luminance=f"{clip.measured.luminance:.0f}",
    )


def _draft(scene: SceneAnswer, refined: RefinedAnswer, tags: TagAnswer) -> CaptionDraft:
    return CaptionDraft(
        scene_summary=refined.scene_summary,
        scene_description=scene.scene_description,
        camera_motion=refined.camera_motion,
        shot_immersion=refined.shot_immersion,
        seen_motion=scene.camera_motion,
        motion_trends=tuple(refined.motion_trends),
        keywords=tuple(refined.keywords),
        tags={name: getattr(tags, name) for name in TAGS},
    )
