"""Failures per example: a bad example does not fail the rest of its batch.

Beam's RunInference rejects a whole batch when the handler raises. `IsolatingHandler` wraps a handler so
that each example gets its own `Ok` or `Err`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from apache_beam.ml.inference.base import ModelHandler

from core.failures import ItemError, TransientError

ExampleT = TypeVar("ExampleT")
PredictionT = TypeVar("PredictionT")
ModelT = TypeVar("ModelT")

logger = logging.getLogger(__name__)

TRANSIENT_ERRORS = (ConnectionError, TimeoutError, TransientError)
MAX_ATTEMPTS = 3
RETRY_WAIT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ok(Generic[PredictionT]):
    """The model's answer for one example."""

    value: PredictionT


@dataclass(frozen=True, slots=True, kw_only=True)
class Err:
    """Cause of a missing answer for one example.

    Attributes:
      error_class: stable name of the cause (`ItemError.error_class`), or the exception's type.
      message: cause and remedy in one sentence or two.
      is_bug: true when the exception was not one that a bad input is expected to raise.
      attempts: how often the example was tried on its own.
    """

    error_class: str
    message: str
    is_bug: bool
    attempts: int = 1


class IsolatingHandler(ModelHandler[ExampleT | None, Ok[PredictionT] | Err | None, ModelT]):
    """Runs another handler's batches and isolates bad examples.

    A batch that fails is halved until the bad examples are alone.

    k bad examples in a batch of n cost at most about 2 k log2(n) extra calls, on ever smaller batches. Running
    out of memory, too, ends in smaller batches. Examples that fail with a transient error (a lost connection) are
    tried three times. An empty batch gives an empty list; None in place of an example gives None.

    Args:
      inner: the handler to protect; pre- and postprocessing functions must be set on the outermost
        handler, as Beam demands.
      retry_wait_s: wait before the second try; the third waits twice as long.
    """

    def __init__(self, inner: ModelHandler[ExampleT, PredictionT, ModelT], retry_wait_s: float = RETRY_WAIT_S) -> None:
        super().__init__()
        if list(inner.get_preprocess_fns()) or list(inner.get_postprocess_fns()):
            raise ValueError("set pre- and postprocessing functions on the outer handler, not on the inner one")
        self._inner = inner
        self._retry_wait_s = retry_wait_s
        self._env_vars = getattr(inner, "_env_vars", {})

    def load_model(self) -> ModelT:
        """The inner handler's model."""
        return self._inner.load_model()

    def run_inference(
        self, batch: Sequence[ExampleT | None], model: ModelT, inference_args: dict[str, Any] | None = None
    ) -> list[Ok[PredictionT] | Err | None]:
        """One `Ok` or `Err` per example, in order."""
        answers = iter(self._answer([example for example in batch if example is not None], model, inference_args))
        return [None if example is None else next(answers) for example in batch]

    def _answer(
        self, batch: Sequence[ExampleT], model: ModelT, inference_args: dict[str, Any] | None
    ) -> list[Ok[PredictionT] | Err]:
        if not batch:
            return []
        try:
            return self._run(batch, model, inference_args)
        except Exception as error:
            if len(batch) == 1:
                return [self._retry(batch, model, inference_args, error)]
        middle = len(batch) // 2
        return [
            *self._answer(batch[:middle], model, inference_args),
            *self._answer(batch[middle:], model, inference_args),
        ]

    def get_num_bytes(self, batch: Sequence[ExampleT | None]) -> int:
        """Size of a batch as the inner handler sees it."""
        return self._inner.get_num_bytes([example for example in batch if example is not None])

    def get_metrics_namespace(self) -> str:
        """Metrics namespace of the inner handler."""
        return self._inner.get_metrics_namespace()

    def get_resource_hints(self) -> dict[str, Any]:
        """Resource hints of the inner handler."""
        return self._inner.get_resource_hints()

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Batching bounds of the inner handler."""
        return self._inner.batch_elements_kwargs()

    def should_skip_batching(self) -> bool:
        """Whether the inner handler takes batches as they come."""
        return self._inner.should_skip_batching()

    def validate_inference_args(self, inference_args: dict[str, Any] | None) -> None:
        """Checks arguments as the inner handler does."""
        self._inner.validate_inference_args(inference_args)

    def share_model_across_processes(self) -> bool:
        """Whether all processes share the inner handler's model."""
        return self._inner.share_model_across_processes()

    def model_copies(self) -> int:
        """Number of model copies that the inner handler asks for."""
        return self._inner.model_copies()

    def update_model_path(self, model_path: str | None = None) -> None:
        """Passes a new model path on."""
        self._inner.update_model_path(model_path)

    def _run(
        self, batch: Sequence[ExampleT], model: ModelT, inference_args: dict[str, Any] | None
    ) -> list[Ok[PredictionT] | Err]:
        predictions = list(self._inner.run_inference(batch, model, inference_args))
        if len(predictions) != len(batch):
            raise RuntimeError(f"the model gave {len(predictions)} answers to {len(batch)} examples")
        return [Ok(value=prediction) for prediction in predictions]

    def _retry(
        self,
        batch: Sequence[ExampleT],
        model: ModelT,
        inference_args: dict[str, Any] | None,
        error: Exception,
    ) -> Ok[PredictionT] | Err:
        attempts = 1
        while isinstance(error, TRANSIENT_ERRORS) and attempts < MAX_ATTEMPTS:
            time.sleep(self._retry_wait_s * attempts)
            attempts += 1
            try:
                return self._run(batch, model, inference_args)[0]
            except Exception as next_error:
                error = next_error
        return describe_error(error, attempts)


def describe_error(error: Exception, attempts: int = 1) -> Err:
    """The `Err` of an exception.

    An exception that bad input is not expected to raise is marked as a bug and logged.
    """
    if isinstance(error, ItemError):
        return Err(error_class=error.error_class, message=str(error), is_bug=False, attempts=attempts)
    is_bug = not isinstance(error, (*TRANSIENT_ERRORS, OSError, MemoryError))
    if is_bug:
        logger.error("an unexpected error, recorded as a failure", exc_info=error)
    return Err(error_class=type(error).__name__, message=str(error) or repr(error), is_bug=is_bug, attempts=attempts)
