"""Client of OpenAI's chat API with retries, exponential backoff, rate limits and a budget.

Retries are ours: each attempt must pass the rate limiter and the budget, which `openai`'s own retries cannot do.
"""

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
from models.captions.settings import CallSettings, EndpointSettings

if TYPE_CHECKING:
    import openai

BACKOFF_BASE_S, BACKOFF_MAX_S = 1.0, 60.0
MAX_REPLY_BYTES = 4 << 20
CHARS_PER_TOKEN = 3
"""A lower bound, so that the estimated tokens are an upper bound."""
MAX_MESSAGE_CHARS = 300
# What servers say of a safety block, a prompt that is too long, an empty account: there is no common error code.
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
    """The fields of a chat completion that are used; compatible servers omit many others."""

    model_config = ConfigDict(extra="ignore")
    choices: list[_Choice] | None = None
    usage: _Counts | None = None


class _TransientError(Exception):
    """A transient error: the request is retried, after `retry_after_s` if the server sent Retry-After."""

    def __init__(self, error_class: str, cause: str, retry_after_s: float | None = None) -> None:
        super().__init__(cause)
        self.error = CaptionError(error_class, cause)
        self.retry_after_s = retry_after_s


class _FatalError(Exception):
    """An error that every further request would get.

    Such as a wrong key, an unknown model, an empty account.
    """


