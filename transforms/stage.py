"""Base classes of stages: a contract, settings, and a function of a record."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

import apache_beam as beam
from apache_beam.ml.inference.base import ModelHandler

from core.digest import digest_value
from core.progress import ProgressLog
from core.references import Ref, find_refs
from core.settings import Settings
from core.stage import Record, StageContract, get_field
from models.registry import ModelCard
from storage.stage_output import StageOutput
from storage.store import Store
from transforms.run_context import RunContext

R = TypeVar("R", bound=Record)


class StageBase(ABC, Generic[R]):
    """Contract, settings and cache key, which every stage has.

    Attributes:
      contract: name, version, and the record fields that the stage reads and writes.
      settings: the settings that the stage follows.
      settings_read: dotted names of the settings that can change the result; all of them if empty.
      cards: the models, the one that names the result first.
      digests: digest of the weights of each.
    """

    contract: StageContract
    settings: Settings
    settings_read: tuple[str, ...] = ()
    cards: tuple[ModelCard, ...] = ()
    digests: tuple[str, ...] = ()

    @property
    def model_digest(self) -> str | None:
        """Digests of all weights; None for a stage without a model."""
        return "+".join(self.digests) or None

    @property
    def device(self) -> str:
        """Where the stage's models run: "cpu", or "cuda" if its workers need a GPU."""
        return "cpu"

    def describe(self) -> dict[str, Any] | None:
        """Description of the models for `plan` and `run.json`; None without any."""
        if not self.cards:
            return None
        (first, digest), *others = zip(self.cards, self.digests, strict=True)
        return {
            "id": first.model_id,
            "computes": first.computes,
            "sha256": digest,
            "license": first.license,
            "commercial_use": first.commercial_use,
            "source": first.source,
            "with": [f"{card.model_id}@{other[:16]}" for card, other in others],
        }

    def applies(self, record: R) -> bool:
        """Whether the stage has work to do on this record; others pass unchanged."""
        return True

    def is_final(self, changes: Mapping[str, Any]) -> bool:
        """Whether a result is kept for later runs.

        One that a transient fault decided is not.
        """
        return True

    def stored_refs(self, changes: Mapping[str, Any], store: Store) -> Iterator[Ref]:
        """Yields all blobs that a stored result refers to, also through other blobs.

        Raises:
          DamagedError: if a blob that refers to others is damaged.
        """
        return find_refs(changes)

    def digest(self, record: R) -> str:
        """Cache key of the result on `record`: hash of all that it depends on."""
        return digest_value(
            {
                "stage": self.contract.name,
                "version": self.contract.version,
                "settings": self.settings.identity(*self.settings_read),
                "model": self.model_digest,
                "inputs": {name: get_field(record, name) for name in sorted(self.contract.reads)},
            }
        )

    def output(self, record: R, store: Store, progress: ProgressLog | None = None) -> StageOutput:
        """Place in the store of the stage's result on `record`."""
        return StageOutput(store, self.contract.name, record.key, self.digest(record), progress)


class Stage(StageBase[R]):
    """A stage that computes its fields itself. No Beam, no globals; survives pickling before `setup`."""

    def concurrency(self, num_threads: int) -> int:
        """Records that a worker with `num_threads` threads may run at a time."""
        return 1

    def setup(self, num_threads: int) -> None:
        """Opens what `run` needs, once per worker with `num_threads` threads.

        Results do not depend on the number of threads.
        """

    @abstractmethod
    def run(self, record: R, output: StageOutput) -> Mapping[str, Any]:
        """Computes the fields named in `contract.writes`.

        Raises:
          ItemError: if this record cannot be processed.
        """


class ModelStage(StageBase[R]):
    """A stage with a model that Beam's RunInference runs in batches."""

    @abstractmethod
    def handler(self, store_uri: str) -> ModelHandler[Any, Any, Any]:
        """The model; it reads what an example refers to from the store."""

    @abstractmethod
    def example(self, record: R) -> Any:
        """The model's input for a record."""

    @abstractmethod
    def fields(self, record: R, prediction: Any, output: StageOutput) -> Mapping[str, Any]:
        """The fields named in `contract.writes`, from a prediction.

        Blobs that they refer to go to `output`.
        """


class CollectionStage(StageBase[R]):
    """A stage that works on the whole collection.

    Its fields depend on other records too.
    """

    @abstractmethod
    def transform(self, context: RunContext) -> beam.PTransform:
        """Transform from all records to all, with the fields named in `contract.writes`.

        Failed records pass.
        """
