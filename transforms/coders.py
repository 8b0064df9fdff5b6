"""Coders of records between workers: canonical JSON with reproducible bytes.

Importing this module registers the coders; Beam picks them by a collection's type.
"""

from __future__ import annotations

from typing import Any

from apache_beam.coders import Coder, registry
from apache_beam.metrics import Metrics

from core.records import ClipRecord, FailureRecord, VideoRecord, VideoWindow
from core.serialization import from_json_text, to_json_text
from storage.manifest import OutputFile
from storage.sources import SourceSpec

ELEMENTS, BYTES = "elements", "bytes"
"""Namespace and name of the distribution of encoded records' sizes."""

_ELEMENT_BYTES = Metrics.distribution(ELEMENTS, BYTES)


class RecordCoder(Coder):
    """Coder of one record type; no code or class names are in the bytes."""

    def __init__(self, record_type: type) -> None:
        self.record_type = record_type

    def encode(self, value: Any) -> bytes:
        """Canonical JSON. Raises TypeError for a record of another type."""
        if type(value) is not self.record_type:
            raise TypeError(f"expected {self.record_type.__name__}, got {value!r}")
        encoded = to_json_text(value).encode("utf-8", "surrogatepass")
        _ELEMENT_BYTES.update(len(encoded))
        return encoded

    def decode(self, encoded: bytes) -> Any:
        """The record."""
        return from_json_text(self.record_type, encoded.decode("utf-8", "surrogatepass"))

    def is_deterministic(self) -> bool:
        """Equal records have equal bytes."""
        return True

    def to_type_hint(self) -> type:
        """The record type."""
        return self.record_type

    @classmethod
    def from_type_hint(cls, typehint: Any, registry: Any) -> RecordCoder:
        """The coder of a record type."""
        return cls(typehint)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordCoder) and self.record_type is other.record_type

    def __hash__(self) -> int:
        return hash((RecordCoder, self.record_type))


for _record_type in (SourceSpec, VideoRecord, VideoWindow, ClipRecord, FailureRecord, OutputFile):
    registry.register_coder(_record_type, RecordCoder)