class OpenAIChatModel:
    """A chat model behind OpenAI's chat API. Thread-safe.

    Args:
      endpoint: address, model, request format.
      calls: retries.
      rates: rate limiter of this endpoint.
      budget: budget of the run, which all endpoints share.
    """

    def __init__(
        self, endpoint: EndpointSettings, calls: CallSettings, rates: RateLimiter, budget: RateLimiter
    ) -> None:
        import openai

        self._openai = openai
        self._endpoint = endpoint
        self._calls = calls
        self._rates = rates
        self._budget = budget
        self._key = read_key(endpoint)
        self._client = openai.OpenAI(
            base_url=endpoint.base_url,
            api_key=self._key or "none",
            organization="",
            project="",
            max_retries=0,
            timeout=endpoint.timeout_s,
        )

    def reply(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """One reply to each request, in order."""
        return [self._reply(request) for request in requests]

    def _reply(self, request: ChatRequest) -> ChatReply:
        body = request_body(request, self._endpoint)
        usage = Usage()
        for attempt in range(1, self._calls.max_attempts + 1):
            try:
                reservations = self._reserve(*self._max_cost(request))
            except CaptionError as error:
                return ChatReply(usage=usage, error=error)
            spent, failed = Usage(requests=1), True
            try:
                reply = self._parse(self._send(body))
                spent, failed = reply.usage, False
                return ChatReply(
                    text=reply.text, is_truncated=reply.is_truncated, usage=usage + spent, error=reply.error
                )
            except _FatalError as stop:
                self._rates.stop(str(stop))
                return ChatReply(usage=usage + spent, error=CaptionError("ServerStopped", str(stop)))
            except CaptionError as error:
                failed = False
                return ChatReply(usage=usage + spent, error=error)
            except _TransientError as error:
                usage += spent
                last = error
            finally:
                tokens = (spent.input_tokens or 0) + (spent.output_tokens or 0)
                failures = self._rates.commit(reservations[0], tokens, spent.cost_usd or 0.0, failed=failed)
                self._budget.commit(reservations[1], tokens, spent.cost_usd or 0.0, failed=failed)
                if failures >= self._calls.stop_after_failures:
                    self._rates.stop(f"{failures} requests in a row failed (captions.calls.stop_after_failures)")
            if stopped := self._back_off(attempt, last):
                return ChatReply(usage=usage, error=stopped)
        return ChatReply(usage=usage, error=last.error)

    def _back_off(self, attempt: int, error: _TransientError) -> CaptionError | None:
        """Waits before the next attempt: Retry-After, else exponential backoff with jitter.

        Returns:
          An error if Retry-After is longer than `max_wait_s`, else None.
        """
        retry_after_s = error.retry_after_s
        if retry_after_s is not None and retry_after_s > self._calls.max_wait_s:
            reason = f"the server asks to wait {retry_after_s:.0f} s, longer than captions.calls.max_wait_s"
            self._rates.stop(reason)
            return CaptionError("ServerStopped", reason)
        if attempt == self._calls.max_attempts:
            return None
        if retry_after_s is not None:
            self._rates.pause(retry_after_s)
        else:
            time.sleep(min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0))
        return None

    def _reserve(self, tokens: float, usd: float) -> tuple[str, str]:
        """Ids of the reservations in rate limiter and budget, once a request may be sent."""
        budget = self._budget.reserve(tokens, usd)
        try:
            return self._rates.reserve(tokens, usd), budget
        except CaptionError:
            self._budget.release(budget)
            raise

    def _max_cost(self, request: ChatRequest) -> tuple[float, float]:
        """Estimated upper bound of a request's tokens and USD."""
        endpoint = self._endpoint
        chars = len(request.system) + len(request.text) + sum(len(message.text) for message in request.messages)
        input_tokens = chars / CHARS_PER_TOKEN + len(request.images) * endpoint.tokens_per_image
        usd = _price(endpoint, input_tokens, request.max_output_tokens) or 0.0
        return input_tokens + request.max_output_tokens, usd

    def _send(self, body: dict[str, Any]) -> bytes:
        """Body of the reply to a request, limited in size and time."""
        openai = self._openai
        extra = dict(self._endpoint.extra_body)
        try:
            with self._client.chat.completions.with_streaming_response.create(**body, extra_body=extra) as response:
                return self._read_body(response.iter_bytes())
        except openai.APIStatusError as error:
            raise self._classify(error) from error
        except openai.APITimeoutError as error:
            raise _TransientError("TimedOut", f"no reply within {self._endpoint.timeout_s:g} s") from error
        except openai.APIConnectionError as error:
            raise _TransientError("NoConnection", self._redacted(error.__cause__ or error)) from error

    def _read_body(self, chunks: Iterator[bytes]) -> bytes:
        deadline = time.monotonic() + self._endpoint.timeout_s
        data = b""
        try:
            for chunk in chunks:
                data += chunk
                if len(data) > MAX_REPLY_BYTES:
                    raise _TransientError("BadReply", f"the server sent more than {MAX_REPLY_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise _TransientError("TimedOut", f"no whole reply within {self._endpoint.timeout_s:g} s")
        except _TransientError:
            raise
        except Exception as error:  # the client passes on what its transport raises in the middle of a body
            kind = "TimedOut" if "Timeout" in type(error).__name__ else "NoConnection"
            raise _TransientError(kind, self._redacted(error) or type(error).__name__) from error
        return data

    def _classify(self, error: openai.APIStatusError) -> Exception:
        """The error of an HTTP status: transient, fatal, or of one clip."""
        status, message = error.status_code, self._redacted(error)
        text = f"{message} {json.dumps(error.body, default=str)}".lower()
        if status in (401, 403):
            variable = self._endpoint.api_key_env or "captions.*.api_key_env"
            return _FatalError(f"the server refuses the key ({status}): {message}. Check {variable}")
        if status == 404:
            return _FatalError(f"the server knows no such address or model (404): {message}. Check base_url and name")
        if any(word in text for word in NO_CREDIT):
            return _FatalError(f"the server gives no more ({status}): {message}")
        if status in (408, 409, 425, 429) or status >= 500:
            return _TransientError(f"Http{status}", message, _retry_after_s(error.response.headers))
        if any(word in text for word in BLOCKED):
            return CaptionError("Blocked", f"a safety rule of the server: {message}", is_final=True)
        if any(word in text for word in TOO_LONG):
            return CaptionError("QuestionTooLong", f"{message}. Lower captions.frames.max_frames or max_side_px")
        if "response_format" in text or "json_schema" in text:
            reason = f"the server takes no schema ({status}): {message}. Set structured to json_object or none"
            return _FatalError(reason)
        return CaptionError(f"Http{status}", message)

    def _parse(self, data: bytes) -> ChatReply:
        try:
            body = _Body.model_validate_json(data)
        except ValueError as error:
            raise _TransientError("BadReply", f"{len(data)} bytes that are no chat completion") from error
        counts = body.usage or _Counts()
        spent = Usage(
            requests=1,
            input_tokens=counts.prompt_tokens,
            output_tokens=counts.completion_tokens,
            cost_usd=_price(self._endpoint, counts.prompt_tokens, counts.completion_tokens),
        )
        choice = body.choices[0] if body.choices else _Choice()
        message = choice.message or _Message()
        if choice.finish_reason in ("content_filter", "safety") or message.refusal:
            refusal = message.refusal or "the answer was withheld"
            blocked = CaptionError("Blocked", f"a safety rule of the server: {self._redacted(refusal)}", is_final=True)
            return ChatReply(usage=spent, error=blocked)
        return ChatReply(text=message.content or "", is_truncated=choice.finish_reason == "length", usage=spent)

    def _redacted(self, error: object) -> str:
        """A server's message, shortened and without the key."""
        body = getattr(error, "body", None)
        text = body.get("message") if isinstance(body, dict) else None
        text = " ".join(str(text or getattr(error, "message", None) or error).split())
        if self._key:
            text = text.replace(self._key, "***")
        return text[:MAX_MESSAGE_CHARS]


def read_key(endpoint: EndpointSettings) -> str | None:
    """The endpoint's API key from the environment; None for an endpoint without keys.

    Raises:
      ValueError: if the variable is not set.
    """
    if endpoint.api_key_env is None:
        return None
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key:
        raise ValueError(f"the environment variable {endpoint.api_key_env} (api_key_env) is not set")
    return key


def request_body(request: ChatRequest, endpoint: EndpointSettings) -> dict[str, Any]:
    """Body of a chat completion request, without `extra_body`."""
    content: list[dict[str, Any]] = []
    for image in request.images:
        uri = f"data:image/jpeg;base64,{base64.b64encode(image.jpeg).decode()}"
        content += [{"type": "text", "text": image.label}, {"type": "image_url", "image_url": {"url": uri}}]
    schema = request.answer_type.json_schema()
    text = request.text
    if endpoint.structured != "json_schema":
        text += f"\n\nAnswer with a JSON object of this schema:\n{json.dumps(schema)}"
    content.append({"type": "text", "text": text})
    body: dict[str, Any] = {
        "model": endpoint.name,
        "messages": [
            {"role": "system", "content": request.system},
            {"role": "user", "content": content if request.images else text},
            *({"role": message.role, "content": message.text} for message in request.messages),
        ],
        "temperature": endpoint.temperature,
        endpoint.max_tokens_field: request.max_output_tokens,
    }
    if endpoint.structured == "json_schema":
        named = {"name": request.answer_type.__name__, "strict": True, "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    elif endpoint.structured == "json_object":
        body["response_format"] = {"type": "json_object"}
    return body


def _price(endpoint: EndpointSettings, input_tokens: float | None, output_tokens: float | None) -> float | None:
    """USD for a number of tokens; None without prices or counts."""
    prices = endpoint.usd_per_million_input, endpoint.usd_per_million_output
    if None in (*prices, input_tokens, output_tokens):
        return None
    return (prices[0] * input_tokens + prices[1] * output_tokens) / 1e6  # type: ignore[operator]


def _retry_after_s(headers: Any) -> float | None:
    """Seconds of a Retry-After header (RFC 9110); None without a valid one.

    The header holds seconds or a date.
    """
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
