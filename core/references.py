"""References to stored bytes, which records carry in the bytes' place."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


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


def find_refs(value: Any) -> Iterator[Ref]:
    """Yields all references in a record, mapping or sequence, at any depth."""
    if isinstance(value, Ref):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from find_refs(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from find_refs(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from find_refs(item)
