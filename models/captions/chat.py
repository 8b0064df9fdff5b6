"""Chats with a language model until it gives a valid structured answer: requests, replies, retries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, Protocol

from models.captions.answers import Answer, AnswerT, read_answer

MAX_QUOTED_CHARS = 2000
MAX_GROWTH = 4
"""A truncated answer is retried with doubled `max_output_tokens`, up to this multiple of the first limit."""


class CaptionError(Exception):
    """Cause of a missing caption.

    Args:
      error_class: stable CamelCase name of the cause.
      cause: what went wrong and how to fix it.
      is_final: whether a retry in another run would fail again.
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
class LabeledImage:
    """A JPEG image and the text that is sent before it."""

    jpeg: bytes
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """A message of a chat after its first request."""

    role: Literal["assistant", "user"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A request to a model.

    Attributes:
      images: sent before the text, in order.
      answer_type: schema of the answer.
      messages: messages after the text.
    """

    system: str
    text: str
    answer_type: type[Answer]
    max_output_tokens: int
    images: tuple[LabeledImage, ...] = ()
    messages: tuple[ChatMessage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Requests, tokens and cost; None where a server did not report them."""

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
    """The text of a reply, or an error.

    Attributes:
      is_truncated: whether the text ends at `max_output_tokens`.
      usage: usage of the request, failed attempts included.
    """

    text: str = ""
    is_truncated: bool = False
    usage: Usage = Usage()
    error: CaptionError | None = None


class ChatModel(Protocol):
    """A chat model, local or behind an API."""

    def reply(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """One reply to each request, in order."""


class Chat(Generic[AnswerT]):
    """A chat with one model about one answer.

    It ends with `answer` or `error`.
    """

    def __init__(self, request: ChatRequest, answer_type: type[AnswerT], max_repairs: int) -> None:
        self.request = request
        self.answer: AnswerT | None = None
        self.error: CaptionError | None = None
        self.usage = Usage()
        self._answer_type = answer_type
        self._max_tokens = MAX_GROWTH * request.max_output_tokens
        self._repairs_left = max_repairs

    @property
    def is_open(self) -> bool:
        return self.answer is None and self.error is None

    def receive(self, reply: ChatReply) -> None:
        """Sets the answer or the error from a reply, or prepares a retry."""
        self.usage += reply.usage
        if reply.error is not None:
            self.error = reply.error
            return
        if reply.is_truncated:
            self._retry_with_more_tokens()
            return
        try:
            self.answer = read_answer(self._answer_type, reply.text)
        except ValueError as error:
            self._retry_with_feedback(reply.text, str(error))

    def _retry_with_more_tokens(self) -> None:
        doubled = 2 * self.request.max_output_tokens
        if doubled > self._max_tokens:
            self.error = CaptionError(
                "TruncatedAnswer",
                f"the answer does not end within {self.request.max_output_tokens} tokens; raise max_output_tokens",
            )
            return
        self.request = replace(self.request, max_output_tokens=doubled)

    def _retry_with_feedback(self, text: str, problem: str) -> None:
        if not self._repairs_left:
            kind = "InvalidAnswer" if text.strip() else "EmptyAnswer"
            self.error = CaptionError(kind, f"the model did not answer as asked: {problem}")
            return
        self._repairs_left -= 1
        if text.strip():
            messages = (
                ChatMessage(role="assistant", text=text[:MAX_QUOTED_CHARS]),
                ChatMessage(
                    role="user",
                    text=f"That is not valid: {problem[:MAX_QUOTED_CHARS]}. Answer again, with the JSON object alone.",
                ),
            )
            self.request = replace(self.request, messages=messages)


def run_chats(model: ChatModel, chats: Sequence[Chat[AnswerT]]) -> None:
    """Sends the requests of all open chats together until every chat has ended."""
    while pending := [chat for chat in chats if chat.is_open]:
        replies = model.reply([chat.request for chat in pending])
        for chat, reply in zip(pending, replies, strict=True):
            chat.receive(reply)
