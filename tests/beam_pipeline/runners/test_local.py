"""The local runner gives work out piece by piece, and loses nothing of it."""

from __future__ import annotations

import threading

import apache_beam as beam
import pytest
from apache_beam.metrics import Metrics
from apache_beam.testing.util import assert_that, equal_to

from beam_pipeline.runners import local
from beam_pipeline.runners.engines import make_options
from beam_pipeline.runners.local import RECORDS_PER_BUNDLE, LocalRunner

NUMBERS = range(5 * RECORDS_PER_BUNDLE + 7)
WORKERS = [
    ["--direct_num_workers=1"],
    ["--direct_num_workers=2", "--direct_running_mode=multi_threading"],
]
COUNTER = "seen"


class Watch(beam.DoFn):
    """Passes records on; records bundle sizes and the most bundles processed at a time."""

    sizes: list[int] = []  # noqa: RUF012 - shared by the threads of all workers
    open_now = 0
    most_open = 0
    lock = threading.Lock()

    def start_bundle(self):
        self.size = 0
        with self.lock:
            Watch.open_now += 1
            Watch.most_open = max(Watch.most_open, Watch.open_now)

    def process(self, record):
        self.size += 1
        Metrics.counter("test", COUNTER).inc()
        yield record

    def finish_bundle(self):
        with self.lock:
            Watch.open_now -= 1
            self.sizes.append(self.size)


@pytest.fixture(autouse=True)
def nothing_seen():
    Watch.sizes.clear()
    Watch.open_now = Watch.most_open = 0


def run(options, *steps):
    root = beam.Pipeline(runner=LocalRunner(), options=make_options(options))
    records = root | beam.Create(NUMBERS)
    for index, step in enumerate(steps):
        records = records | f"Step{index}" >> step
    assert_that(records, equal_to(list(NUMBERS)))
    return root.run()


@pytest.mark.parametrize("options", WORKERS)
def test_bundles_are_small_and_complete(options):
    metrics = run(options, beam.Reshuffle(), beam.ParDo(Watch())).metrics().query()
    assert sum(Watch.sizes) == len(NUMBERS)
    assert len(Watch.sizes) >= len(NUMBERS) / RECORDS_PER_BUNDLE
    # Beam's reshuffle keys records at random.
    assert max(Watch.sizes) <= 1.2 * RECORDS_PER_BUNDLE
    assert Watch.most_open <= len(options)
    (counter,) = (c.result for c in metrics["counters"] if c.key.metric.name == COUNTER)
    assert counter == len(NUMBERS)


@pytest.mark.parametrize("options", WORKERS)
def test_what_was_not_grouped_stays_in_its_pieces(options):
    """A side input ends a step without grouping its records."""
    with beam.Pipeline(runner=LocalRunner(), options=make_options(options)) as root:
        records = root | beam.Create(NUMBERS) | beam.Reshuffle()
        total = beam.pvalue.AsSingleton(records | beam.combiners.Count.Globally())
        seen = records | beam.Map(lambda record, count: (record, count), total) | beam.ParDo(Watch())
        assert_that(seen, equal_to([(number, len(NUMBERS)) for number in NUMBERS]))
    assert sum(Watch.sizes) == len(NUMBERS)
    assert max(Watch.sizes) <= 1.2 * RECORDS_PER_BUNDLE


def test_the_installed_beam_is_one_of_those_tried():
    assert beam.__version__.rsplit(".", 1)[0] in local.TRIED_RELEASES


def test_with_another_release_bundles_are_as_beam_makes_them(monkeypatch, caplog):
    monkeypatch.setattr(local.apache_beam, "__version__", "2.99.0")
    local._is_tried.cache_clear()
    run(["--direct_num_workers=1"], beam.Reshuffle(), beam.ParDo(Watch()))
    local._is_tried.cache_clear()
    assert Watch.sizes == [len(NUMBERS)]
    assert "2.99.0 was not tried" in caplog.text


@pytest.mark.parametrize("options", WORKERS)
def test_the_first_error_ends_the_run(options):
    def refuse(record):
        raise ValueError("refused")

    with pytest.raises(Exception, match="refused"):
        run(options, beam.Reshuffle(), beam.ParDo(Watch()), beam.Map(refuse))
    begun = Watch.open_now
    assert begun <= len(options)
    assert not Watch.sizes
