"""A stage's results in the store: one marker per cache key, and its blobs."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from typing import Any

from core.progress import ProgressLog
from core.references import Ref
from core.serialization import field_from_jsonable, to_json_text
from storage.store import Store


class StageOutput:
    """Files of one run of a stage on one record.

    Their names carry the cache key.

    Args:
      store: the run's store.
      stage: name of the stage.
      key: key of the record.
      digest: digest of all that the result depends on.
      progress: where the stage counts what it has done so far.
    """

    def __init__(self, store: Store, stage: str, key: str, digest: str, progress: ProgressLog | None = None) -> None:
        self.store = store
        self.progress = progress or ProgressLog(None)
        self._folder = posixpath.join(stage, key[:2], key)
        self._digest = digest

    @property
    def result_path(self) -> str:
        """Path of the JSON object with the written fields: its existence makes a cache hit."""
        return f"{self._folder}/{self._digest}.json"

    def path(self, name: str) -> str:
        """Store path of a named blob of this run."""
        return f"{self._folder}/{self._digest}-{name}"

    def write(self, name: str, data: bytes, media_type: str) -> Ref:
        """Writes a blob that a field of the result refers to."""
        return self.store.write_bytes(self.path(name), data, media_type)

    def load(self, record_type: type) -> dict[str, Any] | None:
        """Fields that an earlier run wrote, or None."""
        known = self.store.find_bytes(self.result_path)
        if known is None:
            return None
        return {name: field_from_jsonable(record_type, name, value) for name, value in json.loads(known).items()}

    def save(self, changes: Mapping[str, Any]) -> None:
        """Marks the result as complete. Must come after all blobs are written."""
        self.store.write_bytes(self.result_path, to_json_text(changes).encode(), "application/json")
