"""Stable digests of values and bytes, for ids, cache keys and manifests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from core.serialization import to_json_text

DIGEST_LENGTH = 32


def digest_bytes(data: bytes) -> str:
    """SHA-256 of `data`, hexadecimal, shortened to 128 bits."""
    return hashlib.sha256(data).hexdigest()[:DIGEST_LENGTH]


def digest_value(value: Mapping[str, Any]) -> str:
    """Digest of a mapping of JSON-able values and records.

    The order of its keys does not matter.
    """
    return digest_bytes(to_json_text(value).encode())
