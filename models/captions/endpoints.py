"""The servers of a run: checked before it starts, connected in each worker."""

from __future__ import annotations

import importlib.util
import os

from models.captions.captioner import Captioners
from models.captions.openai_client import ServerChat, read_key
from models.captions.rate_limiter import Limits, RateLimiter
from models.captions.settings import CaptionSettings, ServerSettings
from models.registry import WeightsError


def check_servers(settings: CaptionSettings) -> str:
    """Name of the models of a run.

    Raises:
      WeightsError: if the client is not installed or a key is not set. Says what to do.
    """
    if importlib.util.find_spec("openai") is None:
        raise WeightsError("captions.model: server needs the package openai: pip install 'spatialbeam[captions]'")
    try:
        for server in settings.servers():
            read_key(server)
    except ValueError as error:
        raise WeightsError(f"captions: {error}") from error
    return "+".join(dict.fromkeys(str(server.name) for server in settings.servers()))


def connect_writers(settings: CaptionSettings, shared_folder: str | None) -> Captioners:
    """Clients for the servers of a run.

    Args:
      settings: checked ones.
      shared_folder: local folder that all worker processes of the run share, or None.
    """
    vision, text = settings.servers()
    calls = settings.calls
    budget = Limits(max_requests=calls.max_requests, max_tokens=calls.max_tokens, max_usd=calls.max_usd)
    ledgers = {
        name: _ledger(name, limits, calls.worker_processes, shared_folder)
        for name, limits in {"budget": budget, "vision": _rates(vision), "text": _rates(text)}.items()
    }
    looking = ServerChat(vision, calls, ledgers["vision"], ledgers["budget"])
    writing = looking if text is vision else ServerChat(text, calls, ledgers["text"], ledgers["budget"])
    return Captioners(
        vision=looking,
        text=writing,
        vision_tokens=vision.max_output_tokens,
        text_tokens=text.max_output_tokens,
        max_repairs=calls.max_repairs,
    )


def _rates(server: ServerSettings) -> Limits:
    return Limits(requests_per_minute=server.requests_per_minute, tokens_per_minute=server.tokens_per_minute)


def _ledger(name: str, limits: Limits, worker_processes: int, shared_folder: str | None) -> RateLimiter:
    if shared_folder is None:
        return RateLimiter(limits.divided(worker_processes))
    return RateLimiter(limits, os.path.join(shared_folder, f"captions-{name}.json"))
