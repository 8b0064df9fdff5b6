"""Models behind OpenAI's chat API: one request at a time, through retries, rates and a budget, to a plain reply."""

from __future__ import annotations

import base64
import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from models.captions.chat import CaptionError, ChatReply, ChatRequest, Usage
from models.captions.rate_limiter import RateLimiter
from models.captions.settings import CallSettings, ServerSettings

if TYPE_CHECKING:
    import openai

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
MAX_REPLY_BYTES = 4 << 20
CHARS_PER_TOKEN = 3
"""Fewer than there are, so that the estimate is no less than the truth."""
MAX_MESSAGE_CHARS = 300
# Words by which servers say that a rule of theirs forbids the answer, that the question is too long, or that the
# account is empty: there is no common code.
BLOCKED = ("content_filter", "content_policy", "safety", "data_inspection", "prohibited", "moderation")
TOO_LONG = ("context_length", "context length", "maximum context", "too many tokens", "prompt is too long")
NO_CREDIT = ("insufficient_quota", "billing", "arrearage")


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    model_config = ConfigDict(extra="ignore")
    message: _Message | None = None
    finish_reason: str | None = None


class _Counts(BaseModel):
    model_config = ConfigDict(extra="ignore")
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Body(BaseModel):
    """What is read of a reply; compatible servers leave out much of the rest."""

    model_config = ConfigDict(extra="ignore")
    choices: list[_Choice] | None = None
    usage: _Counts | None = None


class _PassingError(Exception):
    """A fault that may pass: the request is sent again, after `retry_after_s` if the server named a time."""

    def __init__(self, error_class: str, cause: str, retry_after_s: float | None = None) -> None:
        super().__init__(cause)
        self.error = CaptionError(error_class, cause)
        self.retry_after_s = retry_after_s


class _StopError(Exception):
    """A fault that every further request would meet: a wrong key, an unknown model, an empty account."""


