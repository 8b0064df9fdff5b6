"""Context that all stages of one run share."""

from __future__ import annotations

import dataclasses
import socket

from storage.store import Store


class UnreachableStoreError(RuntimeError):
    """A worker cannot reach the run's store; no item is to blame."""


@dataclasses.dataclass(frozen=True)
class RunContext:
    """Store, progress display and threads of one run.

    Attributes:
      store_uri: root of the run's store.
      progress_folder: local folder for live progress, or None where nobody watches.
      num_threads: threads that a worker may use for one stage; results do not depend on it.
      trust_output: whether stored blobs and shards of earlier runs are believed by their size, without reading them.
    """

    store_uri: str
    progress_folder: str | None = None
    num_threads: int = 1
    trust_output: bool = False

    def make_store(self) -> None:
        """Makes the store's folder, if it is local.

        Called once, where the run starts: workers must find it.
        """
        store = Store(self.store_uri)
        if store.is_local:
            store.fs.makedirs(store.full_path(""), exist_ok=True)

    def open_store(self) -> Store:
        """The run's store, in a worker.

        Raises:
          UnreachableStoreError: if this worker's machine does not have the folder that the run started with.
        """
        store = Store(self.store_uri)
        if store.is_local and not store.fs.isdir(store.full_path("")):
            raise UnreachableStoreError(
                f"the worker on {socket.gethostname()!r} does not see {self.store_uri!r}: give --output on a folder "
                "that all workers share under one path, or on an object store (docs/storage.md)"
            )
        return store
