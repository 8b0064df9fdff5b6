"""Settings of captions and tags."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from core.settings import OPERATIONAL, Settings


class EmbeddedSettings(Settings):
    """Luminance limits of bright and dim clips; between them brightness is Unknown."""

    bright_from: float = Field(90.0, ge=0, le=255, description="Least mean luminance of a bright clip, 0 to 255.")
    dim_to: float = Field(60.0, ge=0, le=255, description="Largest mean luminance of a dim or dark clip, 0 to 255.")

    @model_validator(mode="after")
    def _check_order(self) -> EmbeddedSettings:
        if self.dim_to >= self.bright_from:
            raise ValueError(f"dim_to {self.dim_to:g} must be below bright_from {self.bright_from:g}")
        return self


class FrameSettings(Settings):
    """Frames of a clip that a vision-language model sees."""

    fps: float = Field(1.0, gt=0, le=60, description="Sampled frames per second, from the clip's first frame on.")
    max_frames: int = Field(
        12, ge=1, le=256, description="Maximum number of frames; longer clips are sampled at a larger distance."
    )
    max_side_px: int = Field(768, ge=64, le=4096, description="Longest side in pixels; the aspect ratio is kept.")
    parity: bool = Field(
        False,
        description="SpatialVID's sampling instead: every 5th of the frames int(0.2 fps) apart, without a maximum, "
        "stretched to 640x360.",
    )


class EndpointSettings(Settings):
    """An endpoint with OpenAI's chat API (vLLM, SGLang, Ollama, DashScope, Gemini, OpenAI, ...)."""

    base_url: str | None = Field(
        None,
        description="Base URL, without /chat/completions. There is no default host.",
        json_schema_extra=OPERATIONAL,
    )
    name: str | None = Field(None, description="The endpoint's name of the model.")
    api_key_env: str | None = Field(
        None,
        description="Environment variable with the API key, on each worker; null for an endpoint without keys.",
        json_schema_extra=OPERATIONAL,
    )
    structured: Literal["json_schema", "json_object", "none"] = Field(
        "json_schema",
        description="Structured output: by JSON schema, as any JSON object, or by the prompt alone. Answers are "
        "validated in each case.",
    )
    temperature: float = Field(0.1, ge=0, le=2, description="Sampling temperature.")
    max_output_tokens: int = Field(
        1024, ge=64, description="Output tokens of an answer; a truncated one is retried with up to four times as many."
    )
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens",
        description="The endpoint's field for the maximum of output tokens.",
        json_schema_extra=OPERATIONAL,
    )
    extra_body: dict[str, Any] = Field(
        default={}, description="Further fields of the request's body, such as enable_thinking: false. No secrets."
    )
    timeout_s: float = Field(120.0, gt=0, description="Timeout of a request, seconds.", json_schema_extra=OPERATIONAL)
    requests_per_minute: float | None = Field(
        None, gt=0, description="Rate limit, requests per minute.", json_schema_extra=OPERATIONAL
    )
    tokens_per_minute: float | None = Field(
        None, gt=0, description="Rate limit, input and output tokens per minute.", json_schema_extra=OPERATIONAL
    )
    tokens_per_image: int = Field(
        1000, ge=0, description="Input tokens of an image, for the cost estimate.", json_schema_extra=OPERATIONAL
    )
    usd_per_million_input: float | None = Field(
        None, ge=0, description="Price of a million input tokens, USD.", json_schema_extra=OPERATIONAL
    )
    usd_per_million_output: float | None = Field(
        None, ge=0, description="Price of a million output tokens, USD.", json_schema_extra=OPERATIONAL
    )

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http:// or https:// address")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must hold no name, password or query: keys come from the environment (api_key_env)")
        return url


