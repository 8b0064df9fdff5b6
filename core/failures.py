"""Failures of single items.

They travel with the data as values and end in the `failures` table.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from core.columns import column


class ItemError(Exception):
    """One item (a video, a clip) cannot be processed; the job goes on without it.

    Args:
      error_class: stable CamelCase name that people filter on, e.g. "NotAVideo".
      cause: the observed problem, with the item's own values ("moov atom not found").
      remedy: what the user can do; empty if nothing.
    """

    def __init__(self, error_class: str, cause: str, remedy: str = "") -> None:
        super().__init__(f"{cause} Remedy: {remedy}" if remedy else cause)
        self.error_class = error_class
        self.cause = cause
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[ItemError], tuple[str, str, str]]:
        return type(self), (self.error_class, self.cause, self.remedy)


class TransientError(ItemError):
    """A transient failure, such as a lost connection: worth a retry."""


MACHINE_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is exceeded",
    errno.EROFS: "the file system is read-only",
    errno.ESTALE: "the file system was disconnected",
}
"""Errors of the machine by number: no item is to blame, and others would fail alike."""


def machine_fault(error: BaseException | None) -> str | None:
    """What is wrong with the machine, if that is why `error` or a cause of it was raised."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in MACHINE_ERRORS:
            return MACHINE_ERRORS[error.errno]
        error = error.__cause__ or error.__context__
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Cause of a missing result."""

    stage: str = field(metadata=column("stage that gave up"))
    error_class: str = field(
        metadata=column("stable name of the cause (`ItemError.error_class`), or the exception's type")
    )
    message: str = field(metadata=column("cause and remedy"))
    is_bug: bool = field(default=False, metadata=column("whether the program, not the input, is to blame"))
    attempts: int = field(default=1, metadata=column("how often the stage tried"))
