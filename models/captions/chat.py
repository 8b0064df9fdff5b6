"""Asking a model for a structured answer: what is sent, what comes back, and what to do when it is of no use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, Protocol

from models.captions.answers import Answer, AnswerT, read_answer

MAX_QUOTED_CHARS = 2000
MAX_GROWTH = 4
"""A truncated answer is asked for again with twice the room, up to so many times the first."""


class CaptionError(Exception):
    """A clip gets no caption.

    Args:
      error_class: stable CamelCase name of the cause.
      cause: what was seen and what can be done, in one sentence or two.
      is_final: whether asking again in another run would be of no use.
    """

    def __init__(self, error_class: str, cause: str, *, is_final: bool = False) -> None:
        super().__init__(f"{error_class}: {cause}")
        self.error_class = error_class
        self.cause = cause
        self.is_final = is_final

    def __reduce__(self) -> tuple[object, ...]:
        return _caption_error, (self.error_class, self.cause, self.is_final)


def _caption_error(error_class: str, cause: str, is_final: bool) -> CaptionError:
    return CaptionError(error_class, cause, is_final=is_final)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A JPEG picture and what it shows."""

    jpeg: bytes
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A further turn of a conversation, after the first question."""

    role: Literal["assistant", "user"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A question to a model.

    Attributes:
      pictures: shown before the text, in order.
      answer_type: what the model must answer.
      turns: what was said since.
    """

    system: str
    text: str
    answer_type: type[Answer]
    max_output_tokens: int
    pictures: tuple[Picture, ...] = ()
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What questions cost. Sums of counts that no model told are None."""

    requests: int = 0
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    cost_usd: float | None = 0.0

    def __add__(self, other: Usage) -> Usage:
        def total(a: float | None, b: float | None) -> float | None:
            return None if a is None or b is None else a + b

        return Usage(
            requests=self.requests + other.requests,
            input_tokens=total(self.input_tokens, other.input_tokens),  # type: ignore[arg-type]
            output_tokens=total(self.output_tokens, other.output_tokens),  # type: ignore[arg-type]
            cost_usd=total(self.cost_usd, other.cost_usd),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """What came back: a text, or an error.

    Attributes:
      is_cut: the text ends where the room for it did.
      usage: what it cost, failed tries included.
    """

    text: str = ""
    is_cut: bool = False
    usage: Usage = Usage()
    error: CaptionError | None = None


class ChatModel(Protocol):
    """A model, wherever it runs."""

    def reply(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """One reply to each request, in order."""


class Chat(Generic[AnswerT]):
    """One question until it has an answer, or until it is given up: then `error` says why."""

    def __init__(self, request: ChatRequest, answer_type: type[AnswerT], max_repairs: int) -> None:
        self.request = request
        self.answer: AnswerT | None = None
        self.error: CaptionError | None = None
        self.usage = Usage()
        self._answer_type = answer_type
        self._most_tokens = MAX_GROWTH * request.max_output_tokens
        self._repairs_left = max_repairs

    @property
    def is_open(self) -> bool:
        return self.answer is None and self.error is None

    def take(self, reply: ChatReply) -> None:
        """Takes a reply: an answer, an error, or the reason for the next question."""
        self.usage += reply.usage
        if reply.error is not None:
            self.error = reply.error
            return
        if reply.is_cut:
            self._ask_for_more_room()
            return
        try:
            self.answer = read_answer(self._answer_type, reply.text)
        except ValueError as error:
            self._ask_for_repair(reply.text, str(error))

    def _ask_for_more_room(self) -> None:
        room = 2 * self.request.max_output_tokens
        if room > self._most_tokens:
            self.error = CaptionError(
                "TruncatedAnswer",
                f"the answer does not end within {self.request.max_output_tokens} tokens; raise max_output_tokens",
            )
            return
        self.request = replace(self.request, max_output_tokens=room)

    def _ask_for_repair(self, text: str, problem: str) -> None:
        if not self._repairs_left:
            kind = "InvalidAnswer" if text.strip() else "EmptyAnswer"
            self.error = CaptionError(kind, f"the model did not answer as asked: {problem}")
            return
        self._repairs_left -= 1
        if text.strip():
            turns = (
                Turn(role="assistant", text=text[:MAX_QUOTED_CHARS]),
                Turn(
                    role="user",
                    text=f"That is not valid: {problem[:MAX_QUOTED_CHARS]}. Answer again, with the JSON object alone.",
                ),
            )
            self.request = replace(self.request, turns=turns)


def ask(chat: ChatModel, conversations: Sequence[Chat[AnswerT]]) -> None:
    """Runs conversations, those that are open together, until none is."""
    while pending := [d for d in conversations if d.is_open]:
        replies = chat.reply([d.request for d in pending])
        for conversation, reply in zip(pending, replies, strict=True):
            conversation.take(reply)
