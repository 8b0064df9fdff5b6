"""Structured answers of the models: one JSON object per step, parsed and validated."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from models.captions.vocabulary import VOCABULARY

MAX_TEXT_CHARS = 4000
MAX_TREND_CHARS = 80
MAX_TRENDS, MAX_KEYWORDS = 3, 5

AnswerT = TypeVar("AnswerT", bound="Answer")


def _clean(text: str) -> str:
    text = re.sub(r"\s+", " ", text).strip()
    if not text:
        raise ValueError("must not be empty")
    if len(text) > MAX_TEXT_CHARS:
        raise ValueError(f"must have at most {MAX_TEXT_CHARS} characters, has {len(text)}")
    return text


def _limit(max_items: int) -> AfterValidator:
    def limit(phrases: list[str]) -> list[str]:
        cleaned = [re.sub(r"\s+", " ", phrase).strip(" .,;") for phrase in phrases]
        return list(dict.fromkeys(p for p in cleaned if p and len(p) <= MAX_TREND_CHARS))[:max_items]

    return AfterValidator(limit)


def _tag(tag: str) -> WithJsonSchema:
    """JSON schema with the vocabulary; validation accepts any value, so that unknown ones are recorded."""
    return WithJsonSchema({"type": "string", "enum": list(VOCABULARY[tag])})


Text = Annotated[str, AfterValidator(_clean)]
Tag = Annotated[str, Field(max_length=MAX_TREND_CHARS)]


class Answer(BaseModel):
    """Base of the answers; unknown keys are ignored, missing ones are an error."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON schema for structured output: closed object, all keys required, no titles."""
        properties = {}
        for name, value in cls.model_json_schema()["properties"].items():
            kept = ("type", "enum", "items", "description")
            properties[name] = {key: value[key] for key in kept if key in value}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }


class SceneAnswer(Answer):
    """Camera motion and scene as the images show them."""

    camera_motion: Text = Field(description="how the camera moves, 50 to 100 words")
    scene_description: Text = Field(description="people, things, place, light, weather, mood, about 100 words")


class RefinedAnswer(Answer):
    """The caption, corrected by the measured camera motion."""

    camera_motion: Text = Field(description="the camera's motion, 50 to 100 words")
    scene_summary: Text = Field(description="the scene in one sentence, about 30 words")
    motion_trends: Annotated[list[str], _limit(MAX_TRENDS)] = Field(description="1 to 3 lasting movements, short")
    keywords: Annotated[list[str], _limit(MAX_KEYWORDS)] = Field(description="1 to 5 nouns")
    shot_immersion: Text = Field(description="camera and scene together as film prose, 50 to 100 words")


class TagAnswer(Answer):
    """The category tags."""

    scene_type: Annotated[Tag, _tag("scene_type")]
    scene_subtype: Tag = Field(description="kind of scene in 1 to 3 words, or Unknown")
    brightness: Annotated[Tag, _tag("brightness")]
    time_of_day: Annotated[Tag, _tag("time_of_day")]
    weather: Annotated[Tag, _tag("weather")]
    crowd_density: Annotated[Tag, _tag("crowd_density")]


def read_answer(answer_type: type[AnswerT], text: str) -> AnswerT:
    """Parses and validates the answer in a model's text.

    Text around the JSON object is ignored: a byte order mark, a code fence, a `<think>` block, remarks. Strings may
    hold line breaks.

    Raises:
      ValueError: with a message for the model.
    """
    text = re.sub(r"<think>.*?</think>", "", text.lstrip("\ufeff"), flags=re.DOTALL)
    start = text.find("{")
    if start < 0:
        raise ValueError("there is no JSON object in the answer")
    try:
        value, _ = json.JSONDecoder(strict=False).raw_decode(text, start)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"the JSON object cannot be read: {error}") from error
    try:
        return answer_type.model_validate(value)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ValueError("; ".join(problems)) from error
