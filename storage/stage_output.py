"""A stage's results in the store: one marker per cache key, and its blobs."""

from __future__ import annotations

import json
import logging
import posixpath
from collections.abc import Mapping
from typing import Any

from core.progress import ProgressLog
from core.references import Ref, find_refs
from core.serialization import field_from_jsonable, to_json_text
from storage.store import DamagedError, Store

logger = logging.getLogger(__name__)


class StageOutput:
    """Files of one run of a stage on one record.

    Their names carry the cache key.

    Args:
      store: the run's store.
      stage: name of the stage.
      key: key of the record.
      digest: digest of all that the result depends on.
      progress: where the stage counts what it has done so far.

    Attributes:
      trusted: whether blobs of earlier runs are believed by their size, without reading them.
      damaged: stored objects that were found damaged, and are computed anew.
    """

    trusted = False
    damaged = 0

    def __init__(self, store: Store, stage: str, key: str, digest: str, progress: ProgressLog | None = None) -> None:
        self.store = store
        self.progress = progress or ProgressLog(None)
        self._folder = posixpath.join(stage, key[:2], key)
        self._digest = digest

    @property
    def result_path(self) -> str:
        """Path of the sealed JSON result; its existence makes a cache hit."""
        return f"{self._folder}/{self._digest}.result.json"

    def path(self, name: str) -> str:
        """Store path of a named blob of this run."""
        return f"{self._folder}/{self._digest}-{name}"

    def write(self, name: str, data: bytes, media_type: str) -> Ref:
        """Writes a blob that a field of the result refers to."""
        return self.store.write_bytes(self.path(name), data, media_type)

    def load(self, record_type: type) -> dict[str, Any] | None:
        """Fields that an earlier run wrote, or None.

        Raises:
          DamagedError: if they are not those that were written.
        """
        known = self.store.find_sealed(self.result_path)
        if known is None:
            return None
        return {name: field_from_jsonable(record_type, name, value) for name, value in json.loads(known).items()}

    def save(self, changes: Mapping[str, Any]) -> None:
        """Marks the result as complete. Must come after all blobs are written."""
        if any(True for _ in find_refs(changes)):
            self.store.sync(self._folder)
        self.store.write_sealed(self.result_path, to_json_text(changes))

    def check(self, ref: Ref) -> None:
        """Checks a blob of an earlier run.

        Raises:
          DamagedError: if it is absent or not the one that was written.
        """
        self.store.check(ref, digest=not self.trusted)

    def find(self, name: str) -> Any:
        """JSON value stored by an earlier attempt of this run, or None.

        A damaged one is counted.
        """
        try:
            found = self.store.find_sealed(self.path(name))
        except DamagedError as error:
            self.note_damage(error)
            return None
        return None if found is None else json.loads(found)

    def keep(self, name: str, value: Any) -> None:
        """Keeps a JSON value for another try of this run."""
        self.store.write_sealed(self.path(name), to_json_text(value))

    def note_damage(self, error: DamagedError) -> None:
        """Counts a damaged object, which is computed anew."""
        logger.warning("%s %s: computed anew", error.path, error.problem)
        self.damaged += 1

    def remove_left_over(self) -> None:
        """Removes what an interrupted run left under way beside this result."""
        self.store.remove_left_over(self._folder)