class ServerChat:
    """A model behind OpenAI's chat API. Safe to use from many threads.

    Args:
      server: address, model, form of the requests.
      calls: retries.
      rates: keeps the rates of this server.
      budget: keeps the budget of the run, which all servers share.
    """

    def __init__(self, server: ServerSettings, calls: CallSettings, rates: RateLimiter, budget: RateLimiter) -> None:
        import openai

        self._openai = openai
        self._server = server
        self._calls = calls
        self._rates = rates
        self._budget = budget
        self._key = read_key(server)
        # Retries must pass the rates and the budget, so the client does none.
        self._client = openai.OpenAI(
            base_url=server.base_url,
            api_key=self._key or "none",
            organization="",
            project="",
            max_retries=0,
            timeout=server.timeout_s,
        )

    def reply(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """One reply to each request, in order."""
        return [self._reply(request) for request in requests]

    def _reply(self, request: ChatRequest) -> ChatReply:
        body = request_body(request, self._server)
        usage = Usage()
        for attempt in range(1, self._calls.max_attempts + 1):
            try:
                tickets = self._reserve(*self._most(request))
            except CaptionError as error:
                return ChatReply(usage=usage, error=error)
            spent, failed = Usage(requests=1), True
            try:
                reply = self._read(self._send(body))
                spent, failed = reply.usage, False
                return ChatReply(text=reply.text, is_cut=reply.is_cut, usage=usage + spent, error=reply.error)
            except _StopError as stop:
                self._rates.stop(str(stop))
                return ChatReply(usage=usage + spent, error=CaptionError("ServerStopped", str(stop)))
            except CaptionError as error:
                failed = False
                return ChatReply(usage=usage + spent, error=error)
            except _PassingError as fault:
                usage += spent
                last = fault
            finally:
                tokens = (spent.input_tokens or 0) + (spent.output_tokens or 0)
                in_row = self._rates.settle(tickets[0], tokens, spent.cost_usd or 0.0, failed=failed)
                self._budget.settle(tickets[1], tokens, spent.cost_usd or 0.0, failed=failed)
                if in_row >= self._calls.stop_after_failures:
                    self._rates.stop(f"{in_row} requests in a row failed (captions.calls.stop_after_failures)")
            if stopped := self._wait(attempt, last):
                return ChatReply(usage=usage, error=stopped)
        return ChatReply(usage=usage, error=last.error)

    def _wait(self, attempt: int, fault: _PassingError) -> CaptionError | None:
        """Waits before the next attempt; an error if the server asks for too long a wait."""
        asked = fault.retry_after_s
        if asked is not None and asked > self._calls.max_wait_s:
            reason = f"the server asks to wait {asked:.0f} s, longer than captions.calls.max_wait_s"
            self._rates.stop(reason)
            return CaptionError("ServerStopped", reason)
        if attempt == self._calls.max_attempts:
            return None
        if asked is not None:
            self._rates.pause(asked)
        else:
            time.sleep(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0))
        return None

    def _reserve(self, tokens: float, usd: float) -> tuple[str, str]:
        """Tickets for rates and budget, once a request may be sent."""
        budget = self._budget.reserve(tokens, usd)
        try:
            return self._rates.reserve(tokens, usd), budget
        except CaptionError:
            self._budget.release(budget)
            raise

    def _most(self, request: ChatRequest) -> tuple[float, float]:
        """The most tokens and dollars that a request can cost, as far as that can be told before."""
        server = self._server
        chars = len(request.system) + len(request.text) + sum(len(turn.text) for turn in request.turns)
        incoming = chars / CHARS_PER_TOKEN + len(request.pictures) * server.tokens_per_picture
        return incoming + request.max_output_tokens, _price(server, incoming, request.max_output_tokens) or 0.0

    def _send(self, body: dict[str, Any]) -> bytes:
        """The bytes of the reply to a request, of bounded size and in bounded time."""
        openai = self._openai
        extra = dict(self._server.extra_body)
        try:
            with self._client.chat.completions.with_streaming_response.create(**body, extra_body=extra) as response:
                return self._receive(response.iter_bytes())
        except openai.APIStatusError as error:
            raise self._explain(error) from error
        except openai.APITimeoutError as error:
            raise _PassingError("TimedOut", f"no reply within {self._server.timeout_s:g} s") from error
        except openai.APIConnectionError as error:
            raise _PassingError("NoConnection", self._shown(error.__cause__ or error)) from error

    def _receive(self, parts: Iterator[bytes]) -> bytes:
        ends = time.monotonic() + self._server.timeout_s
        data = b""
        try:
            for part in parts:
                data += part
                if len(data) > MAX_REPLY_BYTES:
                    raise _PassingError("BadReply", f"the server sent more than {MAX_REPLY_BYTES} bytes")
                if time.monotonic() > ends:
                    raise _PassingError("TimedOut", f"no whole reply within {self._server.timeout_s:g} s")
        except _PassingError:
            raise
        except Exception as error:  # the client passes on what its transport raises in the middle of a body
            kind = "TimedOut" if "Timeout" in type(error).__name__ else "NoConnection"
            raise _PassingError(kind, self._shown(error) or type(error).__name__) from error
        return data

    def _explain(self, error: openai.APIStatusError) -> Exception:
        status, said = error.status_code, self._shown(error)
        low = f"{said} {json.dumps(error.body, default=str)}".lower()
        if status in (401, 403):
            named = self._server.api_key_env or "captions.*.api_key_env"
            return _StopError(f"the server refuses the key ({status}): {said}. Check {named}")
        if status == 404:
            return _StopError(f"the server knows no such address or model (404): {said}. Check base_url and name")
        if any(word in low for word in NO_CREDIT):
            return _StopError(f"the server gives no more ({status}): {said}")
        if status in (408, 409, 425, 429) or status >= 500:
            return _PassingError(f"Http{status}", said, _retry_after_s(error.response.headers))
        if any(word in low for word in BLOCKED):
            return CaptionError("Blocked", f"a safety rule of the server: {said}", is_final=True)
        if any(word in low for word in TOO_LONG):
            return CaptionError("QuestionTooLong", f"{said}. Lower captions.frames.max_frames or max_side_px")
        if "response_format" in low or "json_schema" in low:
            return _StopError(f"the server takes no schema ({status}): {said}. Set structured to json_object or none")
        return CaptionError(f"Http{status}", said)

    def _read(self, data: bytes) -> ChatReply:
        try:
            body = _Body.model_validate_json(data)
        except ValueError as error:
            raise _PassingError("BadReply", f"{len(data)} bytes that are no chat completion") from error
        counts = body.usage or _Counts()
        spent = Usage(
            requests=1,
            input_tokens=counts.prompt_tokens,
            output_tokens=counts.completion_tokens,
            cost_usd=_price(self._server, counts.prompt_tokens, counts.completion_tokens),
        )
        choice = body.choices[0] if body.choices else _Choice()
        message = choice.message or _Message()
        if choice.finish_reason in ("content_filter", "safety") or message.refusal:
            said = message.refusal or "the answer was withheld"
            blocked = CaptionError("Blocked", f"a safety rule of the server: {self._shown(said)}", is_final=True)
            return ChatReply(usage=spent, error=blocked)
        return ChatReply(text=message.content or "", is_cut=choice.finish_reason == "length", usage=spent)

    def _shown(self, error: object) -> str:
        """What a server said, short and without the key."""
        body = getattr(error, "body", None)
        text = body.get("message") if isinstance(body, dict) else None
        text = " ".join(str(text or getattr(error, "message", None) or error).split())
        if self._key:
            text = text.replace(self._key, "***")
        return text[:MAX_MESSAGE_CHARS]


