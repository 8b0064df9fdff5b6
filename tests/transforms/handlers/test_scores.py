from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from functools import partial

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference
from apache_beam.testing.util import assert_that

from core.scores import Score
from models.text.scorer import TextModel, TextSettings
from transforms.handlers.images import ClipImages
from transforms.handlers.isolation import Err, IsolatingHandler, Ok
from transforms.handlers.scores import NO_IMAGES_REASON, ScoreHandler


def check_pipeline(
    handler: ModelHandler, examples: dict[str, ClipImages], check: Callable[[dict[str, Ok | Err]], None]
) -> None:
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        found = (
            pipeline
            | beam.Create(sorted(examples.items()))
            | RunInference(KeyedModelHandler(IsolatingHandler(handler)))
        )
        assert_that(found, lambda answers: check(dict(answers)))


def test_bad_images_cost_only_their_own_clips(examples):
    store_uri, clips = examples

    def check(answers: dict[str, Ok | Err]) -> None:
        assert set(answers) == set(clips)
        assert {k for k, v in answers.items() if isinstance(v, Ok)} == {"plain", "words", "empty"}
        assert answers["plain"].value == Score(value=0.0, model="detector")
        assert 0.03 < answers["words"].value.value < 0.3
        assert answers["empty"].value == Score(value=None, reason=NO_IMAGES_REASON, model="detector")
        assert answers["gone"].error_class == "StoredObjectDamaged"
        assert answers["changed"].error_class == "StoredObjectDamaged"
        assert not any(v.is_bug for v in answers.values() if isinstance(v, Err))

    check_pipeline(ScoreHandler(store_uri, partial(TextModel, TextSettings()), model_name="detector"), clips, check)


class Brightness:
    def score_clips(self, clips_rgb_u8, source_sizes):
        return [float(np.mean(images)) + width for images, (width, _) in zip(clips_rgb_u8, source_sizes, strict=True)]


def test_a_model_gets_images_and_sizes_of_clips_that_have_images(examples):
    store_uri, clips = examples
    sized = {k: dataclasses.replace(v, source_size=(1000, 9)) for k, v in clips.items()}

    def check(answers: dict[str, Ok | Err]) -> None:
        assert {k for k, v in answers.items() if isinstance(v, Ok)} == {"plain", "words", "empty"}
        assert 1060 < answers["words"].value.value < 1180
        assert answers["gone"].error_class == "StoredObjectDamaged"

    check_pipeline(ScoreHandler(store_uri, Brightness), sized, check)


def test_handlers_travel_and_bound_their_batches(examples):
    store_uri, clips = examples
    for device in ("cpu", "cuda"):
        copy = pickle.loads(pickle.dumps(ScoreHandler(store_uri, Brightness, device=device)))
        bounds = copy.batch_elements_kwargs()
        assert 1 <= bounds["min_batch_size"] <= bounds["max_batch_size"] <= 16
        assert copy.get_num_bytes([clips["gone"]]) == sum(r.size_bytes for r in clips["gone"].images)
        assert copy.get_metrics_namespace() != "RunInference"
