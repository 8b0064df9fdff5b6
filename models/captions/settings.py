"""Settings of captions and tags."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from core.settings import OPERATIONAL, Settings


class EmbeddedSettings(Settings):
    """When the embedded captioner calls a picture bright or dim; between the two limits it says Unknown."""

    bright_from: float = Field(90.0, ge=0, le=255, description="Least mean luminance of a bright clip, 0 to 255.")
    dim_to: float = Field(60.0, ge=0, le=255, description="Largest mean luminance of a dim or dark clip, 0 to 255.")

    @model_validator(mode="after")
    def _check_order(self) -> EmbeddedSettings:
        if self.dim_to >= self.bright_from:
            raise ValueError(f"dim_to {self.dim_to:g} must be below bright_from {self.bright_from:g}")
        return self


class FrameSettings(Settings):
    """The pictures of a clip that a vision-language model sees."""

    fps: float = Field(1.0, gt=0, le=60, description="Pictures a second, evenly from the clip's first frame on.")
    max_frames: int = Field(12, ge=1, le=256, description="Most pictures; a longer clip gets as many, further apart.")
    max_side_px: int = Field(768, ge=64, le=4096, description="Longest side; the shape of the picture is kept.")
    parity: bool = Field(
        False,
        description="SpatialVID's choice instead: every 5th of the frames int(0.2 fps) apart, without a cap, "
        "squeezed to 640x360 whatever their shape.",
    )


class ServerSettings(Settings):
    """A server with OpenAI's chat API (vLLM, SGLang, Ollama, DashScope, Gemini, OpenAI, ...)."""

    base_url: str | None = Field(
        None,
        description="Address up to, not including, /chat/completions. There is no default host.",
        json_schema_extra=OPERATIONAL,
    )
    name: str | None = Field(None, description="Name of the model, as the server knows it.")
    api_key_env: str | None = Field(
        None,
        description="Environment variable that holds the key, on each worker; null for a server without keys.",
        json_schema_extra=OPERATIONAL,
    )
    structured: Literal["json_schema", "json_object", "none"] = Field(
        "json_schema",
        description="How the server is told to answer in JSON: by schema, as any object, or by the prompt alone. "
        "Answers are checked in each case.",
    )
    temperature: float = Field(0.1, ge=0, le=2, description="Sampling temperature.")
    max_output_tokens: int = Field(
        1024, ge=64, description="Room for an answer; one that is cut off is asked for again with up to four times it."
    )
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens",
        description="Under which name the server takes the room for an answer.",
        json_schema_extra=OPERATIONAL,
    )
    extra_body: dict[str, Any] = Field(
        default={}, description="Further fields of the request's body, such as enable_thinking: false. No secrets."
    )
    timeout_s: float = Field(
        120.0, gt=0, description="Longest time for one request, seconds.", json_schema_extra=OPERATIONAL
    )
    requests_per_minute: float | None = Field(
        None, gt=0, description="Most requests a minute.", json_schema_extra=OPERATIONAL
    )
    tokens_per_minute: float | None = Field(
        None, gt=0, description="Most tokens a minute, in and out.", json_schema_extra=OPERATIONAL
    )
    tokens_per_picture: int = Field(
        1000, ge=0, description="Tokens of a picture, for the estimate before a request.", json_schema_extra=OPERATIONAL
    )
    usd_per_million_input: float | None = Field(
        None, ge=0, description="Price of a million tokens in.", json_schema_extra=OPERATIONAL
    )
    usd_per_million_output: float | None = Field(
        None, ge=0, description="Price of a million tokens out.", json_schema_extra=OPERATIONAL
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
    batch_size: int = Field(
        8, ge=1, le=256, description="Clips that are answered together.", json_schema_extra=OPERATIONAL
    )
    max_output_tokens: int = Field(
        768, ge=64, description="Room for an answer; one that is cut off is asked for again with up to four times it."
    )


class CallSettings(Settings):
    """How servers are called, and how much may be spent in a run."""

    concurrency: int = Field(8, ge=1, le=256, description="Clips that each worker process has under way at a time.")
    max_attempts: int = Field(6, ge=1, le=20, description="Tries of a request that fails for a passing reason.")
    max_repairs: int = Field(2, ge=0, le=10, description="How often a model is told what was wrong with its answer.")
    max_wait_s: float = Field(
        300.0, gt=0, description="A server that asks for a longer wait is not asked again in this run."
    )
    stop_after_failures: int = Field(
        50, ge=1, description="After so many failed requests in a row a server is not asked again in this run."
    )
    worker_processes: int = Field(
        1,
        ge=1,
        description="Among how many processes rates and budgets are divided where they cannot be shared: the number "
        "of worker processes on Flink or Dataflow. Local runs share them whatever this says.",
    )
    max_usd: float | None = Field(None, gt=0, description="Budget of a run. Needs prices.")
    max_tokens: int | None = Field(None, gt=0, description="Budget of a run, tokens in and out.")
    max_requests: int | None = Field(None, gt=0, description="Budget of a run, requests.")


class CaptionSettings(Settings):
    """Captions and category tags of kept clips."""

    model: Literal["embedded", "server", "transformers", "none"] = Field(
        "embedded",
        description="embedded: composed from what was measured, without a model; what is not known is Unknown. "
        "server: written by models behind OpenAI's chat API (extra `captions`). transformers: written by a local "
        "model (extra `vlm`). none: no captions.",
    )
    layout: Literal["published", "repository"] = Field(
        "published",
        description="Keys of `<id>.caption.json`: those of SpatialVID's released files, or those that its code writes.",
    )
    embedded: EmbeddedSettings = Field(default_factory=EmbeddedSettings, description="The embedded captioner.")
    frames: FrameSettings = Field(default_factory=FrameSettings, description="Pictures for vision-language models.")
    vision: ServerSettings = Field(
        default_factory=ServerSettings, description="Server of the vision-language model that looks at the pictures."
    )
    text: ServerSettings = Field(
        default_factory=ServerSettings,
        description="Server of the language model for the steps without pictures; null base_url: the vision server.",
    )
    transformers: LocalSettings = Field(default_factory=LocalSettings, description="A model in the workers.")
    calls: CallSettings = Field(
        default_factory=CallSettings, description="Rates, retries and budgets.", json_schema_extra=OPERATIONAL
    )

    @model_validator(mode="after")
    def _check_servers(self) -> CaptionSettings:
        if self.model != "server":
            return self
        if not (self.vision.base_url and self.vision.name):
            raise ValueError("model: server needs vision.base_url and vision.name")
        if self.text.base_url and not self.text.name:
            raise ValueError("text.base_url needs text.name")
        for server in self.servers():
            if self.calls.max_usd and None in (server.usd_per_million_input, server.usd_per_million_output):
                raise ValueError("calls.max_usd needs usd_per_million_input and _output of each server")
        return self

    def servers(self) -> tuple[ServerSettings, ServerSettings]:
        """The servers of the steps with pictures and of those without."""
        return self.vision, self.text if self.text.base_url else self.vision

    def identity(self, *paths: str) -> dict[str, Any]:
        """As for all settings; the text steps' server is the one that is really asked."""
        return super(CaptionSettings, self.model_copy(update={"text": self.servers()[1]})).identity(*paths)
