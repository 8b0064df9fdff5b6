"""References to stored bytes, which records carry in the bytes' place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """A pointer to bytes in the store.

    Attributes:
      path: POSIX path below the store's root, so that a store can be moved.
      size_bytes: length of the object.
      digest: SHA-256 of the bytes, hexadecimal, 128 bits.
      media_type: MIME type.
    """

    path: str
    size_bytes: int
    digest: str
    media_type: str
