"""Sample images of clips, read from the store for models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.arrays import UInt8Array
from core.references import Ref
from media.images import decode_jpeg
from storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipImages:
    """An image model's example: the sample images of a clip.

    Attributes:
      clip_id: id of the clip; for messages only, results are joined by the key beside the example.
      images: the clip's sample JPEGs in the store, in order of time.
      source_size: (width, height) of the source video in pixels, for scores that refer to it.
    """

    clip_id: str
    images: tuple[Ref, ...]
    source_size: tuple[int, int] = (0, 0)

    @property
    def size_bytes(self) -> int:
        """Bytes of the JPEGs."""
        return sum(ref.size_bytes for ref in self.images)


def load_images(store: Store, example: ClipImages) -> list[UInt8Array]:
    """Reads, verifies and decodes a clip's sample images: (h, w, 3) uint8 RGB each.

    Raises:
      ItemError: if an image is gone, is not the one that was stored, or cannot be decoded.
    """
    return [decode_jpeg(store.read(ref)) for ref in example.images]


def total_bytes(batch: Sequence[ClipImages]) -> int:
    """Total size of the JPEGs of a batch, without reading them."""
    return sum(example.size_bytes for example in batch)
