"""Rate limits and budgets of an endpoint, shared by threads and processes.

Processes share them if they can open one file.

The installed libraries do not serve: `openai`'s retries know no budget and no rate, and Beam's rate limiter needs an
Envoy server. Neither reserves tokens and USD before a request, nor shares a Retry-After pause between processes.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from models.captions.chat import CaptionError

BURST_S = 5.0
"""How far requests may run ahead of an even rate, seconds."""
POLL_S = 0.2
LEASE_S = 1800.0
"""Seconds after which a reservation expires that was never committed, since its process died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Rate limits and budgets; None is no limit."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_requests: float | None = None
    max_tokens: float | None = None
    max_usd: float | None = None

    def divided(self, parts: int) -> Limits:
        """The limits of each of several processes that share no file."""
        return Limits(**{name: None if v is None else v / parts for name, v in asdict(self).items()})


@dataclass(kw_only=True)
class _State:
    """Usage, reservations in flight, and the time of the next request.

    Times are seconds since the epoch.
    """

    request_due: float = 0.0
    tokens_due: float = 0.0
    not_before: float = 0.0
    requests: int = 0
    tokens: float = 0.0
    usd: float = 0.0
    consecutive_failures: int = 0
    stopped: str | None = None
    in_flight: dict[str, list[float]] = field(default_factory=dict)


class RateLimiter:
    """Delays requests to keep rate limits, and refuses those that might exceed the budget.

    Args:
      limits: rate limits and budgets.
      path: local file that all processes of the run share; None keeps the state in this process.
    """

    def __init__(self, limits: Limits, path: str | None = None) -> None:
        self._limits = limits
        self._path = path
        self._lock = threading.Lock()
        self._local_state = _State()

    def reserve(self, tokens: float, usd: float) -> str:
        """Waits until a request may be sent; returns its reservation's id.

        The id goes to `commit` or `release`.

        Args:
          tokens, usd: upper bound of the request's cost.

        Raises:
          CaptionError: BudgetSpent, or ServerStopped.
        """
        while True:
            with self._locked_state() as state:
                if state.stopped is not None:
                    raise CaptionError("ServerStopped", state.stopped)
                wait = self._wait_s(state, tokens, usd)
                if wait <= 0:
                    return self._add_reservation(state, tokens, usd)
            time.sleep(min(wait, POLL_S if wait > POLL_S else wait))

    def commit(self, reservation: str, tokens: float, usd: float, *, failed: bool) -> int:
        """Replaces a reservation by the request's actual cost; returns the number of consecutive failures."""
        with self._locked_state() as state:
            reserved, _, _ = state.in_flight.pop(reservation, [tokens, usd, 0.0])
            state.tokens += tokens
            state.usd += usd
            if rate := self._limits.tokens_per_minute:
                state.tokens_due += (tokens - reserved) * 60 / rate
            state.consecutive_failures = state.consecutive_failures + 1 if failed else 0
            return state.consecutive_failures

    def release(self, reservation: str) -> None:
        """Cancels the reservation of a request that was not sent."""
        with self._locked_state() as state:
            reserved = state.in_flight.pop(reservation, None)
            state.requests -= reserved is not None

    def pause(self, seconds: float) -> None:
        """Delays all further requests, as Retry-After asks."""
        with self._locked_state() as state:
            state.not_before = max(state.not_before, time.time() + seconds)

    def stop(self, reason: str) -> None:
        """Refuses all further requests of this run."""
        with self._locked_state() as state:
            state.stopped = state.stopped or reason

    def _wait_s(self, state: _State, tokens: float, usd: float) -> float:
        now = time.time()
        for reservation in [r for r, (_, _, expires) in state.in_flight.items() if expires < now]:
            del state.in_flight[reservation]
        if (reason := self._exceeded_budget(state, tokens, usd)) is not None:
            if not state.in_flight:
                raise CaptionError("BudgetSpent", f"{reason} would be exceeded")
            return POLL_S
        waits = [state.not_before - now]
        if self._limits.requests_per_minute:
            waits.append(state.request_due - now - BURST_S)
        if self._limits.tokens_per_minute:
            waits.append(state.tokens_due - now - BURST_S)
        return max(waits)

    def _exceeded_budget(self, state: _State, tokens: float, usd: float) -> str | None:
        """The budget that a request might exceed, with reservations at their upper bound."""
        limits, in_flight = self._limits, state.in_flight.values()
        if limits.max_requests is not None and state.requests + 1 > limits.max_requests:
            return f"captions.calls.max_requests ({state.requests} sent)"
        if limits.max_tokens is not None and state.tokens + sum(r[0] for r in in_flight) + tokens > limits.max_tokens:
            return f"captions.calls.max_tokens ({state.tokens:.0f} spent)"
        if limits.max_usd is not None and state.usd + sum(r[1] for r in in_flight) + usd > limits.max_usd + 1e-12:
            return f"captions.calls.max_usd ({state.usd:.4f} spent)"
        return None

    def _add_reservation(self, state: _State, tokens: float, usd: float) -> str:
        now = time.time()
        if rate := self._limits.requests_per_minute:
            state.request_due = max(state.request_due, now) + 60 / rate
        if rate := self._limits.tokens_per_minute:
            state.tokens_due = max(state.tokens_due, now) + tokens * 60 / rate
        state.requests += 1
        reservation = uuid.uuid4().hex
        state.in_flight[reservation] = [tokens, usd, now + LEASE_S]
        return reservation

    @contextmanager
    def _locked_state(self) -> Iterator[_State]:
        """The state under an exclusive lock."""
        with self._lock:
            if self._path is None:
                yield self._local_state
                return
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            with os.fdopen(handle, "r+", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                text = file.read()
                state = _State(**json.loads(text)) if text else _State()
                yield state
                file.seek(0)
                file.write(json.dumps(asdict(state)))
                file.truncate()
