from __future__ import annotations

import json

import pytest

from beam_pipeline.cli.main import main
from explore.outputs import OutputError
from explore.stats import gather_stats
from tests.support.runs import make_run


def tables_of(output, where=None):
    return {t.title: [dict(zip(t.columns, row, strict=True)) for row in t.rows] for t in gather_stats(output, where)}


def test_the_figures_are_those_of_the_tables(annotated):
    tables = tables_of(annotated.path)
    stages = {row["stage"]: row for row in tables["items and hours"]}
    assert [stages[name]["items"] for name in ("videos", "videos done", "shots", "clips found", "clips kept")] == [
        *(3, 2, 5, 5, 4)
    ]
    assert stages["clips kept, with poses"]["items"] == 3
    assert stages["clips found"]["hours"] == round(5 * 4 / 3600, 4)
    (kept,) = tables["kept clips"]
    assert (kept["clips"], kept["annotated_frames"], kept["videos"]) == (4, 24, 2)
    assert tables["rejected clips by reason"][0] == {
        "reason": "motion_score below 2",
        "clips": 1,
        "hours": round(4 / 3600, 4),
        "only_this": 1,
    }
    assert [(r["value"], r["clips"]) for r in tables["camera motion"]] == [("general", 2), ("rotation", 1)]
    assert [(r["value"], r["clips"]) for r in tables["turns of the path"]] == [("0", 2), ("1", 1)]
    assert tables["length of clips"][0]["value"] == "3 to 6 s"
    assert "weather" not in tables
    scores = {row["score"]: row for row in tables["scores of kept clips"]}
    assert scores["move_dist"]["clips"] == 3 and scores["move_dist"]["median"] == 0.8


def test_a_condition_chooses_kept_clips(annotated):
    assert tables_of(annotated.path, "video_id = 'bbbb'")["kept clips"][0]["clips"] == 2
    with pytest.raises(OutputError, match="the condition 'nothing' is wrong"):
        gather_stats(annotated.path, "nothing")


def test_words_of_captions_and_tags_are_counted(tmp_path):
    from tests.support.runs import small_tables

    tables = small_tables()
    tables["clips"][0] |= {"scene_summary": "a small quiet bay", "motion_tags": ["forward", "left"], "weather": "Foggy"}
    tables["clips"][1] |= {"scene_summary": "a bay", "motion_tags": ["forward"], "weather": "Foggy"}
    found = tables_of(make_run(tmp_path, tables, images=False))
    assert found["words of captions"] == [{"text": "scene_summary", "captions": 2, "mean_words": 3.0, "words": 6}]
    assert [(r["value"], r["clips"]) for r in found["motion direction"]] == [("forward", 2), ("left", 1)]
    assert found["weather"][0]["percent_of_clips"] == 100.0


def test_the_command_prints_three_ways(annotated, capsys):
    assert main(["stats", annotated.path, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept clips"][0]["clips"] == 4
    assert main(["stats", annotated.path, "--format", "csv"]) == 0
    assert "items and hours,videos,items,3" in capsys.readouterr().out
    assert main(["stats", annotated.path]) == 0
    assert "motion_score below 2" in capsys.readouterr().out


def test_an_empty_run_has_figures(tmp_path):
    output = make_run(tmp_path, {"videos": [], "clips": [], "shots": [], "failures": []})
    assert tables_of(output)["items and hours"][0] == {"stage": "videos", "items": 0, "hours": 0.0}
