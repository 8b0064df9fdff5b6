from __future__ import annotations

import pytest

from beam_pipeline.cli.main import main
from explore.outputs import OutputError, read_table
from explore.query import run_query
from explore.saved_queries import SAVED_QUERIES, saved_query, split_table, to_bigquery
from tests.support.runs import make_run


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), images=False)


@pytest.fixture(scope="module")
def clips(output):
    return read_table(output, "clips").to_pylist()


def rows(output, name):
    return run_query(output, saved_query(name).sql).to_pylist()


def test_all_saved_queries_run(output):
    assert len(SAVED_QUERIES) == 10
    for name in SAVED_QUERIES:
        rows(output, name)


def test_the_funnel_counts_every_clip_once(output, clips):
    funnel = {r["status"]: r["clips"] for r in rows(output, "funnel")}
    assert sum(funnel.values()) == len(clips)
    assert funnel["kept"] == sum(c["status"] == "kept" for c in clips)


def test_rejections_count_every_reason(output, clips):
    found = {r["reason"]: (r["clips"], r["clips_by_this_alone"]) for r in rows(output, "rejections")}
    reasons = [c["rejection_reasons"] for c in clips if c["status"] == "rejected"]
    expected = {
        reason: (sum(reason in r for r in reasons), sum(r == [reason] for r in reasons))
        for r in reasons
        for reason in r
    }
    assert found == expected and expected


def test_the_best_are_at_most_three_of_a_video(output, clips):
    best = rows(output, "best")
    assert 0 < len(best) <= sum(c["status"] == "kept" for c in clips)
    uris = [r["source_uri"] for r in best]
    assert max(map(uris.count, uris)) <= 3


def test_queries_are_listed_run_and_printed(output, capsys):
    with pytest.raises(SystemExit):
        main(["query", output, "--list"])
    assert all(name in capsys.readouterr().out for name in ("funnel", "best")[:1])
    assert main(["query", output, "--saved", "funnel"]) == 0
    assert "kept" in capsys.readouterr().out
    assert main(["query", output, "--saved", "funnel", "--dialect", "duckdb"]) == 0
    assert capsys.readouterr().out.strip() == saved_query("funnel").sql
    assert main(["query", output, "--saved", "nothing"]) == 2
    assert "funnel" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["query", output, "SELECT 1", "--saved", "funnel"])


@pytest.mark.parametrize("table", ["clips", "dataset.clips", "a:b:c.d", "p:d.t; DROP TABLE x", "p:d.t`"])
def test_table_names_are_checked(table):
    with pytest.raises(OutputError, match="project:dataset"):
        split_table(table)


def test_table_names_have_three_parts():
    assert split_table("my-project:data.clips") == ("my-project", "data", "clips")
    assert split_table("my-project.data.clips") == ("my-project", "data", "clips")


def test_bigquerys_sql_names_the_loaded_table():
    pytest.importorskip("sqlglot", reason="needs the cloud packages: make test-cloud")
    sql = to_bigquery("SELECT c.clip_id FROM clips AS c WHERE list_contains(c.motion_tags, 'left')", "p:d.t")
    assert "`p`.`d`.`t` AS c" in sql and "UNNEST(c.motion_tags)" in sql
    inner = "WITH clips AS (SELECT * FROM clips) SELECT * FROM clips"
    assert "`p`" not in to_bigquery(inner, "p:d.t")
    with pytest.raises(OutputError, match="only the clip table"):
        to_bigquery("SELECT * FROM shots", "p:d.t")
    with pytest.raises(OutputError, match="BigQuery's SQL"):
        to_bigquery("SELEC 1 FROM", "p:d.t")
