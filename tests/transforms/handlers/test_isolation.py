"""Failures per example: a bad example costs only itself."""

import pytest
from apache_beam.ml.inference.base import ModelHandler
from hypothesis import given, settings
from hypothesis import strategies as st

from core.failures import ItemError
from transforms.handlers.isolation import Err, IsolatingHandler, Ok


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
