from __future__ import annotations

from core.progress import ProgressLog, ProgressReader


def test_counts_of_all_writers_are_summed_and_read_once(tmp_path):
    log, reader = ProgressLog(str(tmp_path)), ProgressReader(str(tmp_path))
    log.add("A", "done")
    (tmp_path / "999.tsv").write_text("A\tdone\t2\nA\tfra")
    assert reader.read()["A", "done"] == 3
    log.add("A", "done", 4)
    assert reader.read()["A", "done"] == 7
    assert reader.read()["A", "done"] == 7


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ProgressLog(None).add("A", "done")
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_does_not_see_the_folder_works_on(tmp_path, caplog):
    log = ProgressLog(str(tmp_path / "not-here"))
    log.add("A", "done")
    log.add("A", "done")
    assert [record.getMessage() for record in caplog.records if "will not be shown" in record.getMessage()]
    assert len(caplog.records) == 1
