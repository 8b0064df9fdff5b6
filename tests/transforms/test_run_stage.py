from __future__ import annotations

import dataclasses
import threading

import apache_beam as beam
import pytest
from apache_beam.ml.inference.base import ModelHandler
from apache_beam.testing.util import assert_that, equal_to

from core.digest import digest_bytes
from core.failures import ItemError
from core.references import Ref
from core.stage import StageContract
from tests.transforms.test_stage import Double, DoubleSettings, Item
from transforms.run_context import RunContext
from transforms.run_stage import RunModelStage, RunStage
from transforms.stage import ModelStage


class Touchy(Double):
    """Refuses 13 as bad input and has a bug at 7."""

    def run(self, record, output):
        if record.number == 13:
            raise ItemError("Unlucky", "the number is 13.", "use another.")
        if record.number == 7:
            raise KeyError("seven")
        return super().run(record, output)


class Liar(Double):
    def run(self, record, output):
        return {"number": 1}


class Flaky(Double):
    calls = 0

    def run(self, record, output):
        Flaky.calls += 1
        if Flaky.calls < 3:
            raise ConnectionError("reset")
        return super().run(record, output)


def run(transform, items, check=None, **options):
    with beam.Pipeline(runner="FnApiRunner", options=beam.options.pipeline_options.PipelineOptions(**options)) as root:
        out = root | beam.Create(items) | transform
        assert_that(out | beam.Map(summary), equal_to(check))


def summary(item):
    return (item.key, item.doubled, item.failure.error_class if item.failure else None)


def items(*numbers):
    return [Item(key=f"k{n}", number=n) for n in numbers]


def test_bad_items_fail_alone(tmp_path):
    run(
        RunStage(Touchy(), RunContext(str(tmp_path))),
        items(1, 13, 7, 2),
        [("k1", 2, None), ("k13", None, "Unlucky"), ("k7", None, "KeyError"), ("k2", 4, None)],
    )


def test_stored_results_are_not_computed_again(tmp_path):
    context = RunContext(str(tmp_path))
    run(RunStage(Double(), context), items(1, 7), [("k1", 2, None), ("k7", 14, None)])
    # Touchy has the same contract and settings, so its bug is not reached.
    run(RunStage(Touchy(), context), items(1, 7), [("k1", 2, None), ("k7", 14, None)])


def test_other_settings_are_computed_anew(tmp_path):
    context = RunContext(str(tmp_path))
    run(RunStage(Double(), context), items(1), [("k1", 2, None)])
    run(RunStage(Double(DoubleSettings(factor=5)), context), items(1), [("k1", 5, None)])


def test_transient_faults_are_retried(tmp_path, monkeypatch):
    monkeypatch.setattr("transforms.run_stage.RETRY_WAIT_S", 0)
    Flaky.calls = 0
    run(RunStage(Flaky(), RunContext(str(tmp_path))), items(4), [("k4", 8, None)])


def test_a_stage_that_breaks_its_contract_stops_the_job(tmp_path):
    with pytest.raises(Exception, match="declares"):
        run(RunStage(Liar(), RunContext(str(tmp_path))), items(1), [])


def test_repeated_bundles_neither_lose_nor_double(tmp_path):
    run(
        RunStage(Touchy(), RunContext(str(tmp_path))),
        items(1, 13),
        [("k1", 2, None), ("k13", None, "Unlucky")],
        direct_runner_bundle_repeat=2,
    )


class Waiting(Double):
    """The first record waits until all others are done."""

    others_done = threading.Semaphore(0)

    def concurrency(self, num_threads):
        return num_threads

    def run(self, record, output):
        if record.number == 0:
            assert all(self.others_done.acquire(timeout=20) for _ in range(5))
        changes = super().run(record, output)
        self.others_done.release()
        return changes


def test_a_slow_record_holds_up_no_other_one(tmp_path):
    expected = [(f"k{n}", 2 * n, None) for n in range(6)]
    run(RunStage(Waiting(), RunContext(str(tmp_path), num_threads=3)), items(*range(6)), expected)


