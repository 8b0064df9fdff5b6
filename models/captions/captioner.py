"""The three steps of a caption that models write: look at the pictures, correct by the poses, choose tags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from models.captions.answers import Answer, AnswerT, RefinedAnswer, SceneAnswer, TagAnswer
from models.captions.chat import CaptionError, Chat, ChatModel, ChatRequest, Picture, Usage, ask
from models.captions.draft import CaptionDraft, MeasuredClip
from models.captions.prompts import fill, tell_motion

TAGS = tuple(TagAnswer.model_fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipToCaption:
    """A clip for the models: what was measured, and its pictures with their times in seconds."""

    measured: MeasuredClip
    pictures: tuple[Picture, ...]
    times_s: tuple[float, ...]


@dataclass(slots=True, kw_only=True)
class WrittenCaption:
    """A caption, or why there is none, and what it cost in this run."""

    draft: CaptionDraft | None = None
    error: CaptionError | None = None
    usage: Usage = field(default_factory=Usage)


class AnswerMemory:
    """Answers of steps that are known already, so that a clip that failed later does not pay for them again."""

    def recall(self, step: str) -> str | None:
        """The answer as JSON, or None."""
        return None

    def keep(self, step: str, answer: str) -> None:
        """Remembers an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captioners:
    """The models of the steps with pictures and without, and how much they may say."""

    vision: ChatModel
    text: ChatModel
    vision_tokens: int
    text_tokens: int
    max_repairs: int


def write_captions(
    clips: Sequence[ClipToCaption], writers: Captioners, memories: Sequence[AnswerMemory] | None = None
) -> list[WrittenCaption]:
    """Captions of clips, step by step, all clips together in each; one that fails leaves the others alone."""
    memories = memories or [AnswerMemory() for _ in clips]
    written = [WrittenCaption() for _ in clips]
    scenes = _run("vision", SceneAnswer, writers.vision, writers, written, memories, lambda i: _look(clips[i], writers))
    refined = _run(
        "refine",
        RefinedAnswer,
        writers.text,
        writers,
        written,
        memories,
        lambda i: _refine(clips[i], scenes[i], writers),
    )
    tags = _run(
        "tags", TagAnswer, writers.text, writers, written, memories, lambda i: _tag(clips[i], scenes[i], writers)
    )
    for index, result in enumerate(written):
        if result.error is None:
            result.draft = _draft(scenes[index], refined[index], tags[index])
    return written


def _run(
    step: str,
    answer_type: type[AnswerT],
    chat: ChatModel,
    writers: Captioners,
    written: Sequence[WrittenCaption],
    memories: Sequence[AnswerMemory],
    make_request: Callable[[int], ChatRequest],
) -> dict[int, AnswerT]:
    """One step for all clips without an error so far: the answer by index of the clip."""
    answers: dict[int, AnswerT] = {}
    conversations: dict[int, Chat[AnswerT]] = {}
    for index, result in enumerate(written):
        if result.error is not None:
            continue
        if (known := memories[index].recall(step)) is not None:
            answers[index] = answer_type.model_validate_json(known)
        else:
            conversations[index] = Chat(make_request(index), answer_type, writers.max_repairs)
    ask(chat, list(conversations.values()))
    for index, conversation in conversations.items():
        written[index].usage += conversation.usage
        written[index].error = conversation.error
        if conversation.answer is not None:
            answers[index] = conversation.answer
            memories[index].keep(step, conversation.answer.model_dump_json())
    return answers


def _request(
    step: str, answer_type: type[Answer], room: int, pictures: tuple[Picture, ...] = (), **values: str
) -> ChatRequest:
    return ChatRequest(
        system=fill("system"),
        text=fill(step, **values).strip(),
        answer_type=answer_type,
        max_output_tokens=room,
        pictures=pictures,
    )


def _look(clip: ClipToCaption, writers: Captioners) -> ChatRequest:
    seconds = f"{clip.measured.duration_s:.1f}"
    return _request("vision", SceneAnswer, writers.vision_tokens, clip.pictures, duration=seconds)


def _refine(clip: ClipToCaption, scene: SceneAnswer, writers: Captioners) -> ChatRequest:
    return _request(
        "refine",
        RefinedAnswer,
        writers.text_tokens,
        duration=f"{clip.measured.duration_s:.1f}",
        seen_motion=scene.camera_motion,
        scene_description=scene.scene_description,
        motion=tell_motion(clip.measured, clip.times_s),
    )


def _tag(clip: ClipToCaption, scene: SceneAnswer, writers: Captioners) -> ChatRequest:
    return _request(
        "tags",
        TagAnswer,
        writers.text_tokens,
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