class LocalSettings(Settings):
    """A vision-language model of `transformers` in the workers (extra `vlm`)."""

    folder: str | None = Field(
        None,
        description="Local folder of the model, on each worker, in transformers' layout.",
        json_schema_extra=OPERATIONAL,
    )
    device: Literal["cpu", "cuda"] = Field("cuda", description="Where the model runs.", json_schema_extra=OPERATIONAL)
    batch_size: int = Field(8, ge=1, le=256, description="Clips per batch.", json_schema_extra=OPERATIONAL)
    max_output_tokens: int = Field(
        768, ge=64, description="Output tokens of an answer; a truncated one is retried with up to four times as many."
    )


class CallSettings(Settings):
    """Concurrency, retries and budget of requests to endpoints."""

    concurrency: int = Field(8, ge=1, le=256, description="Clips in flight per worker process.")
    max_attempts: int = Field(6, ge=1, le=20, description="Attempts of a request with transient errors.")
    max_repairs: int = Field(2, ge=0, le=10, description="Retries of an invalid answer, with the error sent back.")
    max_wait_s: float = Field(
        300.0, gt=0, description="Longest accepted Retry-After, seconds; beyond it, the run stops calling the endpoint."
    )
    stop_after_failures: int = Field(
        50, ge=1, description="Consecutive failed requests after which the run stops calling an endpoint."
    )
    worker_processes: int = Field(
        1,
        ge=1,
        description="Number of worker processes on Flink or Dataflow, which divide rate limits and budgets because "
        "they cannot share them. Without effect on local runs, which share them.",
    )
    max_usd: float | None = Field(None, gt=0, description="Budget of a run, USD. Needs prices.")
    max_tokens: int | None = Field(None, gt=0, description="Budget of a run, input and output tokens.")
    max_requests: int | None = Field(None, gt=0, description="Budget of a run, requests.")


class CaptionSettings(Settings):
    """Captions and category tags of kept clips."""

    model: Literal["embedded", "server", "transformers", "none"] = Field(
        "embedded",
        description="embedded: composed from measured values, without a model; the rest is Unknown. "
        "server: written by models behind OpenAI's chat API (extra `captions`). transformers: written by a local "
        "model (extra `vlm`). none: no captions.",
    )
    layout: Literal["published", "repository"] = Field(
        "published",
        description="Keys of `<id>.caption.json`: those of SpatialVID's released files, or those that its code writes.",
    )
    embedded: EmbeddedSettings = Field(default_factory=EmbeddedSettings, description="The embedded captioner.")
    frames: FrameSettings = Field(default_factory=FrameSettings, description="Frames for vision-language models.")
    vision: EndpointSettings = Field(
        default_factory=EndpointSettings, description="Endpoint of the vision-language model."
    )
    text: EndpointSettings = Field(
        default_factory=EndpointSettings,
        description="Endpoint of the language model for the steps without images; null base_url: the vision endpoint.",
    )
    transformers: LocalSettings = Field(default_factory=LocalSettings, description="Local model in the workers.")
    calls: CallSettings = Field(
        default_factory=CallSettings, description="Concurrency, retries and budgets.", json_schema_extra=OPERATIONAL
    )

    @model_validator(mode="after")
    def _check_servers(self) -> CaptionSettings:
        if self.model != "server":
            return self
        if not (self.vision.base_url and self.vision.name):
            raise ValueError("model: server needs vision.base_url and vision.name")
        if self.text.base_url and not self.text.name:
            raise ValueError("text.base_url needs text.name")
        for endpoint in self.endpoints():
            if self.calls.max_usd and None in (endpoint.usd_per_million_input, endpoint.usd_per_million_output):
                raise ValueError("calls.max_usd needs usd_per_million_input and _output of each server")
        return self

    def endpoints(self) -> tuple[EndpointSettings, EndpointSettings]:
        """Endpoints of the vision step and of the text steps."""
        return self.vision, self.text if self.text.base_url else self.vision

    def identity(self, *paths: str) -> dict[str, Any]:
        """See `Settings.identity`; with the endpoint that the text steps actually use."""
        return super(CaptionSettings, self.model_copy(update={"text": self.endpoints()[1]})).identity(*paths)