def read_key(server: ServerSettings) -> str | None:
    """The server's key from the environment; None for a server without keys.

    Raises:
      ValueError: if the variable is not set.
    """
    if server.api_key_env is None:
        return None
    key = os.environ.get(server.api_key_env, "").strip()
    if not key:
        raise ValueError(f"the environment variable {server.api_key_env} (api_key_env) is not set")
    return key


def request_body(request: ChatRequest, server: ServerSettings) -> dict[str, Any]:
    """The body of a request, but for `extra_body`."""
    content: list[dict[str, Any]] = []
    for picture in request.pictures:
        uri = f"data:image/jpeg;base64,{base64.b64encode(picture.jpeg).decode()}"
        content += [{"type": "text", "text": picture.label}, {"type": "image_url", "image_url": {"url": uri}}]
    schema = request.answer_type.json_schema()
    text = request.text
    if server.structured != "json_schema":
        text += f"\n\nAnswer with a JSON object of this schema:\n{json.dumps(schema)}"
    content.append({"type": "text", "text": text})
    body: dict[str, Any] = {
        "model": server.name,
        "messages": [
            {"role": "system", "content": request.system},
            {"role": "user", "content": content if request.pictures else text},
            *({"role": turn.role, "content": turn.text} for turn in request.turns),
        ],
        "temperature": server.temperature,
        server.max_tokens_field: request.max_output_tokens,
    }
    if server.structured == "json_schema":
        named = {"name": request.answer_type.__name__, "strict": True, "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    elif server.structured == "json_object":
        body["response_format"] = {"type": "json_object"}
    return body


def _price(server: ServerSettings, incoming: float | None, outgoing: float | None) -> float | None:
    """Dollars for so many tokens; None without prices or counts."""
    prices = server.usd_per_million_input, server.usd_per_million_output
    if None in (*prices, incoming, outgoing):
        return None
    return (prices[0] * incoming + prices[1] * outgoing) / 1e6  # type: ignore[operator]


def _retry_after_s(headers: Any) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date; None without a usable one."""
    text = headers.get("retry-after-ms")
    try:
        if text:
            return max(0.0, float(text) / 1000)
        text = headers.get("retry-after")
        if not text:
            return None
        try:
            return max(0.0, float(text))
        except ValueError:
            return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
