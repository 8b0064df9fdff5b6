"""Rates and budgets of a server, kept by all threads, and by all processes that can open one file."""

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
"""How far requests may run ahead of an even rate."""
POLL_S = 0.2
LEASE_S = 1800.0
"""After this time what a process reserved and never settled (it died) is free again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Rates and budgets; None is no limit."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_requests: float | None = None
    max_tokens: float | None = None
    max_usd: float | None = None

    def divided(self, parts: int) -> Limits:
        """The share of one of several processes that know nothing of each other."""
        return Limits(**{name: None if v is None else v / parts for name, v in asdict(self).items()})


@dataclass(kw_only=True)
class _Account:
    """What was spent, what is under way, and when the next request is due. Times are seconds since the epoch."""

    request_due: float = 0.0
    tokens_due: float = 0.0
    not_before: float = 0.0
    requests: int = 0
    tokens: float = 0.0
    usd: float = 0.0
    failures_in_row: int = 0
    stopped: str | None = None
    under_way: dict[str, list[float]] = field(default_factory=dict)


class RateLimiter:
    """Says when a request may be sent, and counts what it cost.

    Args:
      limits: rates and budgets.
      path: local file that all processes of the run share; None keeps the account in this process.
    """

    def __init__(self, limits: Limits, path: str | None = None) -> None:
        self._limits = limits
        self._path = path
        self._lock = threading.Lock()
        self._own = _Account()

    def reserve(self, tokens: float, usd: float) -> str:
        """Waits until a request may be sent; returns its ticket for `settle`.

        Args:
          tokens, usd: the most that it can cost.

        Raises:
          CaptionError: BudgetSpent, or ServerStopped.
        """
        while True:
            with self._account() as account:
                if account.stopped is not None:
                    raise CaptionError("ServerStopped", account.stopped)
                wait = self._wait_s(account, tokens, usd)
                if wait <= 0:
                    return self._book(account, tokens, usd)
            time.sleep(min(wait, POLL_S if wait > POLL_S else wait))

    def settle(self, ticket: str, tokens: float, usd: float, *, failed: bool) -> int:
        """Puts what a request really cost in the place of what was reserved; returns failures in a row."""
        with self._account() as account:
            reserved, _, _ = account.under_way.pop(ticket, [tokens, usd, 0.0])
            account.tokens += tokens
            account.usd += usd
            if rate := self._limits.tokens_per_minute:
                account.tokens_due += (tokens - reserved) * 60 / rate
            account.failures_in_row = account.failures_in_row + 1 if failed else 0
            return account.failures_in_row

    def release(self, ticket: str) -> None:
        """Takes back a reservation for a request that was not sent."""
        with self._account() as account:
            reserved = account.under_way.pop(ticket, None)
            account.requests -= reserved is not None

    def pause(self, seconds: float) -> None:
        """Sends nothing for a while, since the server asked for that."""
        with self._account() as account:
            account.not_before = max(account.not_before, time.time() + seconds)

    def stop(self, reason: str) -> None:
        """Sends nothing any more in this run."""
        with self._account() as account:
            account.stopped = account.stopped or reason

    def _wait_s(self, account: _Account, tokens: float, usd: float) -> float:
        now = time.time()
        for ticket in [t for t, (_, _, ends) in account.under_way.items() if ends < now]:
            del account.under_way[ticket]
        if (reason := self._spent(account, tokens, usd)) is not None:
            if not account.under_way:
                raise CaptionError("BudgetSpent", f"{reason} would be exceeded")
            return POLL_S
        waits = [account.not_before - now]
        if self._limits.requests_per_minute:
            waits.append(account.request_due - now - BURST_S)
        if self._limits.tokens_per_minute:
            waits.append(account.tokens_due - now - BURST_S)
        return max(waits)

    def _spent(self, account: _Account, tokens: float, usd: float) -> str | None:
        """The budget that a request might exceed, counting those under way at their most."""
        limits, under_way = self._limits, account.under_way.values()
        if limits.max_requests is not None and account.requests + 1 > limits.max_requests:
            return f"captions.calls.max_requests ({account.requests} sent)"
        if limits.max_tokens is not None and account.tokens + sum(u[0] for u in under_way) + tokens > limits.max_tokens:
            return f"captions.calls.max_tokens ({account.tokens:.0f} spent)"
        if limits.max_usd is not None and account.usd + sum(u[1] for u in under_way) + usd > limits.max_usd + 1e-12:
            return f"captions.calls.max_usd ({account.usd:.4f} spent)"
        return None

    def _book(self, account: _Account, tokens: float, usd: float) -> str:
        now = time.time()
        if rate := self._limits.requests_per_minute:
            account.request_due = max(account.request_due, now) + 60 / rate
        if rate := self._limits.tokens_per_minute:
            account.tokens_due = max(account.tokens_due, now) + tokens * 60 / rate
        account.requests += 1
        ticket = uuid.uuid4().hex
        account.under_way[ticket] = [tokens, usd, now + LEASE_S]
        return ticket

    @contextmanager
    def _account(self) -> Iterator[_Account]:
        """The account, for this thread alone; changes are kept when the block ends without an error."""
        with self._lock:
            if self._path is None:
                yield self._own
                return
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            with os.fdopen(handle, "r+", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                text = file.read()
                account = _Account(**json.loads(text)) if text else _Account()
                yield account
                file.seek(0)
                file.write(json.dumps(asdict(account)))
                file.truncate()
