"""Beam handlers: failures per element, and real images from a store through RunInference."""

import dataclasses
import io
import pickle
from collections.abc import Callable
from functools import partial

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference
from apache_beam.testing.util import assert_that
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from core.failures import ItemError
from core.references import Ref
from core.scores import Score
from models.text.scorer import TextModel, TextSettings
from storage.store import Store
from transforms.handlers.images import ClipImages, load_images
from transforms.handlers.isolation import Err, IsolatingHandler, Ok
from transforms.handlers.scores import NO_IMAGES_REASON, ScoreHandler


class Doubler(ModelHandler):
    """Doubles numbers; strings are what goes wrong."""

    def __init__(self) -> None:
        super().__init__(min_batch_size=2, max_batch_size=7)
        self.calls: list[int] = []

    def load_model(self):
        return self

    def run_inference(self, batch, model, inference_args=None):
        self.calls.append(len(batch))
        for example in batch:
            if example == "bad":
                raise ItemError("BadExample", "it is bad.", "Make it good.")
            if example == "bug":
                raise KeyError("bug")
            if example == "disk":
                raise OSError("no space")
            if example == "line":
                raise ConnectionError("line is down")
        return [2 * example for example in batch]

    def get_num_bytes(self, batch):
        return 10 * len(batch)

    def get_metrics_namespace(self):
        return "doubler"

    def get_resource_hints(self):
        return {"accelerator": "toy"}


def run(batch, **kwargs):
    inner = Doubler()
    return IsolatingHandler(inner, retry_wait_s=0, **kwargs).run_inference(batch, inner), inner.calls


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(), st.just("bad")), max_size=40))
def test_each_example_gets_its_own_answer_in_order(batch):
    answers, calls = run(batch)
    assert len(answers) == len(batch)
    for example, answer in zip(batch, answers, strict=True):
        if example == "bad":
            assert answer == Err(error_class="BadExample", message="it is bad. Remedy: Make it good.", is_bug=False)
        else:
            assert answer == Ok(value=2 * example)
    bad = batch.count("bad")
    assert len(calls) <= 1 + 2 * bad * max(len(batch) - 1, 1).bit_length()


def test_a_good_batch_is_one_call_and_an_empty_one_is_none():
    assert run([1, 2, 3])[1] == [3]
    assert run([]) == ([], [])


@pytest.mark.parametrize(
    ("example", "error_class", "is_bug", "attempts"),
    [("bug", "KeyError", True, 1), ("disk", "OSError", False, 1), ("line", "ConnectionError", False, 3)],
)
def test_causes_are_told_apart(example, error_class, is_bug, attempts):
    (good, failed), _ = run([1, example])
    assert good == Ok(value=2)
    assert (failed.error_class, failed.is_bug, failed.attempts) == (error_class, is_bug, attempts)
    assert failed.message


def test_a_passing_fault_is_retried():
    class Shaky(Doubler):
        def run_inference(self, batch, model, inference_args=None):
            self.calls.append(len(batch))
            if len(self.calls) < 3:
                raise TimeoutError("slow")
            return [2 * example for example in batch]

    inner = Shaky()
    assert IsolatingHandler(inner, retry_wait_s=0).run_inference([21], inner) == [Ok(value=42)]
    assert inner.calls == [1, 1, 1]


def test_a_wrong_number_of_answers_is_a_bug_of_the_model():
    class Swallower(Doubler):
        def run_inference(self, batch, model, inference_args=None):
            return [2 * example for example in batch][1:]

    answers = IsolatingHandler(Swallower()).run_inference([1, 2, 3], None)
    assert [answer.is_bug for answer in answers] == [True] * 3
    assert "0 answers to 1 examples" in answers[0].message


def test_the_wrapper_speaks_for_its_inner_handler():
    wrapped = IsolatingHandler(Doubler())
    assert wrapped.batch_elements_kwargs() == {"min_batch_size": 2, "max_batch_size": 7}
    assert wrapped.get_num_bytes([1, 2]) == 20
    assert wrapped.get_metrics_namespace() == "doubler"
    assert wrapped.get_resource_hints() == {"accelerator": "toy"}
    assert wrapped.model_copies() == 1
    assert not wrapped.share_model_across_processes()
    with pytest.raises(ValueError, match="outer handler"):
        IsolatingHandler(Doubler().with_preprocess_fn(str))


def jpeg(text: str, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(60, 180, (4, 6, 3), dtype=np.uint8)).resize((320, 180))
    draw = ImageDraw.Draw(image)
    draw.text((30, 120), text, font=ImageFont.load_default(28), fill="white", stroke_width=1, stroke_fill=0)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=92)
    return data.getvalue()


@pytest.fixture
def examples(tmp_path) -> tuple[str, dict[str, ClipImages]]:
    """A store with good clips, and clips with one bad image each."""
    store = Store(str(tmp_path / "store"))

    def put(name: str, data: bytes) -> Ref:
        return store.write_bytes(f"samples/{name}.jpg", data, "image/jpeg")

    plain, words = put("plain", jpeg("", 1)), put("words", jpeg("words to find", 2))
    not_jpeg = put("text", b"this is no image")
    cut_off = put("cut", jpeg("", 3)[:100])
    changed = put("changed", jpeg("", 4))
    store.write_bytes("samples/changed.jpg", jpeg("", 5), "image/jpeg")
    gone = Ref(path="samples/gone.jpg", size_bytes=9, digest="0" * 32, media_type="image/jpeg")
    clips = {
        "plain": (plain, plain),
        "words": (plain, words, plain),
        "empty": (),
        "gone": (plain, gone),
        "text": (not_jpeg, plain),
        "cut": (plain, cut_off),
        "changed": (changed,),
    }
    return store.root_uri, {k: ClipImages(clip_id=k, images=v) for k, v in clips.items()}


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
        assert answers["gone"].error_class == "SampleImageMissing"
        assert answers["changed"].error_class == "SampleImageDamaged"
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
        assert answers["gone"].error_class == "SampleImageMissing"

    check_pipeline(ScoreHandler(store_uri, Brightness), sized, check)


def test_handlers_travel_and_bound_their_batches(examples):
    store_uri, clips = examples
    for device in ("cpu", "cuda"):
        copy = pickle.loads(pickle.dumps(ScoreHandler(store_uri, Brightness, device=device)))
        bounds = copy.batch_elements_kwargs()
        assert 1 <= bounds["min_batch_size"] <= bounds["max_batch_size"] <= 16
        assert copy.get_num_bytes([clips["gone"]]) == sum(r.size_bytes for r in clips["gone"].images)
        assert copy.get_metrics_namespace() != "RunInference"


def test_images_are_loaded_in_order(examples):
    store_uri, clips = examples
    plain, words, again = load_images(Store(store_uri), clips["words"])
    assert plain.shape == words.shape == (180, 320, 3)
    assert plain.dtype == np.uint8
    np.testing.assert_array_equal(plain, again)
    assert not np.array_equal(plain, words)