class Undecided(Double):
    calls = 0

    def is_final(self, changes):
        return changes["doubled"] != 8

    def run(self, record, output):
        type(self).calls += 1
        return super().run(record, output)


def test_a_result_that_is_not_final_is_computed_again(tmp_path):
    Undecided.calls = 0
    for _ in range(2):
        run(RunStage(Undecided(), RunContext(str(tmp_path))), items(3, 4), [("k3", 6, None), ("k4", 8, None)])
    assert Undecided.calls == 3


class DoublingHandler(ModelHandler):
    def load_model(self):
        return type("Model", (), {})()

    def run_inference(self, batch, model, inference_args=None):
        if 13 in batch:
            raise ItemError("Unlucky", "the number is 13.")
        return [2 * n for n in batch]


class DoubleByModel(ModelStage[Item]):
    contract = StageContract(
        name="DoubleByModel",
        version=1,
        record=Item,
        reads=frozenset({"number"}),
        writes=frozenset({"doubled"}),
    )
    settings = DoubleSettings()

    def handler(self, store_uri):
        return DoublingHandler()

    def example(self, record):
        return record.number

    def fields(self, record, prediction, output):
        return {"doubled": prediction}


def test_a_model_fails_on_one_item_of_a_batch_only(tmp_path):
    run(
        RunModelStage(DoubleByModel(), RunContext(str(tmp_path))),
        items(1, 13, 2),
        [("k1", 2, None), ("k13", None, "Unlucky"), ("k2", 4, None)],
    )


def test_a_models_stored_answers_are_reused(tmp_path):
    context = RunContext(str(tmp_path))
    run(RunModelStage(DoubleByModel(), context), items(3), [("k3", 6, None)])

    class Broken(DoubleByModel):
        def fields(self, record, prediction, output):
            raise AssertionError("must not be asked")

    run(RunModelStage(Broken(), context), items(3), [("k3", 6, None)])


class Noted(Double):
    """Keeps a blob beside its number."""

    contract = dataclasses.replace(Double.contract, name="Noted", record=Item)
    calls = 0

    def stored_refs(self, changes, store):
        yield Ref(path="blob", size_bytes=4, digest=digest_bytes(b"blob"), media_type="text/plain")

    def run(self, record, output):
        type(self).calls += 1
        output.store.write_bytes("blob", b"blob", "text/plain")
        return super().run(record, output)


def count_damaged_of(result):
    return sum(c.result for c in result.metrics().query()["counters"] if c.key.metric.name == "damaged")


@pytest.mark.parametrize("content", [b"blub", b"", None], ids=["changed", "empty", "gone"])
@pytest.mark.parametrize("target", ["blob", "*/*/*/*.result.json"], ids=["blob", "result"])
def test_damaged_results_are_computed_anew_and_counted(tmp_path, content, target):
    context = RunContext(str(tmp_path))
    run(RunStage(Noted(), context), items(3), [("k3", 6, None)])
    (path,) = tmp_path.glob(target)
    path.unlink() if content is None else path.write_bytes(content)
    left_over = path.parent / ".tmp-00000000-1-000000000000-x"
    left_over.write_bytes(b"")
    Noted.calls = 0
    with beam.Pipeline(runner="FnApiRunner") as root:
        out = root | beam.Create(items(3)) | RunStage(Noted(), context)
        assert_that(out | beam.Map(summary), equal_to([("k3", 6, None)]))
    # A result that is gone cannot be told from one that never was.
    assert count_damaged_of(root.result) == (0 if content is None and target != "blob" else 1)
    assert Noted.calls == 1
    run(RunStage(Noted(), context), items(3), [("k3", 6, None)])
    assert Noted.calls == 1
    assert left_over.exists()


def test_blobs_of_a_trusted_store_are_believed_by_their_size(tmp_path):
    run(RunStage(Noted(), RunContext(str(tmp_path))), items(3), [("k3", 6, None)])
    (tmp_path / "blob").write_bytes(b"blub")
    Noted.calls = 0
    run(RunStage(Noted(), RunContext(str(tmp_path), trust_output=True)), items(3), [("k3", 6, None)])
    assert Noted.calls == 0
