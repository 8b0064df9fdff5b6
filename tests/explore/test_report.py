from __future__ import annotations

import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.scores import NOT_SCORED_REASON
from core.thresholds import SPATIALVID_LIMITS
from explore.clip_cards import FILMSTRIPS_FOLDER
from explore.outputs import OutputError
from explore.report import write_report
from storage.tables import CONVENTIONS
from tests.support.runs import LIMITS, clip_row, failure_row, make_run, shot_row, small_tables, video_row

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e&amp;\n.mp4"
VOID = {"meta", "img", "br", "input"}


class Page(HTMLParser):
    """What a browser would see: tags with attributes, text, and whether the tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.raw = text
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def report_of(output: str, limits=None) -> Page:
    path = write_report(output, limits)
    with fsspec.open(path, "rt", encoding="utf-8") as file:
        return Page(file.read())


def test_the_page_shows_the_run(tmp_path):
    output = make_run(tmp_path)
    assert write_report(output, LIMITS) == os.path.join(output, "report/index.html")
    page = report_of(output, LIMITS)
    assert "2 of 5 clips kept" in page.text
    assert "3 videos, 1 failed · 1 min 20 s decoded · 20.0 s in clips · 8.0 s kept" in page.text
    for words in (
        "The totals balance",
        "motion_score below 2",
        "luminance_score below 20",
        "no weights given",
        NOT_SCORED_REASON,
        "aesthetic_score could not be checked on 2 of 2 kept clips",
        "harbour.mp4",
        "7 packets did not decode: bad NAL unit",
        "NotAVideo: moov atom not found",
        "EncodeFailed in CutClips: disk is full",
        "detector v1 sha256:0011",
        "cut 0.93",
        "0:05.0 to 0:09.0 (4.0 s)",
        "aaaa_00001",
        *CONVENTIONS.values(),
    ):
        assert " ".join(words.split()) in page.text
    assert page.count("article") == 5
    assert page.count("img") == 15
    assert page.count("svg") == 1 + 5


def test_the_page_asks_for_nothing_and_runs_nothing(tmp_path):
    page = report_of(make_run(tmp_path), LIMITS)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        if tag == "img":
            assert attributes["src"].startswith("data:image/jpeg;base64,")
        if "href" in attributes:
            assert attributes["href"].startswith("#")
    style = re.search("<style>(.*?)</style>", page.raw, re.S)[1]
    assert len(style) > 1000 and "url(" not in style and "@import" not in style


def test_hostile_text_stays_text(tmp_path):
    tables = small_tables()
    for name, rows in tables.items():
        for row in rows:
            row["source_uri"] = f"/videos/{EVIL}"
            text = ("codec", "ocr_reason", "ocr_model", "shot_boundary_kind", "error_class", "stage", "message")
            row |= {c: EVIL for c in (*text, "failure_message", "first_decode_error") if row.get(c)}
        if name == "clips":
            rows[2]["rejection_reasons"] = [EVIL]
            rows[0] |= {"unchecked_limits": [EVIL], "ocr_score": None, "ocr_reason": EVIL}
    page = report_of(make_run(tmp_path, tables), LIMITS)
    clean = report_of(make_run(tmp_path / "clean"), LIMITS)
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in clean.tags}
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on")]
    assert "\u202e" not in page.raw
    assert page.text.count("<script>alert(1)</script>") > 10


def test_equal_tables_give_equal_bytes(tmp_path):
    pages = [Path(write_report(make_run(tmp_path / name), LIMITS)).read_bytes() for name in ("one", "two")]
    assert pages[0] == pages[1]
    assert Path(write_report(str(tmp_path / "one"), LIMITS)).read_bytes() == pages[0]
    assert not [p for p in (tmp_path / "one" / "report").iterdir() if p.name != "index.html"]


def test_limits_come_from_the_run_or_the_caller(tmp_path):
    output = make_run(tmp_path)
    assert "max 140" not in report_of(output).text
    config = {"config": {"thresholds": {"limits": {**LIMITS, "ocr_score": None}}}}
    (tmp_path / "run.json").write_text(json.dumps(config))
    page = report_of(output)
    assert "min 20" in page.text and "max 140" in page.text and "max 0.3" not in page.text
    assert "max 140" not in report_of(output, {}).text
    assert "max 0.3" in report_of(output, SPATIALVID_LIMITS).text


def test_a_damaged_run_file_is_an_error_with_a_remedy(tmp_path):
    output = make_run(tmp_path)
    for damaged in ("{", "[]", '{"config": 1}', '{"config": {"thresholds": {"limits": {"a": 3}}}}'):
        (tmp_path / "run.json").write_text(damaged)
        with pytest.raises(OutputError, match=r"run\.json .* remove the file"):
            write_report(output)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(OutputError, match=r"manifest\.json"):
        write_report(str(tmp_path))
    assert not (tmp_path / "report").exists()


def test_a_large_run_gives_a_small_page(tmp_path):
    tables = {"videos": [], "clips": [], "shots": [], "failures": []}
    for v in range(300):
        video = video_row(f"v{v:03d}", f"/v/{v:03d}.mp4", num_clips=3, num_shots=3)
        tables["videos"].append(video)
        tables["shots"] += [shot_row(video, i) for i in range(3)]
        tables["clips"] += [
            clip_row(video, 0),
            clip_row(video, 1, status="rejected", rejection_reasons=["motion_score below 2"]),
            clip_row(video, 2, status="failed", failure_class="EncodeFailed"),
        ]
        tables["failures"].append(failure_row("clip", f"v{v:03d}_00002", video["source_uri"]))
    page = report_of(make_run(tmp_path, tables, images=False), LIMITS)
    assert page.count("article") == 60
    assert len(page.raw) < 300_000
    assert "24 of 300" in page.text
    assert "The first 200 of 300 videos." in page.text
    assert "The first 200 of 300 failure rows." in page.text


def test_a_run_without_its_store_says_so(tmp_path):
    page = report_of(make_run(tmp_path, images=False))
    assert page.count("img") == 0
    assert page.text.count("no sample image in the store") == 5


def test_an_empty_run_has_a_page(tmp_path):
    page = report_of(make_run(tmp_path, {"videos": [], "clips": [], "shots": [], "failures": []}), LIMITS)
    for words in ("0 of 0 clips kept", "No clip was found", "Nothing failed", "No clip was rejected"):
        assert words in page.text


def test_totals_that_do_not_balance_are_an_alert(tmp_path):
    tables = small_tables()
    tables["videos"][0]["num_clips"] = 99
    page = report_of(make_run(tmp_path, tables))
    assert "The totals do not balance" in page.text
    assert "5 = 101 does not hold" in page.text
    assert "The totals balance" not in page.text


def test_the_report_can_be_written_to_any_store(tmp_path):
    make_run(tmp_path / "run")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "run"), "/report-test", recursive=True)
    try:
        page = report_of("memory://report-test", LIMITS)
        assert page.raw.encode() == Path(write_report(str(tmp_path / "run"), LIMITS)).read_bytes()
        assert page.count("img") == 15
    finally:
        memory.rm("/report-test", recursive=True)


def test_a_damaged_or_long_clip_is_shown_by_its_sample_images(annotated, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(annotated.path, copy)
    assert report_of(str(copy)).raw.count('class="film"') == 4
    table = pq.read_table(copy / "clips.parquet" / "part-00000-of-00001.parquet")
    long = pa.array([5000, *table["clip_num_frames"].to_pylist()[1:]])
    index = table.schema.get_field_index("clip_num_frames")
    table = table.set_column(index, table.schema.field(index), long)
    pq.write_table(table, copy / "clips.parquet" / "part-00000-of-00001.parquet")
    page = report_of(str(copy))
    assert page.raw.count('class="film"') == 3 and page.count("img") == 3 + 3
    (shard,) = (copy / "shards").iterdir()
    for size in (shard.stat().st_size // 3, 1000, 0):
        shard.write_bytes(shard.read_bytes()[:size])
        shutil.rmtree(copy / FILMSTRIPS_FOLDER, ignore_errors=True)
        page = report_of(str(copy))
        assert page.raw.count('class="film"') < 3 and page.count("article") == 5
    shard.unlink()
    shutil.rmtree(copy / FILMSTRIPS_FOLDER, ignore_errors=True)
    assert report_of(str(copy)).count("img") == 5 * 3


def test_films_of_an_earlier_report_are_taken_from_the_store(annotated, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(annotated.path, copy)
    first = report_of(str(copy)).raw
    (shard,) = (copy / "shards").iterdir()
    shard.unlink()
    assert report_of(str(copy)).raw == first


def test_tables_are_paged(tmp_path):
    tables = small_tables()
    tables["clips"][0]["caption_model"] = "some <model>"
    tables["failures"] = [failure_row("video", f"v{i:03d}", f"/v/{i}.mp4") for i in range(120)]
    page = report_of(make_run(tmp_path, tables, images=False))
    groups = [a["name"] for tag, a in page.tags if tag == "details" and "name" in a]
    assert groups == ["failures"] * 3
    assert "101 to 120" in page.text
    assert "Captions of 1 clips by some <model> ." in page.text


def test_motion_stages_and_models_are_shown(annotated, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(annotated.path, copy)
    run = json.loads((copy / "run.json").read_text())
    run |= {
        "stage_times": {"AnalyzeVideo": {"done": 4, "reused": 1, "failed": 0, "busy_s": 6.0}},
        "timing": {"seconds": 20.0},
        "models": {
            "ScoreText": {"id": "some-net", "license": "Apache-2.0", "commercial_use": True, "sha256": "ab" * 32}
        },
        "versions": {"python": "3.11.7"},
    }
    (copy / "run.json").write_text(json.dumps(run))
    page = report_of(str(copy))
    for words in (
        "Length of the path move_dist",
        "1 kept clips have no poses that are fit for use",
        "no texture",
        "AnalyzeVideo",
        "The whole run took 20.0 s, 4 hours of video an hour",
        "some-net Apache-2.0 yes",
        "python 3.11.7",
        "The camera does this: orbit.",
    ):
        assert words in page.text, words


def test_missing_captions_are_counted_by_cause(tmp_path):
    tables = small_tables()
    kept = [row for row in tables["clips"] if row["status"] == "kept"]
    for row, tokens in zip(kept[:2], (600, 1200), strict=True):
        row["caption_reason"] = f"TruncatedAnswer: not within {tokens} tokens"
    page = report_of(make_run(tmp_path / "run", tables, images=False))
    assert "2 kept clips have no caption" in page.text
    assert "TruncatedAnswer: not within … tokens 2" in page.text
