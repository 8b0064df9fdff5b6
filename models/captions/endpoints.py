"""The endpoints of a run: checked before it starts, connected in each worker."""

from __future__ import annotations

import importlib.util
import os

from models.captions.captioner import Captioners
from models.captions.openai_client import OpenAIChatModel, read_key
from models.captions.rate_limiter import Limits, RateLimiter
from models.captions.settings import CaptionSettings, EndpointSettings
from models.registry import WeightsError


def check_endpoints(settings: CaptionSettings) -> str:
    """Names of the models of a run, joined by "+".

    Raises:
      WeightsError: if the client is not installed or a key is not set. Says what to do.
    """
    if importlib.util.find_spec("openai") is None:
        raise WeightsError("captions.model: server needs the package openai: pip install 'spatialbeam[captions]'")
    try:
        for endpoint in settings.endpoints():
            read_key(endpoint)
    except ValueError as error:
        raise WeightsError(f"captions: {error}") from error
    return "+".join(dict.fromkeys(str(endpoint.name) for endpoint in settings.endpoints()))


def connect_captioners(settings: CaptionSettings, shared_folder: str | None) -> Captioners:
    """Clients of the run's endpoints, with their rate limiters and the run's budget.

    Args:
      settings: passed `check_endpoints`.
      shared_folder: local folder that all worker processes of the run share, or None.
    """
    vision, text = settings.endpoints()
    calls = settings.calls
    budget = Limits(max_requests=calls.max_requests, max_tokens=calls.max_tokens, max_usd=calls.max_usd)
    limiters = {
        name: _limiter(name, limits, calls.worker_processes, shared_folder)
        for name, limits in {"budget": budget, "vision": _rates(vision), "text": _rates(text)}.items()
    }
    vision_model = OpenAIChatModel(vision, calls, limiters["vision"], limiters["budget"])
    is_shared = text is vision
    return Captioners(
        vision=vision_model,
        text=vision_model if is_shared else OpenAIChatModel(text, calls, limiters["text"], limiters["budget"]),
        vision_tokens=vision.max_output_tokens,
        text_tokens=text.max_output_tokens,
        max_repairs=calls.max_repairs,
    )


def _rates(endpoint: EndpointSettings) -> Limits:
    return Limits(requests_per_minute=endpoint.requests_per_minute, tokens_per_minute=endpoint.tokens_per_minute)


def _limiter(name: str, limits: Limits, worker_processes: int, shared_folder: str | None) -> RateLimiter:
    if shared_folder is None:
        return RateLimiter(limits.divided(worker_processes))
    return RateLimiter(limits, os.path.join(shared_folder, f"captions-{name}.json"))
